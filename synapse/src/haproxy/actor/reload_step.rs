//! The actor's reloads and starts: decide, begin, and take the result.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};
use tracing::{error, info, warn};

use super::{Actor, StartWith};
use crate::config::ApplyBudget;
use crate::haproxy::actor::state::ProxyState;
use crate::haproxy::actor::view;
use crate::haproxy::cfg::file::ConfigFile;
use crate::haproxy::error::HaproxyError;
use crate::haproxy::plan::Plan;
use crate::haproxy::plan::reason::ReloadReason;
use crate::haproxy::process::reload::{self, Done, Ended, Job, ReloadMethod};
use crate::haproxy::process::validate::{Quarantine, QuarantineScope};
use crate::haproxy::status::{LastReload, ReloadResult};
use crate::router::scheduler::RateLimit;

/// Reloads that the registrations of one service may cause: otherwise every registrant could reload HAProxy without end, and
/// each reload costs the connections of all.
const REGISTRATION_BUDGET: ApplyBudget = ApplyBudget {
    applies: 5,
    per: Duration::from_mins(1),
};
/// Delay before refused lines are tried again.
const LINES_RETRY_DELAY: Duration = Duration::from_mins(1);
/// Delay before a port that was in use is tried again.
const PORT_RETRY_DELAY: Duration = Duration::from_secs(10);
/// A HAProxy that lived this long is started again without delay.
const HEALTHY_AFTER: Duration = Duration::from_secs(10);
/// Time limit for a soft stop.
const SOFT_STOP_TIMEOUT: Duration = Duration::from_secs(10);

impl Actor {
    /// Returns why HAProxy should be reloaded or started now.
    pub(crate) fn wanted_reload(&self) -> Option<ReloadReason> {
        match (&self.state.proxy, &self.plan) {
            (ProxyState::Down, _) => self.can_start().then_some(ReloadReason::FirstStart),
            (ProxyState::Foreign(_), _) => self.state.can_render().then_some(ReloadReason::Adoption),
            (ProxyState::Loaded(_), Plan::Reload(reason)) => Some(reason.clone()),
            (ProxyState::Unknown, _) | (ProxyState::Loaded(_), Plan::Nothing | Plan::Runtime(_)) => None,
        }
    }

    /// Starts a reload if one is wanted and due; `changed` if the desired servers did.
    pub(crate) fn start_reload(&mut self, changed: bool) {
        let work = &self.work;
        if !(work.jobs.is_empty() && work.writes.is_empty() && work.cleanups.is_empty()) {
            return;
        }
        let Some(reason) = self.wanted_reload() else {
            self.scheduler.forget();
            return;
        };
        let now = Instant::now();
        self.scheduler.want(now, changed, fastrand::f64());
        if self.reload_at(&reason).is_none_or(|at| at > now) {
            return;
        }
        let disk = read_disk(&self.config.config_path);
        let candidate = match self.start_with(&disk) {
            Some(StartWith::OnDisk) => None,
            Some(StartWith::New) => {
                // No HAProxy of ours listens anywhere if none answers, because only synapse starts it.
                let managed = matches!(self.method, ReloadMethod::Managed(_));
                Some(self.state.candidate(&reason, &disk, managed.then(BTreeSet::new)))
            }
            None => return,
        };
        self.work.served.append(&mut self.work.waiting);
        let job = Job {
            method: self.method.clone(),
            config: Arc::clone(&self.config),
            checker: self.checker.clone(),
            reason,
            candidate,
            disk,
            running: self.state.proxy.worker().cloned(),
            start: self.work.master.is_none(),
            quarantine: self.state.quarantine.clone(),
        };
        self.work.jobs.spawn(job.run());
    }

    /// Returns when a reload for `reason` is due; `None` if none is wanted.
    pub(crate) fn reload_at(&self, reason: &ReloadReason) -> Option<Instant> {
        let at = self.scheduler.due(reason.urgency())?;
        let limit = reason.service().and_then(|service| self.work.limits.get(service));
        Some(limit.and_then(RateLimit::next).map_or(at, |allowed| at.max(allowed)))
    }

    /// Marks the services whose registrations may cause no reload at `now`.
    pub(crate) fn apply_rate_limits(&mut self, now: Instant) {
        for (id, service) in &mut self.state.services {
            let next = self.work.limits.get(id).and_then(RateLimit::next);
            service.rate_limited = next.is_some_and(|at| at > now);
        }
    }

    /// Whether there is a file to start HAProxy with: a new one can be made, or an old one exists.
    fn can_start(&self) -> bool {
        self.state.can_render() || self.start_with(&read_disk(&self.config.config_path)).is_some()
    }

    /// Returns the file to load; `None` as long as there is none.
    fn start_with(&self, disk: &ConfigFile) -> Option<StartWith> {
        let new = self.state.can_render().then_some(StartWith::New);
        let is_down = matches!(self.state.proxy, ProxyState::Down) && matches!(self.method, ReloadMethod::Managed(_));
        if !is_down || disk.structure.is_none() {
            return new;
        }
        match self.work.start_with {
            StartWith::OnDisk => Some(StartWith::OnDisk),
            // The last file serves until the content of the next one is known.
            StartWith::New => new.or(Some(StartWith::OnDisk)),
        }
    }

    /// Takes the result of a reload or start.
    pub(crate) fn finish(&mut self, done: Done) {
        let now = Instant::now();
        let as_it_was = done.as_it_was;
        if let Some(master) = done.master {
            self.work.master = Some(master);
        }
        if let Some(quarantine) = done.quarantine {
            self.take_quarantine(quarantine, now);
        }
        self.state.retry_quarantine = false;
        // Changes during the reload were made in the old worker.
        self.timers.observe_at = now;
        let result = match done.ended {
            Ended::Unchanged => {
                self.scheduler.ended(now, true, 0.0);
                self.replan();
                return;
            }
            Ended::Loaded { disk, worker, table } => {
                let pid = worker.info.pid;
                info!(reason = %done.reason, took = ?done.took, pid, "HAProxy runs with the new file.");
                if as_it_was {
                    self.state.adopt(disk, worker, table);
                } else {
                    self.state.set_loaded(disk, worker, table);
                }
                self.state.drift = None;
                self.timers.loaded_at = Some(now);
                self.work.start_with = StartWith::OnDisk;
                self.status.last_error.clear();
                Ok(())
            }
            Ended::Failed(error) => {
                self.record_error(format!("{}: {error}", done.reason));
                // The old file is written again.
                self.work.saved = None;
                self.work.start_with = if as_it_was { StartWith::New } else { StartWith::OnDisk };
                Err(Arc::new(error))
            }
        };
        self.scheduler.ended(now, result.is_ok(), fastrand::f64());
        if let Some(service) = done.reason.service() {
            let limit = self.work.limits.entry(service.to_owned());
            limit.or_insert_with(|| RateLimit::new(REGISTRATION_BUDGET)).spend(now);
        }
        self.count(&done.reason, &result);
        self.clean_up();
        // Published first, so that the requester finds the result in the status.
        self.state.assign();
        self.replan();
        self.publish();
        self.answer(&result);
    }

    /// Takes the end of a job that was aborted or panicked.
    pub(crate) fn job_lost(&mut self, why: &'static str) {
        self.work.saved = None;
        self.timers.observe_at = Instant::now();
        self.scheduler.ended(self.timers.observe_at, false, fastrand::f64());
        self.answer(&Err(Arc::new(HaproxyError::Aborted(why))));
    }

    fn answer(&mut self, result: &Result<(), Arc<HaproxyError>>) {
        for request in self.work.served.drain(..) {
            // The requester may have gone.
            request.send(result.clone()).ok();
        }
    }

    /// Runs the operator's cleanup command in the background; the next reload waits until it ends.
    fn clean_up(&mut self) {
        if let ReloadMethod::External { cleanup, .. } = &self.method
            && !cleanup.argv.is_empty()
        {
            let cleanup = cleanup.clone();
            self.work.cleanups.spawn(async move {
                if let Err(error) = reload::run(&cleanup).await {
                    warn!(%error, "The cleanup command failed.");
                }
            });
        }
    }

    fn take_quarantine(&mut self, now_out: Quarantine, now: Instant) {
        let before = std::mem::replace(&mut self.state.quarantine, now_out);
        let now_out = &self.state.quarantine;
        for (service, known) in now_out {
            if before.get(service).map(|before| before.scope) == Some(known.scope) {
                continue;
            }
            let reason = &known.reason;
            match known.scope {
                QuarantineScope::Options => {
                    warn!(%service, %reason, "HAProxy refuses the options of the service's instances: they are left out.");
                }
                QuarantineScope::PortInUse | QuarantineScope::InvalidConfig => {
                    error!(%service, %reason, "A service is left out of HAProxy.");
                }
            }
        }
        for service in before.keys().filter(|service| !now_out.contains_key(*service)) {
            info!(%service, "Quarantine lifted.");
        }
        let delay = |known: &QuarantineScope| match known {
            QuarantineScope::PortInUse => PORT_RETRY_DELAY,
            QuarantineScope::Options | QuarantineScope::InvalidConfig => LINES_RETRY_DELAY,
        };
        let delays = now_out.values().map(|known| delay(&known.scope));
        self.timers.retry_quarantine_at = delays.min().map(|delay| now + delay);
    }

    /// Takes an unexpected end of HAProxy.
    pub(crate) fn master_ended(&mut self, how: &str) {
        self.work.master = None;
        let now = Instant::now();
        // A reload would wait for its verdict in vain.
        self.work.jobs.abort_all();
        let loaded_at = self.timers.loaded_at;
        if loaded_at.is_none_or(|since| now.duration_since(since) < HEALTHY_AFTER) {
            self.scheduler.ended(now, false, fastrand::f64());
        }
        self.record_error(format!("HAProxy ended ({how}) and is started again"));
        self.state.proxy = ProxyState::Unknown;
        self.timers.observe_at = now;
    }

    fn count(&mut self, reason: &ReloadReason, result: &Result<(), Arc<HaproxyError>>) {
        let (result, detail) = match result {
            Ok(()) => (ReloadResult::Ok, reason.to_string()),
            Err(error) => (ReloadResult::Failed, format!("{reason}: {error}")),
        };
        view::count(&mut self.status.reloads, reason.label(), result);
        self.status.last_reload = Some(LastReload {
            reason: reason.label(),
            at: common::clock::unix_millis(),
            result,
            detail,
        });
    }

    /// Stops HAProxy as softly as the time allows.
    pub(crate) async fn stop_haproxy(&mut self) {
        // A HAProxy that is just being started has to be known first.
        if let Ok(Some(Ok(done))) = timeout(SOFT_STOP_TIMEOUT, self.work.jobs.join_next()).await {
            self.finish(done);
        }
        let Some(master) = &mut self.work.master else {
            return;
        };
        if let Err(error) = master.stop_softly() {
            warn!(%error, "Can't stop HAProxy.");
            return;
        }
        if timeout(SOFT_STOP_TIMEOUT, master.ended()).await.is_ok() {
            info!("HAProxy has stopped.");
        } else {
            info!("HAProxy still finishes its connections; `hard-stop-after` ends it.");
        }
    }
}

/// Reads the file on disk; empty if there is none that can be read.
pub(crate) fn read_disk(path: &Path) -> ConfigFile {
    std::fs::read_to_string(path)
        .map(|text| ConfigFile::parse(&text))
        .unwrap_or_default()
}
