//! What the actor does with a HAProxy that runs: look, change servers, and keep the file equal.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

use super::reload_step::read_disk;
use super::{Actor, RETRY_DELAY};
use crate::config::ServersMode;
use crate::haproxy::actor::state::{Draining, World};
use crate::haproxy::plan::Plan;
use crate::haproxy::process::master::Master;
use crate::haproxy::process::reload::Engine;
use crate::haproxy::runtime::batch::Batch;
use crate::haproxy::runtime::client::{self, Worker};
use crate::haproxy::runtime::command::{Action, Command, Refusal};
use crate::haproxy::runtime::parse::{Process, Table};
use crate::haproxy::runtime::socket::{Session, is_not_listening};

/// The waits before a mismatch is looked at again; one that outlasts them needs a reload.
const RETRIES: [u64; 4] = [0, 1, 10, 100];
/// How often draining slots are asked whether they are idle: while nobody needs them, and while an instance waits for a
/// slot, which it gets so long before the reload that it would else need.
const DRAIN: Duration = Duration::from_secs(1);
const DRAIN_AWAITED: Duration = Duration::from_millis(20);
/// How often HAProxy is asked while somebody waits for its word on its servers.
const ATTENTION: Duration = Duration::from_secs(1);
/// How long a master may be without an answer while its worker serves.
const MASTER: Duration = Duration::from_secs(1);
/// How soon to look when another worker answered than was expected.
const UNEXPECTED_RETRY_DELAY: Duration = Duration::from_millis(10);

impl Actor {
    /// Asks HAProxy who it is and what it has. `false` when it did not say.
    pub(crate) async fn look(&mut self) -> bool {
        let interval = self.config.reconcile_interval;
        let attentive = *self.links.attention.borrow_and_update();
        self.under_way.look_at = Instant::now() + if attentive { interval.min(ATTENTION) } else { interval };
        match self.see().await {
            Ok((live, table)) => {
                let path = self.config.config_path.clone();
                self.say_what_it_can_not(&live);
                let before = self.process();
                let (pid, now) = (live.info.pid, Some(live.info.process()));
                self.state.saw(live, table, || read_disk(&path));
                if before.is_some() && before != now {
                    info!(pid, "HAProxy was reloaded or restarted by someone else.");
                }
                if let World::Foreign(_) = self.state.world
                    && before.is_none()
                {
                    warn!(pid, "HAProxy runs with a file that is not the one on disk.");
                }
                true
            }
            Err(error) => {
                self.under_way.look_at = Instant::now() + RETRY_DELAY;
                if is_not_listening(&error) && !self.has_master().await {
                    if let World::Loaded(_) = self.state.world {
                        self.complain("HAProxy is gone: nobody answers on its stats socket".to_owned());
                    }
                    self.state.world = World::Absent;
                } else {
                    let socket = self.config.stats_socket.display();
                    self.complain(format!("HAProxy does not answer on {socket}: {error}"));
                }
                false
            }
        }
    }

    /// Says, once for each worker, that it makes no servers though it was asked for.
    fn say_what_it_can_not(&self, live: &Worker) {
        let is_new = self.process() != Some(live.info.process());
        if self.config.servers == ServersMode::Dynamic && !live.supports_dynamic_servers && is_new {
            let (pid, version) = (live.info.pid, &live.info.version);
            warn!(
                pid,
                version, "`servers: dynamic`, but the HAProxy that runs can't make servers: they sit in slots."
            );
        }
    }

    /// Hands on what HAProxy said of its servers when it was last looked at.
    pub(crate) fn tell_health(&self) {
        let now = self.state.health();
        self.links.health.send_if_modified(|health| {
            let differs = **health != now;
            if differs {
                *health = Arc::new(now);
            }
            differs
        });
    }

    /// Whether there is a master, which somebody else, or a synapse before us, may have started.
    async fn has_master(&mut self) -> bool {
        if let Engine::Managed(control) = &self.engine
            && let None | Some(Master::Elsewhere) = self.under_way.master
        {
            let Ok(processes) = control.processes().await else {
                self.under_way.master = None;
                return false;
            };
            // One that can't be watched over is there all the same: two would take each other's ports.
            self.under_way.master = control.adopt(processes.master).await.ok();
            return true;
        }
        self.under_way.master.is_some()
    }

    async fn see(&mut self) -> Result<(Worker, Table), std::io::Error> {
        let mut session = Session::open(&self.config.stats_socket).await?;
        let live = client::identify(&mut session).await?;
        if let Engine::Managed(control) = &self.engine {
            let pid = live.info.pid;
            let processes = control.processes_within(MASTER).await.map_err(|error| {
                std::io::Error::other(format!(
                    "process {pid} answers, but no master that we could reload it with ({error})"
                ))
            })?;
            if !processes.workers.contains(&pid) {
                return Err(std::io::Error::other(format!(
                    "process {pid} answers, which is no worker of our master"
                )));
            }
            self.status.old_workers = processes.old_workers;
            if self.under_way.master.is_none() {
                self.under_way.master = Some(control.adopt(processes.master).await?);
                info!(pid = processes.master, "Found HAProxy running.");
            }
        }
        let table = client::table(&mut session).await?;
        if Instant::now() >= self.under_way.count_at {
            self.statistics = client::statistics(&mut session).await?;
            // A little early, so that the regular look of then counts, and none in between does.
            self.under_way.count_at = Instant::now() + self.config.reconcile_interval.mul_f64(0.9);
        }
        Ok((live, table))
    }

    /// The one that answered last.
    fn process(&self) -> Option<Process> {
        match &self.state.world {
            World::Loaded(loaded) => Some(loaded.live.info.process()),
            World::Foreign(live) => Some(live.info.process()),
            World::Unknown | World::Absent => None,
        }
    }

    /// When draining slots are to be asked again; never while there are none.
    pub(crate) fn drain_at(&self) -> Option<Instant> {
        let interval = if self.state.lacks_a_slot() {
            DRAIN_AWAITED
        } else {
            DRAIN
        };
        let draining = self.state.draining().next().is_some();
        draining.then(|| self.under_way.drained_at + interval)
    }

    /// Frees the slots of instances that were removed once nothing is bound to them.
    pub(crate) async fn release_idle(&mut self, now: Instant) {
        if self.drain_at().is_none_or(|at| now < at) {
            return;
        }
        self.under_way.drained_at = now;
        let draining: Vec<_> = self.state.draining().collect();
        let asked = async {
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
                    let there = client::idle(&mut session, shadow).await?;
                    idle.intersect(&there);
                }
                found.push((service.to_owned(), idle));
            }
            Ok::<_, std::io::Error>(found)
        };
        match asked.await {
            Ok(found) => {
                for (service, idle) in found {
                    self.state.release(&service, idle);
                }
                self.state.assign();
            }
            Err(error) => debug!(%error, "HAProxy did not say which servers are idle."),
        }
    }

    /// Counts the servers that are no longer as they were last seen.
    pub(crate) fn count_drift(&mut self) {
        if let Plan::Runtime(batch) = self.state.plan() {
            let servers = batch.targets().len();
            let count = u64::try_from(servers).unwrap_or(u64::MAX);
            self.status.drift_repairs = self.status.drift_repairs.saturating_add(count);
            warn!(
                servers,
                "Servers in HAProxy were changed by someone else and are put right."
            );
        }
    }

    /// Runs what the plan asks of the runtime API until HAProxy is as it should be, as far as it can be without a reload.
    pub(crate) async fn repair(&mut self) {
        let mut last = String::new();
        for wait in RETRIES {
            let Plan::Runtime(batch) = self.state.plan() else {
                return;
            };
            if wait > 0 {
                sleep(Duration::from_millis(wait)).await;
            }
            match self.execute(&batch).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    self.complain(format!("HAProxy did not take the changes: {error}"));
                    self.under_way.look_at = Instant::now() + RETRY_DELAY;
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
    async fn execute(&mut self, batch: &Batch) -> Result<bool, std::io::Error> {
        let World::Loaded(loaded) = &mut self.state.world else {
            return Ok(false);
        };
        let started = Instant::now();
        let mut session = Session::open(&self.config.stats_socket).await?;
        let live = client::identify(&mut session).await?;
        if live.info.process() != loaded.live.info.process() || live.info.stopping {
            self.under_way.look_at = started + UNEXPECTED_RETRY_DELAY;
            return Ok(false);
        }
        let report = client::execute(&mut session, batch, &mut loaded.table).await?;
        let refused = u64::try_from(report.refused.len()).unwrap_or(u64::MAX);
        self.status.runtime_commands_ok = self.status.runtime_commands_ok.saturating_add(report.accepted);
        self.status.runtime_commands_failed = self.status.runtime_commands_failed.saturating_add(refused);
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
            Refusal::StaticBalance => {
                self.state.fixed_weights.insert(target.backend.clone());
            }
            Refusal::Busy => self.state.delete_refused(target, true),
            Refusal::Other(words) => {
                warn!(%command, %words, "HAProxy refused a command.");
                match action {
                    Action::Add(_) => self.state.add_refused(target),
                    Action::Del => self.state.delete_refused(target, false),
                    _ => {}
                }
            }
        }
    }

    /// Makes the file equal to what HAProxy now has. What goes in has been checked when its structure was loaded, and the
    /// rest of it is addresses and numbers, so HAProxy is not asked again.
    pub(crate) fn save(&mut self, now: Instant) {
        let World::Loaded(loaded) = &self.state.world else {
            return;
        };
        let idle = self.under_way.writes.is_empty() && self.under_way.jobs.is_empty() && now >= self.under_way.save_at;
        if !idle || self.is_saved() {
            return;
        }
        let (path, mode) = (self.config.config_path.clone(), self.checker.mode);
        let text = Arc::clone(&loaded.text);
        let write = move || common::file::write_atomic(&path, text.as_bytes(), mode).map(|_| text);
        self.under_way.writes.spawn_blocking(write);
    }

    /// The last write before the end.
    pub(crate) async fn save_last(&mut self) {
        while let Some(written) = self.under_way.writes.join_next().await {
            self.under_way.saved = written.ok().and_then(Result::ok);
        }
        self.under_way.save_at = Instant::now();
        self.save(self.under_way.save_at);
        self.under_way.writes.join_next().await;
    }
}
