//! The command line.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Parser;
use clap::error::ErrorKind;

/// Keeps a local HAProxy right: watches the registered instances of services and routes to them.
#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(name = "synapse", version, max_term_width = 100)]
pub struct Args {
    /// The configuration file (YAML or JSON)
    #[arg(short, long, value_name = "FILE", conflicts_with = "file")]
    config: Option<PathBuf>,

    /// The same, in the place where Go-Synapse has it
    #[arg(value_name = "FILE", required_unless_present = "config")]
    file: Option<PathBuf>,

    /// Overrules the file's logLevel: trace, debug, info, warn, error, off; or per module: `info,common::zk=debug`
    #[arg(short = 'L', long, value_name = "LEVEL")]
    pub log_level: Option<String>,

    /// Reads the configuration, names every problem in it (an unknown key is one), and leaves
    #[arg(long)]
    pub check_config: bool,
}

/// What to print instead of running.
#[derive(Debug)]
pub struct Leave {
    /// Help or version to standard output, or a mistake in the command line to standard error.
    pub text: String,
    /// Whether it is a mistake.
    pub is_error: bool,
}

impl Args {
    /// Reads the arguments, the program's name first.
    pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, Leave> {
        Self::try_parse_from(arguments).map_err(|error| Leave {
            text: error.to_string(),
            is_error: !matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion),
        })
    }

    /// The configuration file.
    pub fn config(&self) -> &Path {
        self.config.as_deref().or(self.file.as_deref()).unwrap_or(Path::new(""))
    }
}
