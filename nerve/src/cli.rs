//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use common::http::client::{Api, Question};

/// Checks local services and registers them in ZooKeeper.
#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(
    name = "nerve",
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    override_usage = "nerve [OPTIONS] --config <FILE>\n       nerve [OPTIONS] <FILE>\n       nerve <health|drain|enable> [OPTIONS]",
    after_help = "Exit codes: 0 stopped as asked, 1 broke while running, 64 wrong command line, 78 wrong configuration or what it names on this machine."
)]
pub struct Cli {
    /// Ask the nerve that runs
    #[command(subcommand)]
    pub command: Option<Command>,

    /// The configuration file, YAML or JSON
    #[arg(value_name = "FILE", required_unless_present = "config", conflicts_with = "config")]
    pub file: Option<PathBuf>,

    /// The same, as an option
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Overrides the file's `logLevel`: trace, debug, info, warn, error or off, alone or per module
    #[arg(short = 'L', long, value_name = "LEVEL")]
    pub log_level: Option<String>,

    /// Read the configuration, name every problem in it and leave; unknown keys are problems
    #[arg(long)]
    pub check_config: bool,

    /// A template in the configuration that names an absent environment variable is a problem, not `<no value>`
    #[arg(long)]
    pub strict_template: bool,
}

/// What the nerve that runs is asked.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Say in one line whether it is well; exit code 1 when it is not
    Health(Health),
    /// Take services away and wait until it is safe to stop them; exit code 1 when it is not
    Drain(Drain),
    /// Give services back to their checks
    Enable(Enable),
}

/// Where the nerve that runs has its API.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Where {
    /// Its configuration file, which says where its API is
    #[arg(long, value_name = "FILE", conflicts_with = "api")]
    pub config: Option<PathBuf>,

    /// Its API: HOST:PORT or the path of its socket
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:3454")]
    pub api: Api,
}

/// `health`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Health {
    /// Whether it answers
    #[arg(long, group = "question")]
    pub live: bool,

    /// Whether it has started
    #[arg(long, group = "question")]
    pub started: bool,

    /// Whether it is ready; this is what is asked by default
    #[arg(long, group = "question")]
    pub ready: bool,

    /// How long it may take to answer
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = common::config::duration)]
    pub timeout: Duration,

    /// Where it is
    #[command(flatten)]
    pub at: Where,
}

impl Health {
    /// What is asked.
    pub fn question(&self) -> Question {
        match (self.live, self.started) {
            (true, _) => Question::Live,
            (_, true) => Question::Started,
            _ => Question::Ready,
        }
    }
}

/// `drain`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Drain {
    /// The services; all but those with `excludeFromGlobalDisable` when none is named
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,

    /// Why, for the status and the report
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,

    /// How long to wait at most; what is away by then stays away
    #[arg(long, value_name = "DURATION", value_parser = common::config::duration)]
    pub deadline: Option<Duration>,

    /// Run the shutdown commands too
    #[arg(long)]
    pub shutdown: bool,

    /// Where it is
    #[command(flatten)]
    pub at: Where,
}

/// `enable`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Enable {
    /// The services; all but those with `excludeFromGlobalDisable` when none is named
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,

    /// Why, for the log
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,

    /// Where it is
    #[command(flatten)]
    pub at: Where,
}

impl Cli {
    /// The configuration file.
    pub fn path(&self) -> PathBuf {
        self.config.clone().or_else(|| self.file.clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_named_one_way_or_the_other() {
        let parse = |args: &[&str]| Cli::try_parse_from([&["nerve"], args].concat());
        assert_eq!(parse(&["a.yaml"]).expect("positional").path(), PathBuf::from("a.yaml"));
        assert_eq!(
            parse(&["--config", "a.yaml"]).expect("option").path(),
            PathBuf::from("a.yaml")
        );
        assert!(parse(&[]).is_err());
        assert!(parse(&["a.yaml", "--config", "b.yaml"]).is_err());
    }

    #[test]
    fn what_the_running_one_is_asked_needs_no_file() {
        let parse = |args: &[&str]| Cli::try_parse_from([&["nerve"], args].concat()).map(|cli| cli.command);
        let Ok(Some(Command::Health(health))) = parse(&["health"]) else {
            panic!("no health");
        };
        assert_eq!(health.question(), Question::Ready);
        assert_eq!(health.at.api, Api::Tcp("127.0.0.1:3454".to_owned()));
        let Ok(Some(Command::Drain(drain))) = parse(&["drain", "a", "b", "--deadline", "30s", "--api", "/n.sock"])
        else {
            panic!("no drain");
        };
        assert_eq!(drain.services, ["a", "b"]);
        assert_eq!(drain.deadline, Some(Duration::from_secs(30)));
        assert_eq!(drain.at.api, Api::Unix("/n.sock".into()));
        for wrong in [
            &["health", "--live", "--ready"][..],
            &["health", "--api", "nowhere"],
            &["drain", "--api", "a:1", "--config", "b"],
            &["drain", "--deadline", "soon"],
            &["health", "shop"],
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
