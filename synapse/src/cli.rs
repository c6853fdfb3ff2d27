//! The command line.

use std::path::PathBuf;

use clap::Parser;
use common::config::UnknownKeys;

/// Keeps a local HAProxy right: routes to the registered instances of services.
#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(
    name = "synapse",
    version,
    after_help = "Exit codes: 0 stopped as asked, 1 broke while running, 64 wrong command line, 78 wrong configuration or what it names on this machine."
)]
pub struct Cli {
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
}

impl Cli {
    /// The configuration file.
    pub fn path(&self) -> PathBuf {
        self.config.clone().or_else(|| self.file.clone()).unwrap_or_default()
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
