//! The one task that owns HAProxy: its socket, its file, its process.
//!
//! Level-triggered: whatever wakes it (a change, a timer, the end of a process or of a reload), it looks at all that is
//! desired and all that is known, does the next step, and remembers as applied only what HAProxy confirmed.

use std::collections::BTreeMap;
use std::future::pending;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use common::file::FileError;
use common::ready::Latch;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::config::HaproxyConfig;
use crate::desired::Desired;

use super::command::Refusal;
use super::disk::{self, Disk};
use super::live::{self, Live};
use super::pace::Pace;
use super::parse::Table;
use super::plan::{Batch, Plan};
use super::prepare::{Checker, Left, Quarantine};
use super::process::Master;
use super::reason::ReloadReason;
use super::reload::{Done, Ended, Engine, Job};
use super::socket::{Session, is_absent};
use super::state::{State, World};
use super::status::{HaproxyStatus, LastReload};
use super::{Shared, view};

/// The waits before a mismatch is looked at again; one that outlasts them needs a reload.
const RETRIES: [u64; 4] = [0, 1, 10, 100];
/// How often draining slots are asked whether they are idle.
const DRAIN: Duration = Duration::from_secs(1);
/// How soon HAProxy is asked again when it gave no usable answer.
const AGAIN: Duration = Duration::from_millis(500);
/// How soon what HAProxy refused is tried again, and how soon a port that was taken.
const RETRY_LINES: Duration = Duration::from_secs(60);
const RETRY_PORT: Duration = Duration::from_secs(10);
/// A HAProxy that lived this long is started again without a wait.
const HEALTHY: Duration = Duration::from_secs(10);
/// How long a soft stop is waited for.
const SOFT_STOP: Duration = Duration::from_secs(10);

/// Someone waits for a reload.
pub(super) type Request = oneshot::Sender<Result<(), String>>;

/// See the module.
#[derive(Debug)]
pub(super) struct Actor {
    pub(super) config: HaproxyConfig,
    pub(super) engine: Engine,
    pub(super) stop_on_exit: bool,
    pub(super) checker: Checker,
    pub(super) shared: Arc<Shared>,
    pub(super) desired: watch::Receiver<Arc<Desired>>,
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) state: State,
    pub(super) pace: Pace,
    /// Held until HAProxy was exactly as desired for the first time.
    pub(super) first_apply: Option<Latch>,
    pub(super) io: Io,
    pub(super) status: HaproxyStatus,
}

/// What is under way, and when what is due.
#[derive(Debug)]
pub(super) struct Io {
    jobs: JoinSet<Done>,
    writes: JoinSet<Result<Arc<String>, FileError>>,
    master: Option<Master>,
    /// The text known to be on disk.
    saved: Option<Arc<String>>,
    waiting: Vec<Request>,
    /// Requests that the job under way answers.
    served: Vec<Request>,
    look_at: Instant,
    reconcile_at: Instant,
    drain_at: Instant,
    save_at: Instant,
    retry_quarantine_at: Option<Instant>,
    loaded_at: Option<Instant>,
    /// The file on disk is one that HAProxy ran before it ended.
    ran: bool,
    as_is_failed: bool,
    prepare_failed: bool,
}

impl Io {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            jobs: JoinSet::new(),
            writes: JoinSet::new(),
            master: None,
            saved: None,
            waiting: Vec::new(),
            served: Vec::new(),
            look_at: now,
            reconcile_at: now,
            drain_at: now,
            save_at: now,
            retry_quarantine_at: None,
            loaded_at: None,
            ran: false,
            as_is_failed: false,
            prepare_failed: false,
        }
    }
}

/// What woke the actor.
enum Wake {
    Stop,
    Look,
    Asked(Request),
    Job(Box<Done>),
    Written(Result<Arc<String>, FileError>),
    MasterEnded(String),
}

impl Actor {
    /// Runs until `stop`.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        loop {
            if stop.run_until_cancelled(self.step()).await.is_none() {
                break;
            }
            match self.wake(&stop).await {
                Wake::Stop => break,
                Wake::Look => {}
                Wake::Asked(request) => self.io.waiting.push(request),
                Wake::Job(done) => self.finish(*done),
                Wake::Written(Ok(text)) => self.io.saved = Some(text),
                Wake::Written(Err(error)) => {
                    self.complain(format!("the file on disk is not the desired one: {error}"));
                    self.io.save_at = Instant::now() + Duration::from_secs(1);
                }
                Wake::MasterEnded(how) => self.master_ended(&how),
            }
        }
        if self.stop_on_exit {
            self.stop_haproxy().await;
        }
    }

    async fn wake(&mut self, stop: &CancellationToken) -> Wake {
        let at = self.next_timer();
        let Io {
            jobs, writes, master, ..
        } = &mut self.io;
        tokio::select! {
            biased;
            () = stop.cancelled() => Wake::Stop,
            Ok(()) = self.desired.changed() => Wake::Look,
            Some(done) = jobs.join_next() => match done {
                Ok(done) => Wake::Job(Box::new(done)),
                Err(error) => { error!(%error, "A reload of HAProxy broke off."); Wake::Look }
            },
            Some(written) = writes.join_next() => written.map_or(Wake::Look, Wake::Written),
            how = master_end(master) => Wake::MasterEnded(how),
            Some(request) = self.requests.recv() => Wake::Asked(request),
            () = sleep_until(at) => Wake::Look,
        }
    }

    fn next_timer(&self) -> Instant {
        let io = &self.io;
        let mut at = io.look_at.min(io.reconcile_at);
        if let World::Loaded(loaded) = &self.state.world {
            if loaded.layout.values().any(|backend| backend.is_draining()) {
                at = at.min(io.drain_at);
            }
            if io.saved.as_ref().is_none_or(|saved| **saved != loaded.file.text)
                && io.writes.is_empty()
                && io.jobs.is_empty()
            {
                at = at.min(io.save_at.max(Instant::now() + Duration::from_millis(1)));
            }
        }
        if io.jobs.is_empty() {
            let due = self.wanted_reload().and_then(|reason| self.pace.due(reason.urgency()));
            at = [due, io.retry_quarantine_at]
                .into_iter()
                .flatten()
                .fold(at, Instant::min);
        }
        at
    }

    /// Looks at everything and does what can be done now.
    async fn step(&mut self) {
        let desired = Arc::clone(&self.desired.borrow_and_update());
        let grown = self.state.want(&desired);
        let now = Instant::now();
        self.state.asked = !self.io.waiting.is_empty();
        let was_right = !grown && self.is_applied();
        let reconcile = now >= self.io.reconcile_at;
        if reconcile {
            self.io.reconcile_at = now + self.config.reconcile_interval;
        }
        if reconcile || now >= self.io.look_at {
            self.look().await;
        }
        if self.io.retry_quarantine_at.is_some_and(|at| now >= at) {
            self.io.retry_quarantine_at = None;
            self.state.retry_quarantine = true;
        }
        self.state.assign();
        self.release_idle(now).await;
        self.repair(was_right).await;
        self.save(now);
        self.reload(grown);
        self.publish();
    }

    /// Whether nothing is left to do with the servers as they were last seen.
    fn is_applied(&self) -> bool {
        matches!(self.state.world, World::Loaded(_)) && self.state.plan() == Plan::Nothing
    }

    /// Asks HAProxy who it is and what it has.
    async fn look(&mut self) {
        self.io.look_at = Instant::now() + self.config.reconcile_interval;
        match self.see().await {
            Ok((live, table)) => {
                let path = self.config.config_path.clone();
                let before = self.pid();
                let now = Some(live.info.pid);
                self.state.saw(live, table, || read_disk(&path));
                if before.is_some() && before != now && self.io.jobs.is_empty() {
                    info!(pid = now, "HAProxy was reloaded or restarted by someone else.");
                }
                if let World::Foreign(_) = self.state.world
                    && before.is_none()
                {
                    warn!(pid = now, "HAProxy runs with a file that is not the one on disk.");
                }
            }
            Err(error) if is_absent(&error) && self.io.jobs.is_empty() && self.io.master.is_none() => {
                if matches!(self.state.world, World::Loaded(_)) {
                    self.complain("HAProxy is gone: nobody answers on its stats socket".to_owned());
                }
                self.state.world = World::Absent;
                self.io.look_at = Instant::now() + AGAIN;
            }
            Err(error) => {
                if self.io.jobs.is_empty() {
                    self.complain(format!(
                        "HAProxy does not answer on {}: {error}",
                        self.config.stats_socket.display()
                    ));
                }
                self.io.look_at = Instant::now() + AGAIN;
            }
        }
    }

    async fn see(&mut self) -> Result<(Live, Table), std::io::Error> {
        let managed = match &self.engine {
            Engine::Managed(control) => Some(control.processes().await),
            Engine::External { .. } => None,
        };
        let processes = match managed {
            Some(Ok(processes)) => Some(processes),
            Some(Err(error)) if !is_absent(&error) => return Err(error),
            Some(Err(_)) | None => None,
        };
        if let Some(processes) = &processes {
            self.status.old_workers = processes.old_workers;
            if self.io.master.is_none() && self.io.jobs.is_empty() {
                self.io.master = Some(Master::adopt(processes.master)?);
                info!(pid = processes.master, "Found HAProxy running.");
            }
        }
        let mut session = Session::open(&self.config.stats_socket).await?;
        let live = live::identify(&mut session).await?;
        if matches!(self.engine, Engine::Managed(_))
            && processes.is_none_or(|known| !known.workers.contains(&live.info.pid))
        {
            let pid = live.info.pid;
            return Err(std::io::Error::other(format!(
                "process {pid} answers, which is no worker of our master"
            )));
        }
        let table = live::table(&mut session).await?;
        Ok((live, table))
    }

    fn pid(&self) -> Option<u32> {
        match &self.state.world {
            World::Loaded(loaded) => Some(loaded.live.info.pid),
            World::Foreign(live) => Some(live.info.pid),
            World::Unknown | World::Absent => None,
        }
    }

    /// Frees the slots of instances that were removed once nothing is bound to them.
    async fn release_idle(&mut self, now: Instant) {
        let World::Loaded(loaded) = &self.state.world else {
            return;
        };
        let mut draining = Vec::new();
        for (service, backend) in loaded.layout.iter().filter(|(_, backend)| backend.is_draining()) {
            draining.extend(
                loaded
                    .table
                    .get(service.as_str())
                    .map(|live| (service.clone(), live.id)),
            );
            let _ = backend;
        }
        if draining.is_empty() || now < self.io.drain_at {
            return;
        }
        self.io.drain_at = now + DRAIN;
        let asked = async {
            let mut session = Session::open(&self.config.stats_socket).await?;
            let mut found = Vec::new();
            for (service, id) in draining {
                found.push((service, live::idle(&mut session, id).await?));
            }
            Ok::<_, std::io::Error>(found)
        };
        match asked.await {
            Ok(found) => {
                for (service, idle) in found {
                    self.state.release(&service, &idle);
                }
                self.state.assign();
            }
            Err(error) => debug!(%error, "HAProxy did not say which servers are idle."),
        }
    }

    /// Runs what the plan asks of the runtime API until HAProxy is as it should be, as far as it can be without a reload.
    async fn repair(&mut self, was_right: bool) {
        let mut last = String::new();
        for wait in RETRIES {
            let Plan::Runtime(batch) = self.state.plan() else {
                return;
            };
            if wait > 0 {
                sleep(Duration::from_millis(wait)).await;
            } else if was_right {
                let servers = batch.targets().len();
                self.status.drift_repairs = self
                    .status
                    .drift_repairs
                    .saturating_add(u64::try_from(servers).unwrap_or(u64::MAX));
                warn!(
                    servers,
                    "Servers in HAProxy were changed by someone else and are put right."
                );
            }
            match self.carry_out(&batch).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    self.complain(format!("HAProxy did not take the changes: {error}"));
                    self.io.look_at = Instant::now() + AGAIN;
                    return;
                }
            }
            last = batch.commands().next().map(ToString::to_string).unwrap_or_default();
        }
        if let Plan::Runtime(_) = self.state.plan() {
            self.complain(format!("HAProxy does not do `{last}`"));
            self.state.drift = Some(last);
        }
    }

    /// `false` when another worker answers than the one the plan was made for: look first.
    async fn carry_out(&mut self, batch: &Batch) -> Result<bool, std::io::Error> {
        let World::Loaded(loaded) = &mut self.state.world else {
            return Ok(false);
        };
        let started = Instant::now();
        let mut session = Session::open(&self.config.stats_socket).await?;
        let live = live::identify(&mut session).await?;
        if live.info.pid != loaded.live.info.pid || live.info.stopping {
            self.io.look_at = started + if self.io.jobs.is_empty() { Duration::ZERO } else { AGAIN };
            return Ok(false);
        }
        let report = live::carry_out(&mut session, batch, &mut loaded.table).await?;
        let refused = u64::try_from(report.refused.len()).unwrap_or(u64::MAX);
        self.status.runtime_commands_ok = self.status.runtime_commands_ok.saturating_add(report.accepted);
        self.status.runtime_commands_failed = self.status.runtime_commands_failed.saturating_add(refused);
        for (command, refusal) in report.refused {
            match refusal {
                Refusal::StaticBalance => {
                    self.state.fixed_weights.insert(command.target.backend.to_string());
                }
                Refusal::Other(words) => warn!(%command, %words, "HAProxy refused a command."),
            }
        }
        let servers = batch.targets().len();
        info!(servers, commands = report.accepted, took = ?started.elapsed(), "Changed servers without a reload.");
        Ok(true)
    }

    /// Makes the file equal to what HAProxy now has. What goes in has been checked when its structure was loaded, and the
    /// rest of it is addresses and numbers, so HAProxy is not asked again.
    fn save(&mut self, now: Instant) {
        let World::Loaded(loaded) = &self.state.world else {
            return;
        };
        self.shared.rendered.store(Arc::new(loaded.file.text.clone()));
        let idle = self.io.writes.is_empty() && self.io.jobs.is_empty() && now >= self.io.save_at;
        let loaded_structure = loaded.live.structure.as_ref() == Some(&loaded.file.structure);
        if !idle || !loaded_structure || self.io.saved.as_ref().is_some_and(|saved| **saved == loaded.file.text) {
            return;
        }
        let (path, mode) = (self.config.config_path.clone(), self.checker.mode);
        let text = Arc::new(loaded.file.text.clone());
        self.io
            .writes
            .spawn_blocking(move || common::file::write_atomic(&path, text.as_bytes(), mode).map(|_| text));
    }

    /// Why HAProxy should be reloaded or started now.
    fn wanted_reload(&self) -> Option<ReloadReason> {
        match &self.state.world {
            World::Unknown => None,
            World::Absent => Some(ReloadReason::FirstStart),
            World::Foreign(_) => self.state.can_render().then_some(ReloadReason::Adoption),
            World::Loaded(_) => match self.state.plan() {
                Plan::Reload(reason) => Some(reason),
                Plan::Nothing | Plan::Runtime(_) => None,
            },
        }
    }

    /// Starts a reload if one is wanted and due.
    fn reload(&mut self, grown: bool) {
        if !self.io.jobs.is_empty() || !self.io.writes.is_empty() {
            return;
        }
        let Some(reason) = self.wanted_reload() else {
            self.pace.forget();
            return;
        };
        let now = Instant::now();
        self.pace.want(now, grown);
        if self.pace.due(reason.urgency()).is_none_or(|due| due > now) {
            return;
        }
        let disk = read_disk(&self.config.config_path);
        let running = match &self.state.world {
            World::Loaded(loaded) => Some(loaded.live.clone()),
            World::Foreign(live) => Some(live.clone()),
            World::Unknown | World::Absent => None,
        };
        let candidate = match self.as_is(&disk) {
            Some(true) => None,
            Some(false) => Some(self.state.candidate(&reason, &disk)),
            None => return,
        };
        self.io.served.append(&mut self.io.waiting);
        let job = Job {
            engine: self.engine.clone(),
            stats_socket: self.config.stats_socket.clone(),
            config_path: self.config.config_path.clone(),
            mode: self.checker.mode,
            checker: self.checker.clone(),
            reason,
            candidate,
            disk,
            running,
            quarantine: self.state.quarantine.clone(),
        };
        self.io.jobs.spawn(job.run());
    }

    /// Whether HAProxy is started with the file as it is: what ran before, or the last good one as long as it is not
    /// known what should be in it. `None` when nothing can be started at all.
    fn as_is(&self, disk: &Disk) -> Option<bool> {
        let can_render = self.state.can_render();
        if !matches!(self.state.world, World::Absent) {
            return can_render.then_some(false);
        }
        let managed = matches!(self.engine, Engine::Managed(_));
        let usable = managed && disk.structure.is_some() && !self.io.as_is_failed;
        if usable && (self.io.ran || !can_render || self.io.prepare_failed) {
            return Some(true);
        }
        can_render.then_some(false)
    }

    fn finish(&mut self, done: Done) {
        let now = Instant::now();
        let took = done.took;
        if let Some(master) = done.master {
            self.io.master = Some(master);
        }
        if let Some(quarantine) = done.quarantine {
            self.take_quarantine(quarantine, now);
        }
        let result = match done.ended {
            Ended::Unchanged => {
                self.state.retry_quarantine = false;
                self.pace.forget();
                self.io.look_at = now;
                return;
            }
            Ended::Loaded {
                prepared,
                disk,
                live,
                table,
            } => {
                let pid = live.info.pid;
                info!(reason = %done.reason, ?took, pid, "HAProxy runs with the new file.");
                match prepared {
                    Some(prepared) => {
                        self.io.saved = Some(Arc::new(prepared.file.text.clone()));
                        self.state.loaded(prepared.layout, prepared.binds, live, table);
                    }
                    None => self.state.adopt(disk, live, table),
                }
                self.state.drift = None;
                self.io.loaded_at = Some(now);
                (self.io.ran, self.io.as_is_failed, self.io.prepare_failed) = (true, false, false);
                self.status.last_error.clear();
                Ok(())
            }
            Ended::Failed(words) => {
                self.complain(format!("{}: {words}", done.reason));
                // The old file again, and a look at what runs now.
                self.io.saved = None;
                self.io.look_at = now;
                self.io.as_is_failed |= done.as_it_was;
                self.io.prepare_failed |= !done.as_it_was;
                Err(words)
            }
        };
        // A port or a line that was refused before is looked at again in its own time.
        self.state.retry_quarantine = false;
        self.pace.ended(now, result.is_ok(), fastrand::f64());
        self.count(&done.reason, &result);
        for request in self.io.served.drain(..) {
            // Who asked may have gone.
            request.send(result.clone()).ok();
        }
    }

    fn take_quarantine(&mut self, now_out: Quarantine, now: Instant) {
        for (service, known) in &now_out {
            if self.state.quarantine.get(service).map(|before| before.left) != Some(known.left) {
                let words = &known.words;
                match known.left {
                    Left::Options => {
                        warn!(%service, %words, "HAProxy refuses a service with its instances' own options: they are left out.")
                    }
                    Left::ForItsPort | Left::ForItsLines => {
                        error!(%service, %words, "A service is left out of HAProxy.")
                    }
                }
            }
        }
        for service in self
            .state
            .quarantine
            .keys()
            .filter(|service| !now_out.contains_key(*service))
        {
            info!(%service, "A service is whole in HAProxy again.");
        }
        self.io.retry_quarantine_at = match now_out.values().map(|known| known.left).collect::<Vec<_>>() {
            none if none.is_empty() => None,
            some if some.contains(&Left::ForItsPort) => Some(now + RETRY_PORT),
            _ => Some(now + RETRY_LINES),
        };
        self.state.quarantine = now_out;
    }

    fn master_ended(&mut self, how: &str) {
        self.io.master = None;
        let now = Instant::now();
        if self
            .io
            .loaded_at
            .is_none_or(|since| now.duration_since(since) < HEALTHY)
        {
            self.pace.ended(now, false, fastrand::f64());
        }
        self.complain(format!("HAProxy ended ({how}) and is started again"));
        self.state.world = World::Unknown;
        self.io.look_at = now;
    }

    fn count(&mut self, reason: &ReloadReason, result: &Result<(), String>) {
        let word = if result.is_ok() { "ok" } else { "failed" };
        view::count(&mut self.status.reloads, reason.label(), word);
        self.status.last_reload = Some(LastReload {
            reason: reason.label(),
            at: common::clock::unix_millis(),
            result: word,
            detail: match result {
                Ok(()) => reason.to_string(),
                Err(error) => format!("{reason}: {error}"),
            },
        });
    }

    /// Says what is wrong, once for each that differs.
    fn complain(&mut self, what: String) {
        if self.status.last_error != what {
            error!(error = %what, "HAProxy is not as it should be.");
            self.status.last_error = what;
        }
    }

    fn publish(&mut self) {
        let applied = self.is_applied() && self.state.can_render();
        if applied {
            self.first_apply = None;
            self.status.last_error.clear();
        }
        let saved = match &self.state.world {
            World::Loaded(loaded) => self.io.saved.as_ref().is_some_and(|saved| **saved == loaded.file.text),
            World::Unknown | World::Absent | World::Foreign(_) => false,
        };
        self.status.in_sync = applied && saved && self.state.quarantine.is_empty();
        view::fill(&mut self.status, &self.state);
        self.shared.status.store(Arc::new(self.status.clone()));
    }

    async fn stop_haproxy(&mut self) {
        let Some(master) = &mut self.io.master else { return };
        if let Err(error) = master.stop_softly() {
            warn!(%error, "HAProxy could not be told to stop.");
            return;
        }
        let ended = tokio::time::timeout(SOFT_STOP, master.ended()).await;
        match ended {
            Ok(_) => info!("HAProxy has stopped."),
            Err(_) => info!("HAProxy still finishes its connections; `hard-stop-after` ends it."),
        }
    }
}

async fn master_end(master: &mut Option<Master>) -> String {
    match master {
        Some(master) => master.ended().await,
        None => pending().await,
    }
}

/// What the file on disk says; nothing when there is none that can be read.
fn read_disk(path: &PathBuf) -> Disk {
    std::fs::read_to_string(path)
        .map(|text| disk::read(&text))
        .unwrap_or_default()
}
