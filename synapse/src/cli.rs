//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use common::config::UnknownKeys;

/// Keeps a local HAProxy right: routes to the registered instances of services.
#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(
    name = "synapse",
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    override_usage = "synapse [OPTIONS] --config <FILE>\n       synapse [OPTIONS] <FILE>\n       synapse <render|plan> [OPTIONS] --config <FILE>",
    after_help = "Exit codes: 0 stopped as asked, 1 broke while running, 64 wrong command line, 78 wrong configuration or what it names on this machine."
)]
pub struct Cli {
    /// Look, and change nothing
    #[command(subcommand)]
    pub look: Option<Look>,

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

    /// Leave as soon as every router was applied, HAProxy running
    #[arg(long)]
    pub once: bool,

    /// With `--once`: how long that may take
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = common::config::duration)]
    pub wait: Duration,
}

/// What can be looked at.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Look {
    /// Print what the routers would write, from what the sources say now
    Render(LookArgs),
    /// Print what would be done to what runs: commands, reloads, and how the files would change
    Plan(LookArgs),
}

/// How to look.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct LookArgs {
    /// The configuration file, YAML or JSON
    #[arg(value_name = "FILE", required_unless_present = "config", conflicts_with = "config")]
    pub file: Option<PathBuf>,

    /// The same, as an option
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Only the router with this number, counted from 1 in the file's order
    #[arg(long, value_name = "N")]
    pub router: Option<usize>,

    /// How long the sources may take to answer; who has not answered then keeps what is on disk
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = common::config::duration)]
    pub wait: Duration,
}

impl Cli {
    /// The configuration file.
    pub fn path(&self) -> PathBuf {
        let (config, file) = match &self.look {
            Some(Look::Render(args) | Look::Plan(args)) => (&args.config, &args.file),
            None => (&self.config, &self.file),
        };
        config.as_ref().or(file.as_ref()).cloned().unwrap_or_default()
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
