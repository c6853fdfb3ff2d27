//! The actor's work on a running HAProxy: observe it, change servers, and keep the file equal.

use std::io::Error;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

use super::reload_step::read_disk;
use super::{Actor, RETRY_DELAY};
use crate::config::ServersMode;
use crate::haproxy::actor::state::{Draining, ProxyState};
use crate::haproxy::plan::Plan;
use crate::haproxy::process::master::Master;
use crate::haproxy::process::reload::ReloadMethod;
use crate::haproxy::runtime::batch::Batch;
use crate::haproxy::runtime::client::{self, Worker};
use crate::haproxy::runtime::command::{Action, Command, Refusal};
use crate::haproxy::runtime::parse::{Process, Table};
use crate::haproxy::runtime::socket::{Session, is_not_listening};

/// Delays in milliseconds before a mismatch is repaired again; one that outlasts them needs a reload.
const REPAIR_DELAYS: [u64; 4] = [0, 1, 10, 100];
/// How often draining slots are queried for idle ones.
const DRAIN_POLL_INTERVAL: Duration = Duration::from_secs(1);
/// The same while an instance waits for a slot, and would otherwise need a reload.
const AWAITED_DRAIN_POLL_INTERVAL: Duration = Duration::from_millis(20);
/// How often HAProxy is observed while changes of health are awaited.
const HEALTH_POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How long a master may fail to answer while its worker serves.
const MASTER_TIMEOUT: Duration = Duration::from_secs(1);
/// Delay before the next observation after an unexpected worker answered.
const UNEXPECTED_RETRY_DELAY: Duration = Duration::from_millis(10);

impl Actor {
    /// Observes HAProxy; returns whether it answered.
    pub(crate) async fn observe(&mut self) -> bool {
        let mut interval = self.config.reconcile_interval;
        if *self.channels.attention.borrow_and_update() {
            interval = interval.min(HEALTH_POLL_INTERVAL);
        }
        self.timers.observe_at = Instant::now() + interval;
        match self.query().await {
            Ok((worker, table)) => {
                let path = self.config.config_path.clone();
                self.warn_unsupported_dynamic(&worker);
                let before = self.process();
                let (pid, now) = (worker.info.pid, Some(worker.info.process()));
                self.state.observe(worker, table, || read_disk(&path));
                if before.is_some() && before != now {
                    info!(pid, "HAProxy was reloaded or restarted externally.");
                }
                if before.is_none() && matches!(self.state.proxy, ProxyState::Foreign(_)) {
                    warn!(pid, "HAProxy runs with a file that is not the one on disk.");
                }
                true
            }
            Err(error) => {
                self.timers.observe_at = Instant::now() + RETRY_DELAY;
                if is_not_listening(&error) && !self.has_master().await {
                    if self.state.proxy.loaded().is_some() {
                        self.record_error("HAProxy is gone: no process listens on its stats socket".to_owned());
                    }
                    self.state.proxy = ProxyState::Down;
                } else {
                    let socket = self.config.stats_socket.display();
                    self.record_error(format!("HAProxy does not answer on {socket}: {error}"));
                }
                false
            }
        }
    }

    /// Warns, once for each worker, that dynamic servers are required and it does not support them.
    fn warn_unsupported_dynamic(&self, worker: &Worker) {
        let is_new = self.process() != Some(worker.info.process());
        if self.config.servers == ServersMode::Dynamic && !worker.supports_dynamic_servers && is_new {
            let (pid, version) = (worker.info.pid, &worker.info.version);
            warn!(
                pid,
                version, "`servers: dynamic`, but the running HAProxy does not support it: slots are used."
            );
        }
    }

    /// Publishes the health of servers as last observed.
    pub(crate) fn publish_health(&self) {
        let now = self.state.health();
        self.channels.health.send_if_modified(|health| {
            let differs = **health != now;
            if differs {
                *health = Arc::new(now);
            }
            differs
        });
    }

    /// Whether there is a master, which another supervisor or an earlier synapse may have started.
    async fn has_master(&mut self) -> bool {
        if let ReloadMethod::Managed(control) = &self.method
            && let None | Some(Master::Elsewhere) = self.work.master
        {
            let Ok(processes) = control.processes().await else {
                self.work.master = None;
                return false;
            };
            // A master that can't be watched still exists: a second one would take its ports.
            self.work.master = control.adopt(processes.master).await.ok();
            return true;
        }
        self.work.master.is_some()
    }

    async fn query(&mut self) -> Result<(Worker, Table), Error> {
        let mut session = Session::open(&self.config.stats_socket).await?;
        let worker = client::identify(&mut session).await?;
        if let ReloadMethod::Managed(control) = &self.method {
            let pid = worker.info.pid;
            let processes = control.processes_within(MASTER_TIMEOUT).await;
            let processes = processes.map_err(|error| {
                Error::other(format!(
                    "process {pid} answers, but no master to reload it with ({error})"
                ))
            })?;
            if !processes.workers.contains(&pid) {
                let what = format!("process {pid} answers, which is no worker of our master");
                return Err(Error::other(what));
            }
            self.status.old_workers = processes.old_workers;
            if self.work.master.is_none() {
                self.work.master = Some(control.adopt(processes.master).await?);
                info!(pid = processes.master, "Found HAProxy running.");
            }
        }
        let table = client::table(&mut session).await?;
        if Instant::now() >= self.timers.count_at {
            self.statistics = client::statistics(&mut session).await?;
            // A little early, so that the next regular observation includes the counters, and none before it does.
            self.timers.count_at = Instant::now() + self.config.reconcile_interval.mul_f64(0.9);
        }
        Ok((worker, table))
    }

    /// The worker that answered last.
    fn process(&self) -> Option<Process> {
        self.state.proxy.worker().map(|worker| worker.info.process())
    }

    /// When draining slots are due to be queried; `None` if there are none.
    pub(crate) fn drain_at(&self) -> Option<Instant> {
        self.state.draining().next()?;
        let interval = if self.state.lacks_a_slot() {
            AWAITED_DRAIN_POLL_INTERVAL
        } else {
            DRAIN_POLL_INTERVAL
        };
        Some(self.timers.drained_at + interval)
    }

    /// Frees the slots of removed instances once they are idle.
    pub(crate) async fn release_idle(&mut self, now: Instant) {
        if self.drain_at().is_none_or(|at| now < at) {
            return;
        }
        self.timers.drained_at = now;
        let draining: Vec<_> = self.state.draining().collect();
        let query = async {
            let mut session = Session::open(&self.config.stats_socket).await?;
            let mut found = Vec::new();
            for Draining {
                service,
                backend,
                shadow,
            } in draining
            {
                let mut idle = client::idle(&mut session, backend).await?;
                if let Some(shadow) = shadow {
                    idle.intersect(&client::idle(&mut session, shadow).await?);
                }
                found.push((service.to_owned(), idle));
            }
            Ok::<_, Error>(found)
        };
        match query.await {
            Ok(found) => {
                for (service, idle) in found {
                    self.state.release(&service, idle);
                }
                self.state.assign();
            }
            Err(error) => debug!(%error, "HAProxy did not report which servers are idle."),
        }
    }

    /// Counts the servers that differ from their last observed state.
    pub(crate) fn count_drift(&mut self) {
        if let Plan::Runtime(batch) = &self.plan {
            let servers = batch.targets().len();
            self.status.drift_repairs += servers as u64;
            warn!(servers, "Servers in HAProxy were changed externally and are repaired.");
        }
    }

    /// Executes the plan's commands until HAProxy is as desired, as far as it can be without a reload.
    pub(crate) async fn repair(&mut self) {
        let mut last = String::new();
        for delay in REPAIR_DELAYS {
            let Plan::Runtime(batch) = self.plan.clone() else {
                return;
            };
            if delay > 0 {
                sleep(Duration::from_millis(delay)).await;
            }
            let executed = self.execute(&batch).await;
            self.replan();
            match executed {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    self.record_error(format!("HAProxy did not take the changes: {error}"));
                    self.timers.observe_at = Instant::now() + RETRY_DELAY;
                    return;
                }
            }
            last = batch.commands().next().map(ToString::to_string).unwrap_or_default();
        }
        if let Plan::Runtime(_) = self.plan {
            self.record_error(format!("HAProxy does not do `{last}`"));
            self.state.drift = Some(last);
            self.replan();
        }
    }

    /// Executes a batch; `false` if another worker answers than the one that the plan is for.
    async fn execute(&mut self, batch: &Batch) -> Result<bool, Error> {
        let ProxyState::Loaded(loaded) = &mut self.state.proxy else {
            return Ok(false);
        };
        let started = Instant::now();
        let mut session = Session::open(&self.config.stats_socket).await?;
        let worker = client::identify(&mut session).await?;
        if worker.info.process() != loaded.worker.info.process() || worker.info.stopping {
            self.timers.observe_at = started + UNEXPECTED_RETRY_DELAY;
            return Ok(false);
        }
        let report = client::execute(&mut session, batch, &mut loaded.table).await?;
        self.status.runtime_commands_ok += report.accepted;
        self.status.runtime_commands_failed += report.refused.len() as u64;
        self.state.sync_with_live();
        for (command, refusal) in report.refused {
            self.take_refusal(&command, refusal);
        }
        self.state.assign();
        let servers = batch.targets().len();
        info!(servers, commands = report.accepted, took = ?started.elapsed(), "Changed servers without a reload.");
        Ok(true)
    }

    fn take_refusal(&mut self, command: &Command, refusal: Refusal) {
        let Command { target, action } = command;
        match refusal {
            Refusal::StaticBalance => _ = self.state.fixed_weights.insert(target.backend.clone()),
            Refusal::Busy => self.state.delete_delayed(target),
            Refusal::Other(reply) => {
                warn!(%command, %reply, "HAProxy refused a command.");
                match action {
                    Action::Add(_) => self.state.add_refused(target),
                    Action::Del => self.state.delete_refused(target),
                    _ => {}
                }
            }
        }
    }

    /// Makes the file equal to HAProxy's state. HAProxy does not check it again: its structure was checked when it was
    /// loaded, and the rest is addresses and numbers.
    pub(crate) fn save(&mut self, now: Instant) {
        let is_idle = self.work.writes.is_empty() && self.work.jobs.is_empty();
        if let Some(loaded) = self.state.proxy.loaded()
            && is_idle
            && now >= self.timers.save_at
            && !self.is_saved()
        {
            let (path, mode) = (self.config.config_path.clone(), self.checker.mode);
            let text = Arc::clone(&loaded.text);
            let write = move || common::file::write_atomic(&path, text.as_bytes(), mode).map(|_| text);
            self.work.writes.spawn_blocking(write);
        }
    }

    /// Writes the file for the last time.
    pub(crate) async fn save_last(&mut self) {
        while let Some(written) = self.work.writes.join_next().await {
            self.work.saved = written.ok().and_then(Result::ok);
        }
        self.timers.save_at = Instant::now();
        self.save(self.timers.save_at);
        self.work.writes.join_next().await;
    }
}
