//! The skeleton of a daemon: `main`, the shared command line, the state for its API, and the reload loop.

pub mod cli;
mod reconfigure;
mod running_state;

use std::fmt;
use std::process::{ExitCode, Termination};
use std::time::Duration;

use clap::Parser;

use crate::config::{Loaded, Problems, UnknownKeys};
use crate::exit::{self, Fatal};
use crate::http::{self, Bound, CommonRoutes, Listen, ProbesConfig};
use crate::supervise::Supervisor;
use crate::telemetry::log::{self, Format, LevelHandle};

pub use reconfigure::{Applied, Reconfigure, Refusal, ReloadTask};
pub use running_state::RunningState;

/// The part of a configuration that sets up the logs.
pub trait LogConfig {
    /// `logLevel`.
    fn log_level(&self) -> &str;
    /// `logFormat`.
    fn log_format(&self) -> Format;
}

/// The log level as the configuration controls it.
#[derive(Debug)]
pub struct ConfiguredLevel {
    /// Changes the level.
    pub handle: LevelHandle,
    /// Whether the command line sets the level, so that `logLevel` is ignored.
    pub is_fixed: bool,
}

/// Parses the command line, runs the daemon `name` or a subcommand by `run`, and prints its error; the exit code.
pub fn main<C: Parser, T: Termination>(name: &str, run: impl FnOnce(C) -> Result<T, Fatal>) -> ExitCode {
    let ended = match C::try_parse() {
        Ok(cli) => run(cli),
        Err(error) => {
            error.print().ok();
            let code = if error.use_stderr() {
                exit::ExitCode::Usage
            } else {
                exit::ExitCode::Ok
            };
            return ExitCode::from(code as u8);
        }
    };
    ended.map_or_else(
        |fatal| {
            report(format_args!("{name}: {}", fatal.message.trim_end()));
            ExitCode::from(fatal.code as u8)
        },
        Termination::report,
    )
}

/// Loads the configuration and sets up the logs. `None`: the command line requests a check only, and its result is
/// printed. `default_level` replaces `logLevel`.
pub fn prepare<C: LogConfig>(
    args: &cli::DaemonArgs,
    default_level: Option<&str>,
    load: impl FnOnce(UnknownKeys) -> Result<Loaded<C>, Problems>,
) -> Result<Option<(C, ConfiguredLevel)>, Fatal> {
    let path = args.path();
    let unknown = if args.check_config {
        UnknownKeys::Refuse
    } else {
        UnknownKeys::Warn
    };
    let Loaded {
        value: config,
        warnings,
        ..
    } = load(unknown)?;
    if args.check_config {
        if !warnings.is_empty() {
            report(format_args!("Warnings:\n{}", Problems(warnings)));
        }
        report(format_args!("{}: the configuration is valid.", path.display()));
        return Ok(None);
    }
    let fixed = args.log_level.as_deref();
    let level = fixed.or(default_level).unwrap_or(config.log_level());
    let handle = log::init(level, config.log_format()).map_err(|error| match fixed {
        Some(_) => Fatal {
            code: exit::ExitCode::Usage,
            message: error.to_string(),
        },
        None => Fatal::config(format!("{}: logLevel: {error}", path.display())),
    })?;
    for warning in warnings {
        tracing::warn!(%warning, "Configuration warning.");
    }
    let is_fixed = fixed.is_some();
    Ok(Some((config, ConfiguredLevel { handle, is_fixed })))
}

/// Takes the address of the API.
pub async fn bind_api(listen: &Listen) -> Result<Bound, Fatal> {
    http::bind(listen).await.map_err(|error| {
        Fatal::config(format!(
            "the API {error}; does it run already? Choose another `apiPort`, `apiHost` or `apiSocket`"
        ))
    })
}

/// Binds the probes' listener, if one is configured.
pub async fn bind_probes(config: Option<&ProbesConfig>) -> Result<Option<Bound>, Fatal> {
    match config {
        Some(probes) => Ok(Some(probes.bind().await.map_err(Fatal::config)?)),
        None => Ok(None),
    }
}

/// Serves the probes, if there is a listener, in `stage` of the stop.
pub fn serve_probes<S: Copy + Ord + fmt::Debug + Send + 'static>(
    supervisor: &mut Supervisor<S>,
    stage: S,
    bound: Option<Bound>,
    common: &CommonRoutes,
    drain: Duration,
) {
    if let Some(probes) = bound {
        tracing::info!(address = probes.address(), "Probes are served.");
        let handler = http::probes(common.clone());
        supervisor.start(stage, "probes", |stop| probes.serve(handler, drain, stop));
    }
}

/// Prints the output of a subcommand.
#[expect(clippy::print_stdout, reason = "the output of a subcommand")]
pub fn print(text: impl fmt::Display) {
    print!("{text}");
}

/// Prints a line for the operator to standard error, for use before the logs are set up.
#[expect(clippy::print_stderr, reason = "for the operator, before there are logs")]
pub fn report(line: impl fmt::Display) {
    eprintln!("{line}");
}
