//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use common::daemon::cli::{self, ConfigFile, DaemonArgs, EXIT_CODES};

/// The default port of the API.
const API_PORT: u16 = 3455;

type Endpoint = cli::Endpoint<API_PORT>;

/// `health`.
pub type Health = cli::Health<API_PORT>;

/// Keeps a local HAProxy in sync with the registered instances of services.
#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(
    name = "synapse",
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    override_usage = "synapse [OPTIONS] --config <FILE>\n       synapse [OPTIONS] <FILE>\n       synapse <render|plan> [OPTIONS] --config <FILE>\n       synapse <health|wait> [OPTIONS]\n       synapse haproxy [OPTIONS] --config <FILE>",
    after_help = EXIT_CODES
)]
pub struct Cli {
    /// A dry run, a query to a running synapse, or the supervision of HAProxy
    #[command(subcommand)]
    pub command: Option<Command>,

    /// The arguments of the daemon.
    #[command(flatten)]
    pub daemon: DaemonArgs,

    /// Exit as soon as every router is applied, and leave HAProxy running
    #[arg(long)]
    pub once: bool,

    /// With `--once`: the maximum time for that
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = common::config::duration)]
    pub wait: Duration,
}

/// A dry run, a query to a running synapse, or the supervision of HAProxy.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Print what the routers would write, from the current content of the sources
    Render(PlanArgs),
    /// Print what would change: runtime commands, reloads, and a diff of the files
    Plan(PlanArgs),
    /// Print health in one line; exit code 1 when unhealthy
    Health(Health),
    /// Wait until the running synapse is ready; exit code 1 on a timeout
    Wait(Wait),
    /// Run the HAProxy of a synapse with `runHaproxy: false`, in a container of its own
    Haproxy(ChildArgs),
}

/// `render` and `plan`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct PlanArgs {
    /// The configuration.
    #[command(flatten)]
    pub configuration: ConfigFile,

    /// Only the router with this number, counted from 1 in the file's order
    #[arg(long, value_name = "N")]
    pub router: Option<usize>,

    /// Maximum time for the sources to answer; services without an answer keep what is on disk
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = common::config::duration)]
    pub wait: Duration,
}

/// `haproxy`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct ChildArgs {
    /// The configuration of that synapse.
    #[command(flatten)]
    pub configuration: ConfigFile,

    /// The router with this number, counted from 1 in the file's order, if several have `runHaproxy: false`
    #[arg(long, value_name = "N")]
    pub router: Option<usize>,
}

/// `wait`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Wait {
    /// Also wait for a server of this service, named by its id or its name; may be repeated
    #[arg(long = "service", value_name = "NAME")]
    pub services: Vec<String>,

    /// Maximum time to wait
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = common::config::duration)]
    pub timeout: Duration,

    /// The running synapse.
    #[command(flatten)]
    pub endpoint: Endpoint,
}

impl Cli {
    /// Returns the path of the configuration of the daemon or of a dry run.
    pub fn configuration(&self) -> PathBuf {
        match &self.command {
            Some(Command::Render(args) | Command::Plan(args)) => args.configuration.path(),
            _ => self.daemon.path(),
        }
    }

    /// Whether this is the daemon, which runs until a signal stops it.
    pub fn runs_until_stopped(&self) -> bool {
        self.command.is_none() && !self.daemon.check_config && !self.once
    }
}
