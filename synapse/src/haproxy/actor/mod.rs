//! The one task that owns HAProxy: its socket, its file, its process.
//!
//! Level-triggered: whatever wakes it (a change, a timer, the end of a process or of a reload), it looks at all that is
//! desired and all that is known, does the next step, and remembers as applied only what HAProxy confirmed.

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
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::config::HaproxyConfig;
use crate::desired::Desired;
use crate::haproxy::actor::state::{State, World};
use crate::haproxy::plan::Plan;
use crate::haproxy::process::master::Master;
use crate::haproxy::process::reload::{Done, Engine};
use crate::haproxy::process::validate::Checker;
use crate::haproxy::runtime::parse::Statistics;
use crate::haproxy::status::HaproxyStatus;
use crate::health::Health;
use crate::router::scheduler::{ApplyScheduler, RateLimit};
use reload_step::read_disk;

/// How soon HAProxy is asked again when it gave no usable answer.
const RETRY_DELAY: Duration = Duration::from_millis(500);
/// How soon a file that could not be written is tried again.
const SAVE_RETRY_DELAY: Duration = Duration::from_secs(1);

/// What binds a router to the decisions about its servers.
#[derive(Debug)]
pub struct Channels {
    /// The servers it should have.
    pub desired: watch::Receiver<Arc<Desired>>,
    /// Whether somebody waits for news of their health.
    pub attention: watch::Receiver<bool>,
    /// Where HAProxy's word on them goes.
    pub health: watch::Sender<Arc<Health>>,
}

/// What the task publishes.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) status: ArcSwap<HaproxyStatus>,
    pub(crate) rendered: ArcSwap<String>,
}

/// Someone waits for a reload.
pub(crate) type Request = oneshot::Sender<Result<(), String>>;

/// See the module.
#[derive(Debug)]
pub(crate) struct Actor {
    pub(crate) config: HaproxyConfig,
    pub(crate) engine: Engine,
    pub(crate) stop_on_exit: Arc<AtomicBool>,
    pub(crate) checker: Checker,
    pub(crate) shared: Arc<Shared>,
    pub(crate) links: Channels,
    pub(crate) requests: mpsc::Receiver<Request>,
    pub(crate) state: State,
    pub(crate) pace: ApplyScheduler,
    /// Held until HAProxy was exactly as desired for the first time.
    pub(crate) first_apply: Option<Latch>,
    pub(crate) under_way: UnderWay,
    pub(crate) status: HaproxyStatus,
    /// What HAProxy counts, as of the last look.
    pub(crate) statistics: Statistics,
}

/// What is under way, and when what is due.
#[derive(Debug)]
pub(crate) struct UnderWay {
    /// At most one reload or start.
    jobs: JoinSet<Done>,
    /// At most one write of the file.
    writes: JoinSet<Result<Arc<String>, FileError>>,
    master: Option<Master>,
    /// The text known to be on disk.
    saved: Option<Arc<String>>,
    /// Who waits for a reload that has not begun.
    waiting: Vec<Request>,
    /// Who waits for the one under way.
    served: Vec<Request>,
    /// By service: what its registrations may still ask for.
    rate_limits: BTreeMap<String, RateLimit>,
    look_at: Instant,
    /// From when on a look asks for what HAProxy counts too: that is ten times the work of all else it is asked.
    count_at: Instant,
    /// When draining slots were last asked whether they are idle.
    drained_at: Instant,
    save_at: Instant,
    retry_quarantine_at: Option<Instant>,
    loaded_at: Option<Instant>,
    /// Until when services that are not known hold up the first file.
    wait_until: Option<Instant>,
    start_with: StartWith,
    /// The operator's cleanup command.
    cleanups: JoinSet<()>,
}

/// With which file HAProxy is to be started when it does not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StartWith {
    /// A new one, checked first.
    New,
    /// The one on disk: it ran before, or the new one was refused.
    TheOneOnDisk,
}

impl UnderWay {
    /// Nothing is, and a first look is due.
    pub(crate) fn new(now: Instant, start_wait: Duration) -> Self {
        Self {
            jobs: JoinSet::new(),
            writes: JoinSet::new(),
            master: None,
            saved: None,
            waiting: Vec::new(),
            served: Vec::new(),
            rate_limits: BTreeMap::new(),
            look_at: now,
            count_at: now,
            drained_at: now,
            save_at: now,
            retry_quarantine_at: None,
            loaded_at: None,
            wait_until: Some(now + start_wait),
            start_with: StartWith::New,
            cleanups: JoinSet::new(),
        }
    }
}

/// What woke the actor.
enum Wake {
    Stop,
    Look,
    /// Somebody waits for HAProxy's word on its servers, or no longer.
    Attention,
    Asked(Request),
    Job(Box<Done>),
    JobLost(JoinError),
    Written(Result<Arc<String>, FileError>),
    MasterEnded(String),
}

impl Actor {
    /// Runs until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        loop {
            if stop.run_until_cancelled(self.step()).await.is_none() {
                break;
            }
            match self.wake(&stop).await {
                Wake::Stop => break,
                Wake::Look => {}
                Wake::Attention => self.under_way.look_at = Instant::now(),
                Wake::Asked(request) => self.under_way.waiting.push(request),
                Wake::Job(done) => self.finish(*done),
                Wake::JobLost(error) if error.is_cancelled() => self.lost("HAProxy ended"),
                Wake::JobLost(error) => {
                    error!(%error, "A reload of HAProxy broke.");
                    self.lost("it broke; the log says how");
                }
                Wake::Written(Ok(text)) => self.under_way.saved = Some(text),
                Wake::Written(Err(error)) => {
                    self.complain(format!("the file on disk is not the desired one: {error}"));
                    self.under_way.save_at = Instant::now() + SAVE_RETRY_DELAY;
                }
                Wake::MasterEnded(how) => self.master_ended(&how),
            }
        }
        self.save_last().await;
        if self.stop_on_exit.load(Ordering::Relaxed) {
            self.stop_haproxy().await;
        }
    }

    async fn wake(&mut self, stop: &CancellationToken) -> Wake {
        let at = self.next_timer();
        let UnderWay {
            jobs,
            writes,
            cleanups,
            master,
            ..
        } = &mut self.under_way;
        tokio::select! {
            biased;
            () = stop.cancelled() => Wake::Stop,
            Some(done) = jobs.join_next() => match done {
                Ok(done) => Wake::Job(Box::new(done)),
                Err(error) => Wake::JobLost(error),
            },
            Some(_) = cleanups.join_next() => Wake::Look,
            Some(written) = writes.join_next() => written.map_or(Wake::Look, Wake::Written),
            how = end(master) => Wake::MasterEnded(how),
            Some(request) = self.requests.recv() => Wake::Asked(request),
            // After what ends by itself: changes without end must not hide it.
            Ok(()) = self.links.desired.changed() => Wake::Look,
            Ok(()) = self.links.attention.changed() => Wake::Attention,
            () = sleep_until(at) => Wake::Look,
        }
    }

    fn next_timer(&self) -> Instant {
        let due = &self.under_way;
        let mut at = if due.jobs.is_empty() {
            due.look_at
        } else {
            Instant::now() + self.config.reconcile_interval
        };
        if let World::Loaded(_) = &self.state.world {
            at = at.min(self.drain_at().unwrap_or(at));
            if !self.is_saved() && due.writes.is_empty() && due.jobs.is_empty() && due.save_at > Instant::now() {
                at = at.min(due.save_at);
            }
        }
        if due.jobs.is_empty() {
            let reload = self.wanted_reload().and_then(|reason| self.reload_at(&reason));
            at = [reload, due.retry_quarantine_at, due.wait_until]
                .into_iter()
                .flatten()
                .fold(at, Instant::min);
        }
        at
    }

    /// Looks at everything and does what can be done now.
    async fn step(&mut self) {
        let now = Instant::now();
        self.state.asked = !self.under_way.waiting.is_empty();
        self.state.spent = self.spent(now);
        if self.under_way.retry_quarantine_at.is_some_and(|at| now >= at) {
            self.under_way.retry_quarantine_at = None;
            self.state.retry_quarantine = true;
        }
        if self.under_way.wait_until.is_some_and(|at| now >= at) {
            self.stop_waiting();
        }
        let mut reachable = true;
        // While it is being replaced, there is nothing to be learnt of it: the job looks for itself.
        if now >= self.under_way.look_at && self.under_way.jobs.is_empty() {
            let was_right = self.is_applied();
            reachable = self.look().await;
            if was_right {
                self.count_drift();
            }
            self.tell_health();
        }
        let desired = Arc::clone(&self.links.desired.borrow_and_update());
        let grown = self.state.want(&desired);
        self.state.assign();
        if reachable {
            self.release_idle(now).await;
            self.repair().await;
        }
        self.save(now);
        self.renew(grown);
        self.status.complete = desired.all_sources_answered() && self.is_applied();
        self.publish();
    }

    /// A first file was waited for long enough: services that nobody knows yet must not keep the others from their start.
    fn stop_waiting(&mut self) {
        self.under_way.wait_until = None;
        if !self.state.can_render() {
            warn!("Some services are still unknown; HAProxy serves the others, and those as it last knew them.");
            self.state.stop_waiting(&read_disk(&self.config.config_path));
        }
    }

    /// Whether nothing is left to do with the servers as they were last seen.
    fn is_applied(&self) -> bool {
        matches!(self.state.world, World::Loaded(_)) && self.state.plan() == Plan::Nothing
    }

    /// Whether the file on disk is the desired one.
    fn is_saved(&self) -> bool {
        match &self.state.world {
            World::Loaded(loaded) => self.under_way.saved.as_ref() == Some(&loaded.text),
            World::Unknown | World::Absent | World::Foreign(_) => false,
        }
    }

    /// Says what is wrong, once for each that differs.
    fn complain(&mut self, what: String) {
        if self.status.last_error != what {
            error!(error = %what, "HAProxy is not as it should be.");
            self.status.last_error = what;
        }
    }

    /// What HAProxy has yet to be made, in words.
    fn pending(&self, applied: bool) -> String {
        if !self.under_way.jobs.is_empty() {
            return "a reload is under way".to_owned();
        }
        let wanted = if applied { None } else { self.wanted_reload() };
        wanted.map(|reason| reason.to_string()).unwrap_or_default()
    }

    /// Shows the state as it is now.
    fn publish(&mut self) {
        let applied = self.is_applied() && self.state.can_render();
        if applied {
            self.first_apply = None;
        }
        let settled = applied && self.is_saved();
        if settled {
            self.status.last_error.clear();
        }
        self.status.in_sync = settled && self.state.quarantine.is_empty();
        self.status.pending = self.pending(applied);
        let before = self.shared.status.load();
        let reloaded = before.last_reload != self.status.last_reload
            && self
                .status
                .last_reload
                .as_ref()
                .is_some_and(|reload| reload.result == "ok");
        if reloaded || before.runtime_commands_ok != self.status.runtime_commands_ok {
            self.status.last_apply = Some(common::clock::unix_millis());
        }
        if let World::Loaded(loaded) = &self.state.world {
            self.shared.rendered.store(Arc::clone(&loaded.text));
        }
        view::fill(&mut self.status, &self.state, &self.statistics);
        self.shared.status.store(Arc::new(self.status.clone()));
    }
}

async fn end(master: &mut Option<Master>) -> String {
    match master {
        Some(master) => master.ended().await,
        None => pending().await,
    }
}
