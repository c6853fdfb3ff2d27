//! The command line.

use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use common::daemon::cli::{self, DaemonArgs, EXIT_CODES};

/// The default port of the API.
const API_PORT: u16 = 3454;

type Endpoint = cli::Endpoint<API_PORT>;
type Health = cli::Health<API_PORT>;

/// Checks local services and registers them in ZooKeeper.
#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(
    name = "nerve",
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    override_usage = "nerve [OPTIONS] --config <FILE>\n       nerve [OPTIONS] <FILE>\n       nerve <health|drain|enable> [OPTIONS]",
    after_help = EXIT_CODES
)]
pub struct Cli {
    /// A query to a running nerve
    #[command(subcommand)]
    pub command: Option<Command>,

    /// The arguments of the daemon.
    #[command(flatten)]
    pub daemon: DaemonArgs,

    /// A template in the configuration that names an absent environment variable is a problem, not `<no value>`
    #[arg(long)]
    pub strict_template: bool,
}

/// A query to a running nerve.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Print health in one line; exit code 1 when unhealthy
    Health(Health),
    /// Withdraw services and wait until it is safe to stop them; exit code 1 when it is not
    Drain(Drain),
    /// Re-enable services
    Enable(Enable),
}

/// `drain`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Drain {
    /// The services; all but those with `excludeFromGlobalDisable` by default
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,

    /// The reason, for the status and the report
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,

    /// Maximum time to wait; services withdrawn by then stay withdrawn
    #[arg(long, value_name = "DURATION", value_parser = common::config::duration)]
    pub deadline: Option<Duration>,

    /// Run the shutdown commands too
    #[arg(long)]
    pub shutdown: bool,

    /// The running nerve.
    #[command(flatten)]
    pub endpoint: Endpoint,
}

/// `enable`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Enable {
    /// The services; all but those with `excludeFromGlobalDisable` by default
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,

    /// The reason, for the log
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,

    /// The running nerve.
    #[command(flatten)]
    pub endpoint: Endpoint,
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use common::http::client::{Api, Probe};

    use super::*;

    #[test]
    fn the_file_is_an_argument_or_an_option() {
        let parse = |args: &[&str]| Cli::try_parse_from([&["nerve"], args].concat()).map(|cli| cli.daemon.path());
        for args in [&["a.yaml"][..], &["--config", "a.yaml"]] {
            assert_eq!(parse(args).expect("one file"), PathBuf::from("a.yaml"));
        }
        assert!(parse(&[]).is_err());
        assert!(parse(&["a.yaml", "--config", "b.yaml"]).is_err());
    }

    #[test]
    fn a_query_needs_no_file() {
        let parse = |args: &[&str]| Cli::try_parse_from([&["nerve"], args].concat()).map(|cli| cli.command);
        let Ok(Some(Command::Health(health))) = parse(&["health"]) else {
            panic!("no health");
        };
        assert_eq!(health.probe(), Probe::Ready);
        assert_eq!(health.endpoint.api, Api::Tcp("127.0.0.1:3454".to_owned()));
        let Ok(Some(Command::Drain(drain))) = parse(&["drain", "a", "b", "--deadline", "30s", "--api", "/n.sock"])
        else {
            panic!("no drain");
        };
        assert_eq!(drain.services, ["a", "b"]);
        assert_eq!(drain.deadline, Some(Duration::from_secs(30)));
        assert_eq!(drain.endpoint.api, Api::Unix("/n.sock".into()));
        for invalid in [
            &["health", "--live", "--ready"][..],
            &["health", "--api", "nowhere"],
            &["drain", "--api", "a:1", "--config", "b"],
            &["drain", "--deadline", "soon"],
            &["health", "shop"],
        ] {
            assert!(parse(invalid).is_err(), "{invalid:?}");
        }
    }
}
