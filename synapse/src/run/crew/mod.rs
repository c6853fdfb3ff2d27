//! The routers that run, and their replacement when the configuration is read again.
//!
//! A reload is all or nothing: everything new is built before anything changes. Then a router that is as it was runs on;
//! one that is new starts; one that is gone ends, and an HAProxy that synapse runs for it is stopped softly. One that
//! changed is replaced by its successor, which finds HAProxy running and brings it from what it is to what it should be, as
//! after a restart of synapse: by runtime commands where they do, by a reload where they don't. Sources that are still
//! read keep their sessions and watches, so that the successor knows at once what its predecessor knew.

use std::time::Duration;

use common::exit::Fatal;
use common::ready::Readiness;
use common::reload::Reader;
use common::supervise::{GroupId, Groups, Starter, Supervisor};
use common::telemetry::log::LevelHandle;
use common::zk::session_pool::SessionPool;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Stage;
use super::parts::{Built, Parts, followed};
use super::plan::{Fate, Plan, needs_restart, plan};
use crate::config::{Config, RouterConfig, RouterKind, Source, StopConfig};
use crate::metrics::Reloads;
use crate::reload::{Reload, ReloadResult, Requests};
use crate::running::{RouterHandle, RunningRouter};
use crate::running::{Running, RunningState};
use crate::snapshot::{self, Followed, SnapshotWriter};
use crate::zone;

/// How long the file may take to be read: it may lie on a disk that hangs.
const READING: Duration = Duration::from_secs(30);

/// A router that runs.
#[derive(Debug)]
struct Member {
    id: GroupId,
    config: RouterConfig,
    router: RunningRouter,
}

/// The daemon stops: nothing starts any more.
struct Stopping;

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

/// Owns what runs.
#[derive(Debug)]
pub(super) struct Crew {
    level_is_fixed: bool,
    reader: Reader<Config>,
    config: Config,
    level: LevelHandle,
    parts: Parts,
    groups: Groups<Stage>,
    members: Vec<Member>,
    /// For the snapshot.
    followed: watch::Sender<Vec<Followed>>,
    /// How many routers were ever started: their tasks are named for it.
    started: usize,
    running: RunningState,
    grace: watch::Sender<StopConfig>,
}

impl Crew {
    /// What will run `config`, which came from `source`.
    pub(super) fn new(
        (source, mut config): (Source, Config),
        level: LevelHandle,
        sessions: SessionPool,
        groups: Groups<Stage>,
        running: RunningState,
    ) -> Self {
        zone::settle(&mut config);
        let remembered = config.snapshot_path.as_deref().map(snapshot::load).unwrap_or_default();
        Self {
            grace: watch::Sender::new(config.stop),
            level_is_fixed: source.level_is_fixed,
            reader: Reader::new(move || source.load()),
            config,
            level,
            parts: Parts::new(remembered, sessions),
            followed: watch::Sender::default(),
            groups,
            members: Vec::new(),
            started: 0,
            running,
        }
    }

    /// Builds and starts the routers; the daemon is ready when each was applied once, and has started when
    /// those of HAProxy were: they wait for no source for ever.
    pub(super) async fn start(
        &mut self,
        supervisor: &mut Supervisor<Stage>,
        readiness: &Readiness,
        first: &Readiness,
    ) -> Result<(), Fatal> {
        let mut built = Vec::new();
        for (number, config) in (1..).zip(self.config.routers.clone()) {
            let name = format!("first apply of router {number}");
            let mut latch = readiness.latch(name.clone());
            if matches!(config.kind, RouterKind::Haproxy(_)) {
                latch = latch.with(first.latch(name));
            }
            built.push((config.clone(), self.parts.router(config, latch, None).await?));
        }
        let mut starter = Starter::Before(supervisor);
        let all = async {
            self.start_sources(&mut starter).await?;
            for (config, built) in built {
                let member = self.enlist(config, built, &mut starter).await?;
                self.members.push(member);
            }
            Ok(())
        };
        all.await
            .map_err(|Stopping| Fatal::runtime("synapse is stopping".to_owned()))?;
        self.publish();
        let remembered = self.parts.forget();
        if let Some(path) = self.config.snapshot_path.clone() {
            let keeper = SnapshotWriter::new(path, &remembered, self.followed.subscribe(), self.parts.news());
            supervisor.start(Stage::Watchers, "snapshot", |stop| keeper.run(stop));
        }
        Ok(())
    }

    /// What a stop takes, as it changes.
    pub(super) fn grace(&self) -> watch::Receiver<StopConfig> {
        self.grace.subscribe()
    }

    /// Reloads when asked, until `stop`.
    pub(super) async fn run(mut self, mut requests: Requests, count: Reloads, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Some(request) = requests.next() => {
                    let Some(reload) = stop.run_until_cancelled(self.reload()).await.flatten() else {
                        return stop.cancelled().await;
                    };
                    count.count(reload.result);
                    requests.answer(request, reload);
                }
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
        let warnings = read.warnings.iter().map(ToString::to_string).collect();
        match self.apply(read.value).await {
            Ok((plan, needs_restart)) => Some(tell(plan, needs_restart, warnings)),
            Err(Refusal::Problem(problem)) => Some(refuse(vec![problem])),
            Err(Refusal::Stopping) => None,
        }
    }

    /// Makes what runs what `wanted` says.
    async fn apply(&mut self, mut wanted: Config) -> Result<(Plan, Vec<&'static str>), Refusal> {
        zone::settle(&mut wanted);
        let needs_restart = needs_restart(&self.config, &wanted);
        let running: Vec<&RouterConfig> = self.members.iter().map(|member| &member.config).collect();
        let plan = plan(&running, &wanted.routers);
        let built = match self.build(&plan, &wanted).await {
            Ok(built) => built,
            Err(fatal) => {
                self.stop_idle_sources().await;
                return Err(Refusal::Problem(fatal.message));
            }
        };
        if !self.level_is_fixed
            && wanted.log_level != self.config.log_level
            && let Err(error) = self.level.set(&wanted.log_level)
        {
            self.stop_idle_sources().await;
            return Err(Refusal::Problem(format!("logLevel: {error}")));
        }

        let groups = self.groups.clone();
        let mut starter = Starter::While(&groups);
        self.start_sources(&mut starter).await?;
        let mut before: Vec<Option<Member>> = std::mem::take(&mut self.members).into_iter().map(Some).collect();
        let mut take = |index: usize| before.get_mut(index).and_then(Option::take);
        for index in &plan.removed {
            if let Some(member) = take(*index) {
                member.router.leave(false);
                self.end(member).await?;
            }
        }
        for ((fate, config), built) in plan.wanted.iter().zip(&wanted.routers).zip(built) {
            let predecessor = match fate {
                Fate::Kept(index) | Fate::Changed(index) => take(*index),
                Fate::Added => None,
            };
            let Some(built) = built else {
                self.members.extend(predecessor);
                continue;
            };
            if let Some(member) = predecessor {
                // One writer at a time.
                member.router.leave(true);
                self.end(member).await?;
            }
            let member = self.enlist(config.clone(), built, &mut starter).await?;
            self.members.push(member);
        }
        self.adopt(wanted);
        self.stop_idle_sources().await;
        self.publish();
        Ok((plan, needs_restart))
    }

    /// Builds what is not kept; by wanted router.
    async fn build(&mut self, plan: &Plan, wanted: &Config) -> Result<Vec<Option<Built>>, Fatal> {
        // Whether the daemon is ready was decided at its start.
        let unheard = Readiness::default();
        let mut all = Vec::new();
        for (number, (fate, config)) in plan.wanted.iter().zip(&wanted.routers).enumerate() {
            let predecessor = match fate {
                Fate::Kept(_) => {
                    all.push(None);
                    continue;
                }
                Fate::Changed(index) => self.members.get(*index).map(|member| &member.router),
                Fate::Added => None,
            };
            let latch = unheard.latch(number.to_string());
            let built = self.parts.router(config.clone(), latch, predecessor).await?;
            all.push(Some(built));
        }
        Ok(all)
    }

    /// Takes over what of the root can change; the rest stays as it runs.
    fn adopt(&mut self, wanted: Config) {
        self.grace.send_replace(wanted.stop);
        self.config.log_level = wanted.log_level;
        self.config.stop = wanted.stop;
        self.config.routers = wanted.routers;
        self.config.effective = wanted.effective;
    }

    async fn start_sources(&mut self, starter: &mut Starter<'_, Stage>) -> Result<(), Stopping> {
        let sources = &mut self.parts.sources;
        sources.start(starter, Stage::Watchers).await.ok_or(Stopping)
    }

    async fn stop_idle_sources(&mut self) {
        let services = self.members.iter().flat_map(|member| member.config.services.iter());
        let used = services.map(|service| &service.watcher);
        self.parts.sources.stop_others(used, &self.groups).await;
    }

    async fn enlist(
        &mut self,
        config: RouterConfig,
        built: Built,
        starter: &mut Starter<'_, Stage>,
    ) -> Result<Member, Stopping> {
        self.started = self.started.saturating_add(1);
        let router = built.router.clone();
        let group = built.group(&self.started.to_string());
        let id = starter.start(group).await.ok_or(Stopping)?;
        Ok(Member { id, config, router })
    }

    async fn end(&self, member: Member) -> Result<(), Stopping> {
        let ended = self.groups.stop(member.id).await;
        ended.then_some(()).ok_or(Stopping)
    }

    fn publish(&self) {
        self.followed
            .send_replace(self.members.iter().map(|member| followed(&member.router)).collect());
        self.running.publish(Running {
            routers: self.members.iter().map(|member| member.router.clone()).collect(),
            ensembles: self.parts.sources.ensembles(),
            effective: self.config.effective.clone(),
        });
    }
}

impl RunningRouter {
    /// It is about to end, for an successor or for good.
    pub(super) fn leave(&self, has_successor: bool) {
        match &self.handle {
            RouterHandle::Haproxy(haproxy) => haproxy.leave(has_successor),
            RouterHandle::Plain(..) => {}
        }
    }
}

fn refuse(problems: Vec<String>) -> Reload {
    for problem in &problems {
        tracing::error!(%problem, "The configuration is refused; nothing was changed.");
    }
    Reload::refused(problems)
}

fn tell(plan: Plan, needs_restart: Vec<&'static str>, warnings: Vec<String>) -> Reload {
    for warning in &warnings {
        tracing::warn!(%warning, "The configuration has a peculiarity.");
    }
    if !needs_restart.is_empty() {
        tracing::warn!(keys = ?needs_restart, "These keys changed and count from the next start only.");
    }
    for router in &plan.told {
        tracing::info!(
            router = %router.router, act = ?router.act, by = ?router.by, kept = router.kept,
            added = ?router.added, changed = ?router.changed, removed = ?router.removed,
            "The configuration was read again."
        );
    }
    let result = if plan.is_nothing() {
        ReloadResult::Unchanged
    } else {
        ReloadResult::Applied
    };
    Reload {
        at: common::clock::unix_millis(),
        result,
        routers: plan.told,
        needs_restart,
        problems: Vec::new(),
        warnings,
    }
}

#[cfg(test)]
mod tests;
