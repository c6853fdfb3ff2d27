//! The one task that owns HAProxy: its socket, its file, its process.
//!
//! Level-triggered: any event (a change, a timer, the end of a process or of a reload) makes it compare all that is desired
//! with all that is observed, and do the next step. Only what HAProxy has confirmed counts as applied.

mod reload_step;
mod runtime_step;
pub(crate) mod state;
mod view;

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use common::file::FileError;
use common::ready::Latch;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::config::HaproxyConfig;
use crate::desired::Desired;
use crate::haproxy::actor::state::State;
use crate::haproxy::error::HaproxyError;
use crate::haproxy::plan::Plan;
use crate::haproxy::process::master::Master;
use crate::haproxy::process::reload::{Done, ReloadMethod};
use crate::haproxy::process::validate::Checker;
use crate::haproxy::runtime::parse::Statistics;
use crate::haproxy::status::{HaproxyStatus, ReloadResult};
use crate::health::Health;
use crate::router::scheduler::{ApplyScheduler, RateLimit};
use reload_step::read_disk;

/// Delay before the next query when HAProxy gave no usable answer.
const RETRY_DELAY: Duration = Duration::from_millis(500);
/// Delay before the next attempt to write the file.
const SAVE_RETRY_DELAY: Duration = Duration::from_secs(1);

/// The channels between a router and the pipeline.
#[derive(Debug)]
pub struct Channels {
    /// The desired servers.
    pub desired: watch::Receiver<Arc<Desired>>,
    /// Whether changes of their health are awaited.
    pub attention: watch::Receiver<bool>,
    /// The health of servers as HAProxy reports it.
    pub health: watch::Sender<Arc<Health>>,
}

/// What the task publishes.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) status: ArcSwap<HaproxyStatus>,
    pub(crate) rendered: ArcSwap<String>,
    /// Whether HAProxy is stopped when the task ends.
    pub(crate) stop_on_exit: AtomicBool,
}

/// A requested reload, and where its result goes.
pub(crate) type Request = oneshot::Sender<Result<(), Arc<HaproxyError>>>;

/// See the module.
#[derive(Debug)]
pub(crate) struct Actor {
    pub(crate) config: Arc<HaproxyConfig>,
    pub(crate) method: ReloadMethod,
    pub(crate) checker: Checker,
    pub(crate) shared: Arc<Shared>,
    pub(crate) channels: Channels,
    pub(crate) requests: mpsc::Receiver<Request>,
    pub(crate) state: State,
    /// The plan as of the last change of `state`.
    pub(crate) plan: Plan,
    pub(crate) scheduler: ApplyScheduler,
    /// Held until HAProxy was exactly as desired for the first time.
    pub(crate) first_apply: Option<Latch>,
    pub(crate) work: Work,
    pub(crate) timers: Timers,
    pub(crate) status: HaproxyStatus,
    /// HAProxy's counters as of the last observation.
    pub(crate) statistics: Statistics,
}

/// The work in progress.
#[derive(Debug, Default)]
pub(crate) struct Work {
    /// At most one reload or start.
    jobs: JoinSet<Done>,
    /// At most one write of the file.
    writes: JoinSet<Result<Arc<String>, FileError>>,
    /// The operator's cleanup command.
    cleanups: JoinSet<()>,
    master: Option<Master>,
    /// The text known to be on disk.
    saved: Option<Arc<String>>,
    /// Requests for a reload that has not begun.
    waiting: Vec<Request>,
    /// Requests that the current reload serves.
    served: Vec<Request>,
    /// Limits of the reloads that registrations cause, by service.
    limits: BTreeMap<String, RateLimit>,
    start_with: StartWith,
}

/// When something is due, or was done.
#[derive(Debug)]
pub(crate) struct Timers {
    observe_at: Instant,
    /// From then on an observation includes the counters, which cost ten times all other queries.
    count_at: Instant,
    /// When draining slots were last queried.
    drained_at: Instant,
    save_at: Instant,
    retry_quarantine_at: Option<Instant>,
    loaded_at: Option<Instant>,
    /// Until when unknown services delay the first file.
    wait_until: Option<Instant>,
}

/// The file that HAProxy is started with when it does not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum StartWith {
    /// A new one, checked first.
    #[default]
    New,
    /// The one on disk: it ran before, or the new one was refused.
    OnDisk,
}

impl Timers {
    /// An observation is due.
    pub(crate) fn new(now: Instant, start_wait: Duration) -> Self {
        Self {
            observe_at: now,
            count_at: now,
            drained_at: now,
            save_at: now,
            retry_quarantine_at: None,
            loaded_at: None,
            wait_until: Some(now + start_wait),
        }
    }
}

impl Actor {
    /// Runs until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        while stop.run_until_cancelled(self.step()).await.is_some() {
            let at = self.next_timer();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(done) = self.work.jobs.join_next() => match done {
                    Ok(done) => self.finish(done),
                    Err(error) if error.is_cancelled() => self.job_lost("HAProxy ended"),
                    Err(error) => {
                        error!(%error, "A reload of HAProxy failed unexpectedly.");
                        self.job_lost("it failed unexpectedly; see the log");
                    }
                },
                Some(_) = self.work.cleanups.join_next() => {}
                Some(Ok(written)) = self.work.writes.join_next() => match written {
                    Ok(text) => self.work.saved = Some(text),
                    Err(error) => {
                        self.record_error(format!("the file on disk is not the desired one: {error}"));
                        self.timers.save_at = Instant::now() + SAVE_RETRY_DELAY;
                    }
                },
                how = end(&mut self.work.master) => self.master_ended(&how),
                Some(request) = self.requests.recv() => self.work.waiting.push(request),
                // After all that ends by itself, which a steady stream of changes must not hide.
                Ok(()) = self.channels.desired.changed() => {}
                Ok(()) = self.channels.attention.changed() => self.timers.observe_at = Instant::now(),
                () = sleep_until(at) => {}
            }
        }
        self.save_last().await;
        if self.shared.stop_on_exit.load(Ordering::Relaxed) {
            self.stop_haproxy().await;
        }
    }

    fn next_timer(&self) -> Instant {
        let (work, timers, now) = (&self.work, &self.timers, Instant::now());
        let is_idle = work.jobs.is_empty();
        let mut at = vec![if is_idle {
            timers.observe_at
        } else {
            now + self.config.reconcile_interval
        }];
        at.extend(self.drain_at());
        let saves = self.state.proxy.loaded().is_some() && !self.is_saved() && work.writes.is_empty() && is_idle;
        at.extend(Some(timers.save_at).filter(|save_at| saves && *save_at > now));
        if is_idle {
            at.extend(self.wanted_reload().and_then(|reason| self.reload_at(&reason)));
            at.extend(timers.retry_quarantine_at);
            at.extend(timers.wait_until);
        }
        at.into_iter().min().unwrap_or(now)
    }

    /// Compares desired and observed state and does what can be done now.
    async fn step(&mut self) {
        let now = Instant::now();
        self.state.requested = !self.work.waiting.is_empty();
        self.apply_rate_limits(now);
        if self.timers.retry_quarantine_at.is_some_and(|at| now >= at) {
            self.timers.retry_quarantine_at = None;
            self.state.retry_quarantine = true;
        }
        if self.timers.wait_until.is_some_and(|at| now >= at) {
            self.stop_waiting();
        }
        let mut reachable = true;
        // During a reload there is nothing to observe: the job does that itself.
        if now >= self.timers.observe_at && self.work.jobs.is_empty() {
            let was_applied = self.is_applied();
            reachable = self.observe().await;
            self.replan();
            if was_applied {
                self.count_drift();
            }
            self.publish_health();
        }
        let desired = Arc::clone(&self.channels.desired.borrow_and_update());
        let changed = self.state.set_desired(&desired);
        self.state.assign();
        if reachable {
            self.release_idle(now).await;
        }
        self.replan();
        if reachable {
            self.repair().await;
        }
        self.save(now);
        self.start_reload(changed);
        self.status.complete = desired.all_sources_answered() && self.is_applied();
        self.publish();
    }

    /// Recomputes the plan after a change of the state.
    fn replan(&mut self) {
        self.plan = self.state.plan();
    }

    /// Ends the wait for a complete first file, so that unknown services don't keep the others from their start.
    fn stop_waiting(&mut self) {
        self.timers.wait_until = None;
        if !self.state.can_render() {
            warn!("Some services are still unknown; HAProxy serves the others, and those as in its last file.");
            self.state.stop_waiting(&read_disk(&self.config.config_path));
        }
    }

    /// Whether the servers were last seen as desired.
    fn is_applied(&self) -> bool {
        self.state.proxy.loaded().is_some() && self.plan == Plan::Nothing
    }

    /// Whether the file on disk is the desired one.
    fn is_saved(&self) -> bool {
        let loaded = self.state.proxy.loaded();
        loaded.is_some_and(|loaded| self.work.saved.as_ref() == Some(&loaded.text))
    }

    /// Records the current error; logs it if it is another one.
    fn record_error(&mut self, what: String) {
        if self.status.last_error != what {
            error!(error = %what, "HAProxy out of sync.");
            self.status.last_error = what;
        }
    }

    /// The pending reload, as text.
    fn pending(&self, applied: bool) -> String {
        if !self.work.jobs.is_empty() {
            return "a reload is under way".to_owned();
        }
        let wanted = if applied { None } else { self.wanted_reload() };
        wanted.map(|reason| reason.to_string()).unwrap_or_default()
    }

    /// Publishes the current state.
    fn publish(&mut self) {
        let applied = self.is_applied() && self.state.can_render();
        if applied {
            self.first_apply = None;
        }
        let saved = applied && self.is_saved();
        if saved {
            self.status.last_error.clear();
        }
        self.status.in_sync = saved && self.state.quarantine.is_empty();
        self.status.pending = self.pending(applied);
        let before = self.shared.status.load();
        let last = self.status.last_reload.as_ref();
        let reloaded = before.last_reload.as_ref() != last && last.is_some_and(|last| last.result == ReloadResult::Ok);
        if reloaded || before.runtime_commands_ok != self.status.runtime_commands_ok {
            self.status.last_apply = Some(common::clock::unix_millis());
        }
        if let Some(loaded) = self.state.proxy.loaded() {
            self.shared.rendered.store(Arc::clone(&loaded.text));
        }
        view::fill(&mut self.status, &self.state, &self.plan, &self.statistics);
        self.shared.status.store(Arc::new(self.status.clone()));
    }
}

async fn end(master: &mut Option<Master>) -> String {
    match master {
        Some(master) => master.ended().await,
        None => pending().await,
    }
}
