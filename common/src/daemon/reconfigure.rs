//! The reload loop: read the configuration, apply the difference, publish the outcome.

use std::future::{Future, pending};
use std::time::Duration;

use serde::Serialize;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{ConfiguredLevel, LogConfig};
use crate::config::{Loaded, Problems};
use crate::reload::{Reader, Reload, ReloadCounter, ReloadResult, Requests};
use crate::supervise::Stopping;

/// The deadline of a read: the disk may hang.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Applies configurations to the running daemon.
pub trait Reconfigure: Send {
    /// The daemon's configuration.
    type Config: LogConfig + Send + 'static;
    /// What a reload changed.
    type Changes: Default + Serialize + Send + Sync;

    /// Returns the configuration in effect.
    fn config(&self) -> &Self::Config;

    /// Makes the daemon run `desired`. All or nothing: nothing has changed after a [`Refusal::Problem`].
    fn apply(&mut self, desired: Self::Config) -> impl Future<Output = Result<Applied<Self::Changes>, Refusal>> + Send;

    /// Completes what earlier reloads began; pends when nothing is left. Cancel-safe.
    fn complete(&mut self) -> impl Future<Output = ()> + Send {
        pending()
    }
}

/// An applied configuration.
#[derive(Debug)]
pub struct Applied<C> {
    /// The changes, for the operator.
    pub changes: C,
    /// Whether nothing had to change.
    pub is_unchanged: bool,
    /// Keys of the root that changed and require a restart.
    pub needs_restart: Vec<&'static str>,
}

/// Why a configuration is not applied.
#[derive(Debug)]
pub enum Refusal {
    /// The configuration can't be applied; nothing was changed.
    Problem(String),
    /// The daemon is stopping.
    Stopping,
}

impl From<Stopping> for Refusal {
    fn from(_: Stopping) -> Self {
        Self::Stopping
    }
}

/// Serves the requests to reload.
#[derive(Debug)]
pub struct ReloadTask<M: Reconfigure> {
    /// Applies the configurations.
    pub manager: M,
    /// Reads the configuration.
    pub reader: Reader<M::Config>,
    /// The log level, which follows the configuration.
    pub level: ConfiguredLevel,
    /// The requests.
    pub requests: Requests<M::Changes>,
    /// Counts the results.
    pub counter: ReloadCounter,
}

impl<M: Reconfigure> ReloadTask<M> {
    /// Runs until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Some(request) = self.requests.next() => {
                    let Some(Ok(reload)) = stop.run_until_cancelled(self.reload()).await else {
                        return stop.cancelled().await;
                    };
                    self.counter.count(reload.result);
                    self.requests.answer(request, reload);
                }
                () = self.manager.complete() => {}
            }
        }
    }

    async fn reload(&mut self) -> Result<Reload<M::Changes>, Stopping> {
        let Loaded { value, warnings, .. } = match self.read().await {
            Ok(read) => read,
            Err(problems) => return Ok(refuse(problems)),
        };
        for warning in &warnings {
            tracing::warn!(%warning, "Configuration warning.");
        }
        let level = Some(value.log_level().to_owned())
            .filter(|level| !self.level.is_fixed && level != self.manager.config().log_level());
        if let Some(Err(error)) = level.as_deref().map(|level| self.level.handle.check(level)) {
            return Ok(refuse(vec![format!("logLevel: {error}")]));
        }
        let Applied {
            changes,
            is_unchanged,
            needs_restart,
        } = match self.manager.apply(value).await {
            Ok(applied) => applied,
            Err(Refusal::Problem(problem)) => return Ok(refuse(vec![problem])),
            Err(Refusal::Stopping) => return Err(Stopping),
        };
        if let Some(level) = level {
            // Checked above.
            self.level.handle.set(&level).ok();
        }
        if !needs_restart.is_empty() {
            tracing::warn!(keys = ?needs_restart, "Changed keys require a restart.");
        }
        Ok(Reload {
            at: crate::clock::unix_millis(),
            result: if is_unchanged {
                ReloadResult::Unchanged
            } else {
                ReloadResult::Applied
            },
            changes,
            needs_restart,
            problems: Vec::new(),
            warnings: warnings.iter().map(ToString::to_string).collect(),
        })
    }

    async fn read(&mut self) -> Result<Loaded<M::Config>, Vec<String>> {
        match timeout(READ_TIMEOUT, self.reader.read()).await {
            Ok(Ok(read)) => read.map_err(|Problems(problems)| problems.iter().map(ToString::to_string).collect()),
            Ok(Err(error)) => Err(vec![format!("the configuration can't be read: {error}")]),
            Err(_) => Err(vec![format!(
                "the configuration could not be read within {READ_TIMEOUT:?}"
            )]),
        }
    }
}

fn refuse<C: Default>(problems: Vec<String>) -> Reload<C> {
    for problem in &problems {
        tracing::error!(%problem, "Configuration refused; nothing was changed.");
    }
    Reload::refused(problems)
}
