//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use common::config::UnknownKeys;
use common::http::client::{Api, Question};

/// Keeps a local HAProxy right: routes to the registered instances of services.
#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(
    name = "synapse",
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    override_usage = "synapse [OPTIONS] --config <FILE>\n       synapse [OPTIONS] <FILE>\n       synapse <render|plan> [OPTIONS] --config <FILE>\n       synapse <health|wait> [OPTIONS]\n       synapse haproxy [OPTIONS] --config <FILE>",
    after_help = "Exit codes: 0 stopped as asked, 1 broke while running, 64 wrong command line, 78 wrong configuration or what it names on this machine."
)]
pub struct Cli {
    /// Look, ask, or keep HAProxy running
    #[command(subcommand)]
    pub command: Option<Command>,

    /// What it is configured by
    #[command(flatten)]
    pub configuration: Configuration,

    /// Overrides the file's `logLevel`: trace, debug, info, warn, error or off, alone or per module
    #[arg(short = 'L', long, value_name = "LEVEL")]
    pub log_level: Option<String>,

    /// Read the configuration, name every problem in it and leave; unknown keys are problems
    #[arg(long)]
    pub check_config: bool,

    /// Leave as soon as every router was applied, HAProxy running
    #[arg(long)]
    pub once: bool,

    /// With `--once`: how long that may take
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = common::config::duration)]
    pub wait: Duration,
}

/// Where the configuration is.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Configuration {
    /// The configuration file, YAML or JSON
    #[arg(value_name = "FILE", required_unless_present = "config", conflicts_with = "config")]
    pub file: Option<PathBuf>,

    /// The same, as an option
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl Configuration {
    /// The file.
    fn path(&self) -> PathBuf {
        self.config.as_ref().or(self.file.as_ref()).cloned().unwrap_or_default()
    }
}

/// What can be looked at, what the synapse that runs is asked, and what is kept running.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Print what the routers would write, from what the sources say now
    Render(LookArgs),
    /// Print what would be done to what runs: commands, reloads, and how the files would change
    Plan(LookArgs),
    /// Say in one line whether the synapse that runs is well; exit code 1 when it is not
    Health(Health),
    /// Wait until the synapse that runs is ready; exit code 1 when that takes too long
    Wait(Wait),
    /// Keep the HAProxy of a synapse with `runHaproxy: false` running, in a container of its own
    Haproxy(KeepArgs),
}

/// How to look.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct LookArgs {
    /// What it is configured by
    #[command(flatten)]
    pub configuration: Configuration,

    /// Only the router with this number, counted from 1 in the file's order
    #[arg(long, value_name = "N")]
    pub router: Option<usize>,

    /// How long the sources may take to answer; who has not answered then keeps what is on disk
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = common::config::duration)]
    pub wait: Duration,
}

/// `haproxy`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct KeepArgs {
    /// That synapse's
    #[command(flatten)]
    pub configuration: Configuration,

    /// The router with this number, counted from 1 in the file's order, where several have `runHaproxy: false`
    #[arg(long, value_name = "N")]
    pub router: Option<usize>,
}

/// Where the synapse that runs has its API.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Where {
    /// Its configuration file, which says where its API is
    #[arg(long, value_name = "FILE", conflicts_with = "api")]
    pub config: Option<PathBuf>,

    /// Its API: HOST:PORT or the path of its socket
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:3455")]
    pub api: Api,
}

/// `health`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Health {
    /// Whether it answers
    #[arg(long, group = "question")]
    pub live: bool,

    /// Whether it has started: every HAProxy was applied once
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

/// `wait`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Wait {
    /// Wait for a server of this service too, named by its id or its name; may be repeated
    #[arg(long = "service", value_name = "NAME")]
    pub services: Vec<String>,

    /// How long to wait at most
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = common::config::duration)]
    pub timeout: Duration,

    /// Where it is
    #[command(flatten)]
    pub at: Where,
}

impl Cli {
    /// The configuration file.
    pub fn path(&self) -> PathBuf {
        match &self.command {
            Some(Command::Render(args) | Command::Plan(args)) => args.configuration.path(),
            Some(Command::Haproxy(args)) => args.configuration.path(),
            Some(Command::Health(_) | Command::Wait(_)) | None => self.configuration.path(),
        }
    }

    /// Whether it is to run until it is told to stop.
    pub fn stays(&self) -> bool {
        self.command.is_none() && !self.check_config && !self.once
    }

    /// What an unknown key of the file is.
    pub fn unknown_keys(&self) -> UnknownKeys {
        if self.check_config {
            UnknownKeys::Refuse
        } else {
            UnknownKeys::Warn
        }
    }
}
