//! What the actor does about reloads and starts: decide, begin, and take in how they ended.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, timeout};
use tracing::{error, info, warn};

use super::{Actor, StartWith};
use crate::config::ApplyBudget;
use crate::haproxy::actor::state::World;
use crate::haproxy::actor::view;
use crate::haproxy::cfg::file::ConfigFile;
use crate::haproxy::plan::Plan;
use crate::haproxy::plan::reason::ReloadReason;
use crate::haproxy::process::reload::{self, Done, Ended, Engine, Job};
use crate::haproxy::process::validate::{Left, Quarantine};
use crate::haproxy::status::LastReload;
use crate::router::scheduler::RateLimit;

/// How many reloads the registrations of one service get: whoever may register could else have HAProxy reloaded without
/// end, and each reload counts against the connections of all.
const REGISTRATIONS: ApplyBudget = ApplyBudget {
    applies: 5,
    per: Duration::from_mins(1),
};
/// How soon what HAProxy refused is tried again, and how soon a port that was taken.
const RETRY_LINES: Duration = Duration::from_mins(1);
const RETRY_PORT: Duration = Duration::from_secs(10);
/// A HAProxy that lived this long is started again without a wait.
const HEALTHY: Duration = Duration::from_secs(10);
/// How long a soft stop is waited for.
const SOFT_STOP: Duration = Duration::from_secs(10);

impl Actor {
    /// Why HAProxy should be reloaded or started now.
    pub(crate) fn wanted_reload(&self) -> Option<ReloadReason> {
        match &self.state.world {
            World::Unknown => None,
            World::Absent => self.can_start().then_some(ReloadReason::FirstStart),
            World::Foreign(_) => self.state.can_render().then_some(ReloadReason::Adoption),
            World::Loaded(_) => match self.state.plan() {
                Plan::Reload(reason) => Some(reason),
                Plan::Nothing | Plan::Runtime(_) => None,
            },
        }
    }

    /// Starts a reload if one is wanted and due.
    pub(crate) fn renew(&mut self, grown: bool) {
        let busy = &self.under_way;
        if !(busy.jobs.is_empty() && busy.writes.is_empty() && busy.cleanups.is_empty()) {
            return;
        }
        let Some(reason) = self.wanted_reload() else {
            self.pace.forget();
            return;
        };
        let now = Instant::now();
        self.pace.want(now, grown, fastrand::f64());
        if self.reload_at(&reason).is_none_or(|at| at > now) {
            return;
        }
        let disk = read_disk(&self.config.config_path);
        let running = match &self.state.world {
            World::Loaded(loaded) => Some(loaded.live.clone()),
            World::Foreign(live) => Some(live.clone()),
            World::Unknown | World::Absent => None,
        };
        let managed = matches!(self.engine, Engine::Managed(_));
        let candidate = match self.start_with(&disk) {
            Some(StartWith::TheOneOnDisk) => None,
            Some(StartWith::New) => Some(self.state.candidate(&reason, &disk, managed)),
            None => return,
        };
        self.under_way.served.append(&mut self.under_way.waiting);
        let job = Job {
            engine: self.engine.clone(),
            stats_socket: self.config.stats_socket.clone(),
            config_path: self.config.config_path.clone(),
            state_file: self.config.state_file.clone(),
            mode: self.checker.mode,
            checker: self.checker.clone(),
            reason,
            candidate,
            disk,
            running,
            start: self.under_way.master.is_none(),
            quarantine: self.state.quarantine.clone(),
        };
        self.under_way.jobs.spawn(job.run());
    }

    /// When a reload for `reason` is due; `None` when nothing is wanted.
    pub(crate) fn reload_at(&self, reason: &ReloadReason) -> Option<Instant> {
        let at = self.pace.due(reason.urgency())?;
        let allowance = reason
            .service()
            .and_then(|service| self.under_way.rate_limits.get(service));
        let allowed = allowance.and_then(RateLimit::next);
        Some(allowed.map_or(at, |allowed| at.max(allowed)))
    }

    /// The services whose registrations may ask for no reload at `now`.
    pub(crate) fn spent(&self, now: Instant) -> BTreeSet<String> {
        let rate_limits = self.under_way.rate_limits.iter();
        let spent = rate_limits.filter(|(_, allowance)| allowance.next().is_some_and(|at| at > now));
        spent.map(|(service, _)| service.clone()).collect()
    }

    /// Whether there is a file to start HAProxy with: a new one can be made, or an old one is there.
    fn can_start(&self) -> bool {
        self.state.can_render() || self.start_with(&read_disk(&self.config.config_path)).is_some()
    }

    /// What to load; `None` as long as nothing can be.
    fn start_with(&self, disk: &ConfigFile) -> Option<StartWith> {
        let new = self.state.can_render().then_some(StartWith::New);
        let absent = matches!(self.state.world, World::Absent) && matches!(self.engine, Engine::Managed(_));
        if !absent || disk.structure.is_none() {
            return new;
        }
        match self.under_way.start_with {
            StartWith::TheOneOnDisk => Some(StartWith::TheOneOnDisk),
            // The last file serves until it is known what should be in the next.
            StartWith::New => new.or(Some(StartWith::TheOneOnDisk)),
        }
    }

    /// Takes in how a reload or start ended.
    pub(crate) fn finish(&mut self, done: Done) {
        let now = Instant::now();
        let as_it_was = done.as_it_was;
        if let Some(master) = done.master {
            self.under_way.master = Some(master);
        }
        if let Some(quarantine) = done.quarantine {
            self.take_quarantine(quarantine, now);
        }
        let result = match done.ended {
            Ended::Unchanged => {
                self.state.retry_quarantine = false;
                self.pace.ended(now, true, 0.0);
                self.under_way.look_at = now;
                return;
            }
            Ended::Loaded { disk, live, table } => {
                let pid = live.info.pid;
                info!(reason = %done.reason, took = ?done.took, pid, "HAProxy runs with the new file.");
                if as_it_was {
                    self.state.adopt(disk, live, table);
                } else {
                    self.state.loaded(disk, live, table);
                }
                self.state.drift = None;
                self.under_way.loaded_at = Some(now);
                self.under_way.start_with = StartWith::TheOneOnDisk;
                self.status.last_error.clear();
                Ok(())
            }
            Ended::Failed(words) => {
                self.complain(format!("{}: {words}", done.reason));
                // The old file again, and a look at what runs now.
                self.under_way.saved = None;
                self.under_way.start_with = if as_it_was {
                    StartWith::New
                } else {
                    StartWith::TheOneOnDisk
                };
                Err(words)
            }
        };
        // What was changed meanwhile was changed in the old worker.
        self.under_way.look_at = now;
        self.state.retry_quarantine = false;
        self.pace.ended(now, result.is_ok(), fastrand::f64());
        if let Some(service) = done.reason.service() {
            let allowance = self.under_way.rate_limits.entry(service.to_owned());
            allowance.or_insert_with(|| RateLimit::new(REGISTRATIONS)).spend(now);
        }
        self.count(&done.reason, &result);
        self.clean_up();
        // Who asked finds it in the status.
        self.state.assign();
        self.publish();
        self.answer(&result);
    }

    /// A job that was given up, or broke.
    pub(crate) fn lost(&mut self, why: &str) {
        self.under_way.saved = None;
        self.under_way.look_at = Instant::now();
        self.pace.ended(self.under_way.look_at, false, fastrand::f64());
        self.answer(&Err(why.to_owned()));
    }

    fn answer(&mut self, result: &Result<(), String>) {
        for request in self.under_way.served.drain(..) {
            // Who asked may have gone.
            request.send(result.clone()).ok();
        }
    }

    /// The operator's cleanup command runs in the background; the next reload waits until it ends.
    fn clean_up(&mut self) {
        if let Engine::External { cleanup, .. } = &self.engine
            && !cleanup.argv.is_empty()
        {
            let cleanup = cleanup.clone();
            self.under_way.cleanups.spawn(async move {
                if let Err(error) = reload::run(&cleanup).await {
                    warn!(%error, "The cleanup command failed.");
                }
            });
        }
    }

    fn take_quarantine(&mut self, now_out: Quarantine, now: Instant) {
        for (service, known) in &now_out {
            if self.state.quarantine.get(service).map(|before| before.left) != Some(known.left) {
                let words = &known.words;
                match known.left {
                    Left::Options => {
                        warn!(%service, %words, "HAProxy refuses a service with its instances' own options: they are left out.");
                    }
                    Left::ForItsPort | Left::ForItsLines => {
                        error!(%service, %words, "A service is left out of HAProxy.");
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
        self.under_way.retry_quarantine_at = match now_out.values().map(|known| known.left).collect::<Vec<_>>() {
            none if none.is_empty() => None,
            some if some.contains(&Left::ForItsPort) => Some(now + RETRY_PORT),
            _ => Some(now + RETRY_LINES),
        };
        self.state.quarantine = now_out;
    }

    /// HAProxy ended without having been asked to.
    pub(crate) fn master_ended(&mut self, how: &str) {
        self.under_way.master = None;
        let now = Instant::now();
        // A reload would wait for its verdict in vain.
        self.under_way.jobs.abort_all();
        if self
            .under_way
            .loaded_at
            .is_none_or(|since| now.duration_since(since) < HEALTHY)
        {
            self.pace.ended(now, false, fastrand::f64());
        }
        self.complain(format!("HAProxy ended ({how}) and is started again"));
        self.state.world = World::Unknown;
        self.under_way.look_at = now;
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

    /// Ends HAProxy as softly as the time allows.
    pub(crate) async fn stop_haproxy(&mut self) {
        // One that is just being started has to be known first.
        if let Ok(Some(Ok(done))) = timeout(SOFT_STOP, self.under_way.jobs.join_next()).await {
            self.finish(done);
        }
        let Some(master) = &mut self.under_way.master else {
            return;
        };
        if let Err(error) = master.stop_softly() {
            warn!(%error, "HAProxy could not be told to stop.");
            return;
        }
        if timeout(SOFT_STOP, master.ended()).await.is_ok() {
            info!("HAProxy has stopped.");
        } else {
            info!("HAProxy still finishes its connections; `hard-stop-after` ends it.");
        }
    }
}

/// What the file on disk says; nothing when there is none that can be read.
pub(crate) fn read_disk(path: &Path) -> ConfigFile {
    std::fs::read_to_string(path)
        .map(|text| ConfigFile::parse(&text))
        .unwrap_or_default()
}
