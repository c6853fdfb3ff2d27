//! The task of a router without a life of its own (a print, a file): applies what is desired at the router's pace, and
//! again until it is applied.
//!
//! Level-triggered: each wake-up leads to a look at what is desired now, and only what the target confirmed counts as
//! applied. A failed update is retried with growing delays, a change without them, because it may be the cure. Each router
//! has a task of its own, so that one that fails, or hangs, delays no other.

use std::future::{Future, pending};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use common::clock::unix_millis;
use common::ready::Latch;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::config::PaceConfig;
use crate::desired::Desired;

use super::scheduler::{ApplyScheduler, Urgency};
use super::status::RouterStatus;

/// What a router writes to.
pub(crate) trait Target: Send {
    /// Makes `desired` true. An error is for the operator; what was done is determined again at the next call.
    fn apply(&mut self, desired: &Arc<Desired>) -> impl Future<Output = Result<Applied, String>> + Send;
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Applied {
    /// It was so already.
    Unchanged,
    /// It is so now.
    Changed,
    /// Part of it; the rest has to wait until `at`.
    Rest {
        /// When to come back.
        at: Instant,
        /// What is left, for the operator.
        what: &'static str,
    },
    /// Nothing can be done before more is known; what is missing, for the operator.
    NotYet(String),
}

/// A handle to a router: what it shows.
#[derive(Debug, Clone)]
pub struct Applier {
    status: Arc<ArcSwap<RouterStatus>>,
}

/// The task behind a handle.
#[derive(Debug)]
#[must_use = "nothing is applied until the task runs"]
pub struct ApplierTask<T> {
    target: T,
    desired: watch::Receiver<Arc<Desired>>,
    pace: ApplyScheduler,
    /// How often it is looked whether all is as it should be, though nothing has changed.
    look_every: Option<Duration>,
    /// Held until everything that is wanted was applied for the first time.
    first_apply: Option<Latch>,
    shared: Arc<ArcSwap<RouterStatus>>,
    status: RouterStatus,
}

/// What is known between two steps.
#[derive(Debug)]
struct Progress {
    /// Whether all that is wanted was tried once: the first time waits for nothing.
    tried: bool,
    /// What was last applied whole.
    applied: Option<Arc<Desired>>,
    /// What was last seen.
    seen: Option<Arc<Desired>>,
    /// When the rest is due.
    rest_at: Option<Instant>,
    look_at: Option<Instant>,
}

impl Applier {
    /// Applies `desired` to `target` at this pace.
    pub(crate) fn new<T: Target>(
        target: T,
        desired: watch::Receiver<Arc<Desired>>,
        pace: PaceConfig,
        look_every: Option<Duration>,
        first_apply: Latch,
    ) -> (Self, ApplierTask<T>) {
        let status = RouterStatus::default();
        let shared = Arc::new(ArcSwap::from_pointee(status.clone()));
        let task = ApplierTask {
            target,
            desired,
            pace: ApplyScheduler::new(pace),
            look_every,
            first_apply: Some(first_apply),
            shared: Arc::clone(&shared),
            status,
        };
        (Self { status: shared }, task)
    }

    /// The state as of the last step.
    pub fn status(&self) -> Arc<RouterStatus> {
        self.status.load_full()
    }

    #[cfg(test)]
    pub(crate) fn showing(status: RouterStatus) -> Self {
        Self {
            status: Arc::new(ArcSwap::from_pointee(status)),
        }
    }
}

#[expect(
    private_bounds,
    reason = "a target is this module's affair; its users only run the task"
)]
impl<T: Target> ApplierTask<T> {
    /// Runs until `stop`; what was applied stays.
    pub async fn run(mut self, stop: CancellationToken) {
        // It stays as it is when the sources end first, which only happens when the daemon stops.
        stop.run_until_cancelled(self.keep()).await;
        stop.cancelled().await;
    }

    async fn keep(&mut self) -> Option<()> {
        let mut progress = Progress {
            tried: false,
            applied: None,
            seen: None,
            rest_at: None,
            look_at: self.look_every.map(|every| Instant::now() + every),
        };
        loop {
            let desired = Arc::clone(&self.desired.borrow_and_update());
            let at = self.due(&mut progress, &desired);
            self.publish(&progress, &desired);
            tokio::select! {
                biased;
                () = until(at) => self.apply(&mut progress, &desired).await,
                changed = self.desired.changed() => changed.ok()?,
            }
        }
    }

    /// When to act next.
    fn due(&mut self, progress: &mut Progress, desired: &Arc<Desired>) -> Option<Instant> {
        let grown = progress.seen.as_ref() != Some(desired);
        if grown {
            progress.seen = Some(Arc::clone(desired));
            self.pace.clear_backoff();
        }
        let is_applied = progress.applied.as_ref() == Some(desired);
        if is_applied {
            self.pace.forget();
        } else if progress.rest_at.is_none() || grown {
            self.pace.want(Instant::now(), grown, 0.0);
        }
        // A look is for what was right: it must not cut a wait short.
        let look_at = progress.look_at.filter(|_| is_applied);
        let urgency = if desired.is_complete() && !progress.tried {
            Urgency::Immediate
        } else {
            Urgency::Debounced
        };
        [self.pace.due(urgency), progress.rest_at, look_at]
            .into_iter()
            .flatten()
            .min()
    }

    async fn apply(&mut self, progress: &mut Progress, desired: &Arc<Desired>) {
        // Or else it is only looked whether all is right still, or the rest is done.
        let is_new = self.pace.is_wanted();
        let result = self.target.apply(desired).await;
        let now = Instant::now();
        progress.look_at = self.look_every.map(|every| now + every);
        progress.rest_at = None;
        progress.tried |= desired.is_complete();
        self.status.pending.clear();
        match result {
            Ok(applied) => {
                if is_new && applied != Applied::Unchanged {
                    self.pace.ended(now, true, 0.0);
                } else {
                    self.pace.worked(now);
                }
                self.take(progress, desired, applied);
            }
            Err(what) => {
                progress.applied = None;
                self.status.failures += 1;
                if self.status.last_error != what {
                    error!(error = %what, "What is wanted could not be applied; it is tried again.");
                    self.status.last_error = what;
                }
                self.pace.ended(now, false, fastrand::f64());
            }
        }
    }

    fn take(&mut self, progress: &mut Progress, desired: &Arc<Desired>, applied: Applied) {
        match applied {
            Applied::Rest { at, what } => {
                progress.rest_at = Some(at);
                what.clone_into(&mut self.status.pending);
                return;
            }
            // Only news can help.
            Applied::NotYet(what) => self.status.pending = what,
            Applied::Changed => {
                self.status.applies += 1;
                self.status.last_apply = Some(unix_millis());
                self.status.last_error.clear();
            }
            Applied::Unchanged => self.status.last_error.clear(),
        }
        progress.applied = Some(Arc::clone(desired));
    }

    /// Shows the state as it is now.
    fn publish(&mut self, progress: &Progress, desired: &Arc<Desired>) {
        self.status.in_sync = progress.applied.as_ref() == Some(desired)
            && self.status.pending.is_empty()
            && self.status.last_error.is_empty();
        self.status.complete = self.status.in_sync && desired.all_sources_answered();
        if self.status.in_sync && desired.is_complete() {
            self.first_apply = None;
        }
        let mut shown = self.status.clone();
        if !shown.in_sync && shown.pending.is_empty() {
            let what = if shown.last_error.is_empty() {
                "changes are gathered"
            } else {
                "the next try"
            };
            what.clone_into(&mut shown.pending);
        }
        self.shared.store(Arc::new(shown));
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests;
