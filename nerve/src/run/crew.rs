//! The services and sessions that run, and their replacement when the configuration is read again.
//!
//! A reload is all or nothing: everything new is built before anything changes. Then a service that is as it was keeps
//! running; one that is new starts; one that is gone is disabled and withdrawn, as at a stop; one that changed is
//! replaced. A replaced service is not disabled, for the instance stays: a node (or file) that the new one keeps too is
//! handed over as it is, and any other is withdrawn once the new one has registered. The operators' words and the
//! warm-up go over by the state_store.

use std::sync::Arc;
use std::time::Duration;

use common::ready::Readiness;
use common::reload::Reader;
use common::supervise::{GroupId, Groups, Starter, Supervisor};
use common::telemetry::log::LevelHandle;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Stage;
use super::parts::{Bonds, Built, Parts};
use super::plan::{Plan, in_effect, needs_restart, plan, same_place};
use crate::config::{Config, ServiceConfig, Source};
use crate::reload::{Reload, ReloadResult, Requests};
use crate::reporter::ReporterState;
use crate::roster::{Roster, Running};
use crate::service::ServiceHandle;

/// How long the file may take to be read: it may lie on a disk that hangs.
const READING: Duration = Duration::from_secs(30);

/// How long a node that a replaced service leaves behind waits for the new one's.
const HANDOVER: Duration = Duration::from_secs(30);

/// How often the successor is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(50);

/// A service that runs.
#[derive(Debug)]
struct Member {
    id: GroupId,
    handle: ServiceHandle,
    bonds: Bonds,
}

/// The daemon stops: nothing starts any more.
struct Stopping;

/// Owns what runs.
#[derive(Debug)]
pub(super) struct Crew {
    reader: Reader<Config>,
    level_is_fixed: bool,
    config: Config,
    level: LevelHandle,
    parts: Parts,
    groups: Groups<Stage>,
    members: Vec<Member>,
    leaving: Vec<Member>,
    departures: JoinSet<GroupId>,
    roster: Roster,
    grace: watch::Sender<Duration>,
}

impl Crew {
    /// What will run `config`, which came from `source`.
    pub(super) fn new(
        (source, config): (Source, Config),
        level: LevelHandle,
        parts: Parts,
        groups: Groups<Stage>,
        roster: Roster,
    ) -> Self {
        Self {
            grace: watch::Sender::new(config.shutdown_timeout),
            level_is_fixed: source.level_is_fixed,
            reader: Reader::new(move || source.load()),
            config,
            level,
            parts,
            groups,
            members: Vec::new(),
            leaving: Vec::new(),
            departures: JoinSet::new(),
            roster,
        }
    }

    /// Builds and starts the services; the daemon is ready when each has had its first word.
    pub(super) async fn start(
        &mut self,
        supervisor: &mut Supervisor<Stage>,
        readiness: &Readiness,
    ) -> Result<(), String> {
        let latch = |service: &ServiceConfig| readiness.latch(format!("the first word of service {}", service.name));
        let built = self.parts.services(&self.config.services, latch)?;
        let mut starter = Starter::Before(supervisor);
        let all = async {
            for built in built {
                self.enlist(built, &mut starter).await?;
            }
            Ok(())
        };
        all.await.map_err(|Stopping| "nerve is stopping".to_owned())?;
        self.publish();
        Ok(())
    }

    /// The deadline of a stop, as it changes.
    pub(super) fn grace(&self) -> watch::Receiver<Duration> {
        self.grace.subscribe()
    }

    /// Reloads when asked, until `stop`.
    pub(super) async fn run(mut self, mut requests: Requests, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Some(request) = requests.next() => {
                    let Some(reload) = stop.run_until_cancelled(self.reload()).await.flatten() else {
                        return stop.cancelled().await;
                    };
                    self.parts.context.metrics.reloaded(reload.result);
                    requests.answer(request, reload);
                }
                Some(Ok(id)) = self.departures.join_next() => self.left(id),
            }
        }
    }

    /// `None` when the daemon stops meanwhile.
    async fn reload(&mut self) -> Option<Reload> {
        let read = match timeout(READING, self.reader.read()).await {
            Ok(Ok(Ok(read))) => read,
            Ok(Ok(Err(problems))) => return Some(refuse(problems.0.iter().map(ToString::to_string).collect())),
            Ok(Err(broken)) => return Some(refuse(vec![format!("the configuration can't be read: {broken}")])),
            Err(_) => {
                return Some(refuse(vec![format!(
                    "the configuration could not be read within {READING:?}"
                )]));
            }
        };
        let warnings: Vec<String> = read.warnings.iter().map(ToString::to_string).collect();
        match self.apply(read.value).await {
            Ok((plan, needs_restart)) => Some(tell(plan, needs_restart, warnings)),
            Err(Refusal::Problem(problem)) => Some(refuse(vec![problem])),
            Err(Refusal::Stopping) => None,
        }
    }

    /// Makes what runs what `wanted` says.
    async fn apply(&mut self, wanted: Config) -> Result<(Plan, Vec<&'static str>), Refusal> {
        let needs_restart = needs_restart(&self.config, &wanted);
        let running = self.members.iter().map(|member| &*member.handle.config);
        let plan = plan(running, &wanted.services);
        let fresh: Vec<_> = wanted
            .services
            .iter()
            .filter(|service| !plan.kept.contains(&service.name))
            .cloned()
            .collect();
        // Whether the daemon is ready was decided at its start.
        let unheard = Readiness::default();
        let built = self
            .parts
            .services(&fresh, |service| unheard.latch(service.name.clone()))
            .map_err(Refusal::Problem)?;
        if !self.level_is_fixed && wanted.log_level != self.config.log_level {
            let refused = |error| Refusal::Problem(format!("logLevel: {error}"));
            self.level.set(&wanted.log_level).map_err(refused)?;
        }

        let groups = self.groups.clone();
        let mut starter = Starter::While(&groups);
        let (going, staying): (Vec<_>, Vec<_>) = std::mem::take(&mut self.members)
            .into_iter()
            .partition(|member| !plan.kept.contains(&member.handle.config.name));
        self.members = staying;
        let first_new = self.leaving.len();
        self.leaving.extend(going);
        for built in built {
            self.make_way(&built.handle).await;
            self.enlist(built, &mut starter).await?;
        }
        for index in first_new..self.leaving.len() {
            self.dismiss(index);
        }
        let place = |member: &Member| {
            let name = &member.handle.config.name;
            wanted.services.iter().position(|service| service.name == *name)
        };
        self.members.sort_by_key(place);
        self.adopt(wanted);
        self.publish();
        Ok((plan, needs_restart))
    }

    /// Takes over what of the root can change; the rest stays as it runs.
    fn adopt(&mut self, wanted: Config) {
        self.grace.send_replace(wanted.shutdown_timeout);
        self.config.log_level = wanted.log_level;
        self.config.shutdown_timeout = wanted.shutdown_timeout;
        self.config.services = wanted.services;
        self.config.effective = in_effect(&self.config.effective, &wanted.effective).into();
    }

    /// Has whoever leaves let go of what `successor` is to keep.
    async fn make_way(&self, successor: &ServiceHandle) {
        let new = &successor.config;
        for old in &self.leaving {
            let config = &old.handle.config;
            if config.name == new.name {
                old.bonds.service.release().await;
            }
            for (place, bond) in config.reporters.iter().zip(&old.bonds.reporters) {
                if new.reporters.iter().any(|kept| same_place(place, kept)) {
                    bond.release().await;
                }
            }
        }
    }

    async fn enlist(&mut self, built: Built, starter: &mut Starter<'_, Stage>) -> Result<(), Stopping> {
        let Built { handle, bonds, group } = built;
        let id = starter.start(group).await.ok_or(Stopping)?;
        self.members.push(Member { id, handle, bonds });
        Ok(())
    }

    /// Has a leaving service stop: at once when it is removed, once its successor stands when it is replaced.
    fn dismiss(&mut self, index: usize) {
        let Some(member) = self.leaving.get(index) else {
            return;
        };
        let name = &member.handle.config.name;
        let successor = self.members.iter().find(|new| new.handle.config.name == *name);
        let successor = successor.map(|new| new.handle.clone());
        let bonds = [&member.bonds.service]
            .into_iter()
            .chain(&member.bonds.reporters)
            .cloned();
        let bonds: Vec<_> = bonds.collect();
        let (groups, id) = (self.groups.clone(), member.id);
        self.departures.spawn(async move {
            let ask = async {
                if let Some(successor) = successor {
                    // Late or not: the old node is nobody's word any more.
                    timeout(HANDOVER, stands(&successor)).await.ok();
                }
                for bond in bonds {
                    bond.ask();
                }
            };
            tokio::join!(groups.stop(id), ask);
            id
        });
    }

    /// A group has ended.
    fn left(&mut self, id: GroupId) {
        if let Some(place) = self.leaving.iter().position(|member| member.id == id) {
            let gone = self.leaving.swap_remove(place).handle.config;
            tracing::info!(service = %gone.name, "The former service is gone.");
            let labelled_so = |member: &Member| {
                let config = &member.handle.config;
                (&config.name, &config.host, config.port) == (&gone.name, &gone.host, gone.port)
            };
            if !self.all().any(labelled_so) {
                self.parts.context.metrics.forget(&gone);
            }
        }
        self.publish();
    }

    /// Those that run and those that leave.
    fn all(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().chain(&self.leaving)
    }

    fn publish(&self) {
        self.roster.publish(Running {
            services: self.members.iter().map(|member| member.handle.clone()).collect(),
            ensembles: self.parts.sessions.observers(),
            effective: Arc::clone(&self.config.effective),
        });
    }
}

/// Why a configuration is not applied.
enum Refusal {
    Problem(String),
    Stopping,
}

impl From<Stopping> for Refusal {
    fn from(_: Stopping) -> Self {
        Self::Stopping
    }
}

/// Waits until a service has registered, or has nothing to register.
async fn stands(service: &ServiceHandle) {
    let registered = || {
        let mut nodes = service.reporters.iter().filter(|reporter| reporter.kind == "zookeeper");
        nodes.all(|node| *node.state.borrow() == ReporterState::Reported)
    };
    while service.state().stand.available != Some(false) && !registered() {
        sleep(LOOK).await;
    }
}

fn refuse(problems: Vec<String>) -> Reload {
    for problem in &problems {
        tracing::error!(%problem, "The configuration is refused; nothing was changed.");
    }
    Reload::refused(problems)
}

fn tell(plan: Plan, needs_restart: Vec<&'static str>, warnings: Vec<String>) -> Reload {
    let Plan {
        kept,
        changed,
        added,
        removed,
    } = plan;
    for warning in &warnings {
        tracing::warn!(%warning, "The configuration has a peculiarity.");
    }
    if !needs_restart.is_empty() {
        tracing::warn!(keys = ?needs_restart, "These keys changed and count from the next start only.");
    }
    tracing::info!(
        kept = kept.len(),
        ?added,
        ?changed,
        ?removed,
        "The configuration was read again."
    );
    let result = if changed.is_empty() && added.is_empty() && removed.is_empty() {
        ReloadResult::Unchanged
    } else {
        ReloadResult::Applied
    };
    Reload {
        at: common::clock::unix_millis(),
        result,
        kept: kept.len(),
        added,
        changed,
        removed,
        needs_restart,
        problems: Vec::new(),
        warnings,
    }
}
