//! Every task has an owner, a name and a stage of the shutdown.
//!
//! A daemon names its stages in an enum of its own, in the order in which they stop. A stage is asked to stop (its
//! token is cancelled) when all tasks of the earlier stages have ended; all share one deadline. A task that ends on its
//! own, or panics, before anyone asked it to stop is a bug: everything stops, in order, and the daemon leaves with a
//! failure, so that its supervisor starts it again.

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::signal::Signals;

/// Owns the tasks of a daemon. `S` is the daemon's enum of stages, in the order of stopping.
#[derive(Debug)]
pub struct Supervisor<S> {
    _stages: std::marker::PhantomData<S>,
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

impl<S: Copy + Ord + Debug> Supervisor<S> {
    /// An owner without tasks.
    pub fn new() -> Self {
        todo!()
    }

    /// Starts a task in `stage`; `task` gets the token that tells it to stop.
    pub fn start<F, Fut>(&mut self, stage: S, name: impl Into<String>, task: F)
    where
        F: FnOnce(CancellationToken) -> Fut,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let _ = (stage, name.into(), task(CancellationToken::new()));
        todo!()
    }

    /// Runs until a stop signal or the first task that ends on its own, then stops stage by stage within `grace`,
    /// naming every few seconds who is still running. `on_stop` runs first of all (e.g. `/ready` turns false), and
    /// `on_reload` at each SIGHUP.
    pub async fn run(
        self,
        signals: &mut Signals,
        grace: Duration,
        on_stop: impl FnOnce(),
        on_reload: impl FnMut(),
    ) -> Ended {
        let _ = (signals, grace, on_stop, on_reload);
        todo!()
    }
}
