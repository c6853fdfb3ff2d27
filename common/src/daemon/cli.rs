//! The arguments and queries that both daemons have.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use crate::exit::Fatal;
use crate::http::client::{self, Api, Probe};

/// The exit codes, for `--help`.
pub const EXIT_CODES: &str = "Exit codes: 0 stopped on request, 1 failed while running, 64 invalid command line, 78 invalid configuration or something that it names on this machine.";

/// The location of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct ConfigFile {
    /// The configuration file, YAML or JSON
    #[arg(value_name = "FILE", required_unless_present = "config", conflicts_with = "config")]
    pub file: Option<PathBuf>,

    /// The same, as an option
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// The arguments of the daemon itself.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct DaemonArgs {
    /// The configuration.
    #[command(flatten)]
    pub configuration: ConfigFile,

    /// Overrides the file's `logLevel`: trace, debug, info, warn, error or off, alone or per module
    #[arg(short = 'L', long, value_name = "LEVEL")]
    pub log_level: Option<String>,

    /// Read the configuration, report every problem in it and exit; unknown keys are problems
    #[arg(long)]
    pub check_config: bool,
}

/// The API of a running daemon; `PORT` is its default port.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Endpoint<const PORT: u16> {
    /// The configuration file of the running daemon, which contains the address of its API
    #[arg(long, value_name = "FILE", conflicts_with = "api")]
    pub config: Option<PathBuf>,

    /// The address of its API: HOST:PORT or the path of its socket
    #[arg(long, value_name = "ADDRESS", default_value_t = Api::at("127.0.0.1", PORT))]
    pub api: Api,
}

/// `health`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Health<const PORT: u16> {
    /// Query whether it responds
    #[arg(long, group = "probe")]
    pub live: bool,

    /// Query whether it has started
    #[arg(long, group = "probe")]
    pub started: bool,

    /// Query whether it is ready; the default
    #[arg(long, group = "probe")]
    pub ready: bool,

    /// Deadline of the query
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = crate::config::duration)]
    pub timeout: Duration,

    /// The daemon.
    #[command(flatten)]
    pub endpoint: Endpoint<PORT>,
}

impl ConfigFile {
    /// Returns the path of the file.
    pub fn path(&self) -> PathBuf {
        self.config.as_ref().or(self.file.as_ref()).cloned().unwrap_or_default()
    }
}

impl DaemonArgs {
    /// Returns the path of the configuration.
    pub fn path(&self) -> PathBuf {
        self.configuration.path()
    }
}

impl<const PORT: u16> Endpoint<PORT> {
    /// Returns the address of the API, read by `configured` from the configuration if that is given.
    pub fn resolve(&self, configured: impl FnOnce(&Path) -> Result<Api, Fatal>) -> Result<Api, Fatal> {
        self.config.as_deref().map_or_else(|| Ok(self.api.clone()), configured)
    }
}

impl<const PORT: u16> Health<PORT> {
    /// Returns the probe to query.
    pub fn probe(&self) -> Probe {
        match (self.live, self.started) {
            (true, _) => Probe::Live,
            (_, true) => Probe::Started,
            _ => Probe::Ready,
        }
    }

    /// Queries the health of `daemon` at `api`: a line, or the reason why it is not well.
    pub async fn query(&self, daemon: &str, api: &Api) -> Result<String, Fatal> {
        let health = client::health(daemon, api, self.probe(), self.timeout).await;
        health.map_err(Fatal::runtime)
    }
}
