//! Every task has an owner, a name and a stage of the shutdown.
//!
//! A daemon names its stages in an enum of its own, in the order in which they stop. A stage is asked to stop (its
//! token is cancelled) when all tasks of the earlier stages have ended; all share one deadline. A task that ends on its
//! own, or panics, before anyone asked it to stop is a bug: everything stops, in order, and the daemon leaves with a
//! failure, so that its supervisor starts it again. A panic is such a failure even during the shutdown.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, interval_at, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, error, error_span, info, warn};

use crate::signal::{Signal, Signals};

#[cfg(test)]
mod tests;

/// How often the shutdown says who is still running.
const REPORT_EVERY: Duration = Duration::from_secs(5);

/// Owns the tasks of a daemon. `S` is the daemon's enum of stages, in the order of stopping.
///
/// Dropping it, or the future of [`run`](Self::run), aborts what still runs.
#[derive(Debug)]
pub struct Supervisor<S> {
    tokens: BTreeMap<S, CancellationToken>,
    running: HashMap<Id, (S, String)>,
    tasks: JoinSet<()>,
}

/// How the daemon ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// Asked by a signal, and every task ended within the deadline.
    Clean,
    /// Asked by a signal, but these tasks were still running at the deadline or at the second signal.
    StillRunning(Vec<String>),
    /// This task ended or panicked on its own; the rest was stopped.
    TaskFailed {
        /// The task's name.
        task: String,
        /// Its panic message, or that it ended.
        why: String,
    },
}

type Joined = Result<(Id, ()), JoinError>;

impl<S: Copy + Ord + Debug> Default for Supervisor<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Copy + Ord + Debug> Supervisor<S> {
    /// An owner without tasks.
    pub fn new() -> Self {
        Self {
            tokens: BTreeMap::new(),
            running: HashMap::new(),
            tasks: JoinSet::new(),
        }
    }

    /// Starts a task in `stage`; `task` gets the token that tells it to stop. Must be called inside the runtime.
    pub fn start<F, Fut>(&mut self, stage: S, name: impl Into<String>, task: F)
    where
        F: FnOnce(CancellationToken) -> Fut,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let name = name.into();
        // At error level, so that the span is there whatever the log level lets through.
        let span = error_span!("task", name);
        let token = self.tokens.entry(stage).or_default().clone();
        let future = span.in_scope(|| task(token));
        let id = self.tasks.spawn(future.instrument(span)).id();
        self.running.insert(id, (stage, name));
    }

    /// Runs until a stop signal or the first task that ends on its own, then stops stage by stage within `grace`,
    /// naming every few seconds who is still running. `on_stop` runs first of all (e.g. `/ready` turns false), and
    /// `on_reload` at each SIGHUP.
    pub async fn run(
        mut self,
        signals: &mut Signals,
        grace: Duration,
        on_stop: impl FnOnce(),
        mut on_reload: impl FnMut(),
    ) -> Ended {
        let failed = loop {
            tokio::select! {
                biased;
                signal = signals.next() => match signal {
                    Signal::Stop => break None,
                    Signal::Reload => on_reload(),
                },
                Some(joined) = self.tasks.join_next_with_id() => {
                    if let Some(failed) = self.failure(joined) {
                        break Some(failed);
                    }
                }
            }
        };
        on_stop();
        self.stop(signals, grace, failed).await
    }

    /// The shutdown: stage after stage, one deadline for all.
    async fn stop(mut self, signals: &mut Signals, grace: Duration, failed: Option<Ended>) -> Ended {
        let mut asked = failed.is_none();
        let mut failed = failed;
        info!(grace = ?grace, "Stopping.");
        let mut deadline = std::pin::pin!(sleep(grace));
        let mut report = interval_at(Instant::now() + REPORT_EVERY, REPORT_EVERY);
        for (stage, token) in self.tokens.clone() {
            debug!(?stage, "Stopping a stage.");
            token.cancel();
            while self.running.values().any(|(of, _)| *of == stage) {
                tokio::select! {
                    biased;
                    signal = signals.next() => match signal {
                        // After a failure the first signal asks for what is already happening.
                        Signal::Stop if !asked => asked = true,
                        Signal::Stop => {
                            let running = self.still_running();
                            warn!(?running, "Stopping at once, as asked a second time.");
                            return failed.unwrap_or(Ended::StillRunning(running));
                        }
                        Signal::Reload => {}
                    },
                    () = deadline.as_mut() => {
                        let running = self.still_running();
                        error!(?running, "These tasks did not stop in time and are left behind.");
                        return failed.unwrap_or(Ended::StillRunning(running));
                    }
                    _ = report.tick() => {
                        let left = deadline.deadline().saturating_duration_since(Instant::now());
                        info!(running = ?self.still_running(), ?left, "Still stopping.");
                    }
                    Some(joined) = self.tasks.join_next_with_id() => {
                        let failure = self.failure(joined);
                        failed = failed.or(failure);
                    }
                }
            }
        }
        info!("All tasks have stopped.");
        failed.unwrap_or(Ended::Clean)
    }

    /// Takes note of a task's end; says so when it had no leave to end, or panicked.
    fn failure(&mut self, joined: Joined) -> Option<Ended> {
        let id = match &joined {
            Ok((id, ())) => *id,
            Err(error) => error.id(),
        };
        let (stage, task) = self.running.remove(&id)?;
        let asked = self.tokens.get(&stage).is_some_and(CancellationToken::is_cancelled);
        let why = match joined {
            Ok(_) if asked => return None,
            Ok(_) => "it ended without being asked to".to_owned(),
            Err(error) => why_broken(error),
        };
        error!(task, why, "A task failed; the daemon stops.");
        Some(Ended::TaskFailed { task, why })
    }

    /// The names of the tasks that run, in the order in which they are to stop.
    fn still_running(&self) -> Vec<String> {
        let mut running: Vec<_> = self.running.values().collect();
        running.sort_unstable();
        running.into_iter().map(|(_, name)| name.clone()).collect()
    }
}

fn why_broken(error: JoinError) -> String {
    match error.try_into_panic() {
        Ok(payload) => {
            let message = payload
                .downcast_ref::<&str>()
                .copied()
                .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
                .unwrap_or("no message");
            format!("it panicked: {message}")
        }
        Err(cancelled) => cancelled.to_string(),
    }
}
