//! The running routers, and their replacement when the configuration is reloaded.
//!
//! A reload is all or nothing: everything new is built before anything changes. Then an equal router runs on; a new one
//! starts; a removed one ends, and an HAProxy that synapse runs for it is stopped softly. A changed one is replaced by a
//! successor, which finds HAProxy running and brings it to the desired state as after a restart of synapse: by runtime
//! commands if they suffice, else by a reload. Sources that are still read keep their sessions and watches, so that the
//! successor starts with the state of its predecessor.

use common::daemon::{Applied, LogConfig, Reconfigure, Refusal};
use common::exit::Fatal;
use common::ready::Readiness;
use common::supervise::{GroupId, Groups, Spawner, Stopping, Supervisor};
use common::telemetry::log::Format;
use common::zk::session_pool::SessionPool;
use tokio::sync::watch;

use super::Stage;
use super::plan::{Plan, Transition, needs_restart, plan};
use super::router_builder::{Prepared, RouterBuilder, followed};
use crate::config::{Config, RouterConfig, RouterKind, StopConfig};
use crate::reload::RouterChanges;
use crate::running::{Running, RunningRouter, RunningState};
use crate::snapshot::{self, Followed, SnapshotWriter};
use crate::zone;

/// A running router.
#[derive(Debug)]
struct ManagedRouter {
    id: GroupId,
    config: RouterConfig,
    router: RunningRouter,
}

/// Owns the running routers.
#[derive(Debug)]
pub(super) struct RouterManager {
    config: Config,
    builder: RouterBuilder,
    groups: Groups<Stage>,
    routers: Vec<ManagedRouter>,
    /// For the snapshot.
    followed: watch::Sender<Vec<Followed>>,
    running: RunningState,
    stop: watch::Sender<StopConfig>,
}

impl RouterManager {
    /// Returns the manager that will run `config`.
    pub(super) fn new(mut config: Config, sessions: SessionPool, groups: Groups<Stage>, running: RunningState) -> Self {
        zone::settle(&mut config);
        let remembered = config.snapshot_path.as_deref().map(snapshot::load).unwrap_or_default();
        Self {
            stop: watch::Sender::new(config.stop),
            config,
            builder: RouterBuilder::new(remembered, sessions),
            followed: watch::Sender::default(),
            groups,
            routers: Vec::new(),
            running,
        }
    }

    /// Builds and starts the routers. The daemon is ready when each was applied once, and has started when those of
    /// HAProxy were, whose wait for their sources is bounded.
    pub(super) async fn start(
        &mut self,
        supervisor: &mut Supervisor<Stage>,
        readiness: &Readiness,
        started: &Readiness,
    ) -> Result<(), Fatal> {
        let mut prepared = Vec::new();
        for (number, config) in (1..).zip(self.config.routers.clone()) {
            let name = format!("first apply of router {number}");
            let mut latch = readiness.latch(name.clone());
            if matches!(config.kind, RouterKind::Haproxy(_)) {
                latch = latch.with(started.latch(name));
            }
            prepared.push((config.clone(), self.builder.router(config, latch, None).await?));
        }
        let spawner = &mut Spawner::Startup(supervisor);
        let all = async {
            self.builder.sources.start(spawner, Stage::Watchers).await?;
            for (config, prepared) in prepared {
                self.start_router(config, prepared, spawner).await?;
            }
            Ok(())
        };
        all.await.map_err(|Stopping| Fatal::runtime("synapse is stopping"))?;
        self.publish();
        let remembered = std::mem::take(&mut self.builder.remembered);
        if let Some(path) = self.config.snapshot_path.clone() {
            let writer = SnapshotWriter::new(
                path,
                &remembered,
                self.followed.subscribe(),
                self.builder.news.subscribe(),
            );
            supervisor.start(Stage::Watchers, "snapshot", |stop| writer.run(stop));
        }
        Ok(())
    }

    /// Returns how to stop, as it changes.
    pub(super) fn stop_config(&self) -> watch::Receiver<StopConfig> {
        self.stop.subscribe()
    }

    /// Builds the routers that are not kept; by desired router.
    async fn build(&mut self, plan: &Plan, desired: &Config) -> Result<Vec<Option<Prepared>>, Fatal> {
        // The readiness of the daemon depends on its start only.
        let readiness = Readiness::default();
        let mut all = Vec::new();
        for (number, (transition, config)) in plan.transitions.iter().zip(&desired.routers).enumerate() {
            let predecessor = match transition {
                Transition::Kept(_) => {
                    all.push(None);
                    continue;
                }
                Transition::Changed(index) => self.routers.get(*index).map(|router| &router.router),
                Transition::Added => None,
            };
            let latch = readiness.latch(number.to_string());
            all.push(Some(self.builder.router(config.clone(), latch, predecessor).await?));
        }
        Ok(all)
    }

    /// Takes over the keys of the root that can change; the others stay as they run.
    fn commit_config(&mut self, desired: Config) {
        self.stop.send_replace(desired.stop);
        self.config.log_level = desired.log_level;
        self.config.stop = desired.stop;
        self.config.routers = desired.routers;
        self.config.effective = desired.effective;
    }

    async fn stop_unused_sources(&mut self) {
        let services = self.routers.iter().flat_map(|router| router.config.services.iter());
        let used = services.map(|service| &service.watcher);
        self.builder.sources.stop_others(used, &self.groups).await;
    }

    async fn start_router(
        &mut self,
        config: RouterConfig,
        prepared: Prepared,
        spawner: &mut Spawner<'_, Stage>,
    ) -> Result<(), Stopping> {
        let Prepared { router, group } = prepared;
        let id = spawner.start(group).await?;
        self.routers.push(ManagedRouter { id, config, router });
        Ok(())
    }

    fn publish(&self) {
        self.followed
            .send_replace(self.routers.iter().map(|router| followed(&router.router)).collect());
        self.running.publish(Running {
            routers: self.routers.iter().map(|router| router.router.clone()).collect(),
            ensembles: self.builder.sources.ensembles(),
            effective: self.config.effective.clone(),
        });
    }
}

impl LogConfig for Config {
    fn log_level(&self) -> &str {
        &self.log_level
    }

    fn log_format(&self) -> Format {
        self.log_format
    }
}

impl Reconfigure for RouterManager {
    type Config = Config;
    type Changes = RouterChanges;

    fn config(&self) -> &Config {
        &self.config
    }

    async fn apply(&mut self, mut desired: Config) -> Result<Applied<RouterChanges>, Refusal> {
        zone::settle(&mut desired);
        let needs_restart = needs_restart(&self.config, &desired);
        let running: Vec<&RouterConfig> = self.routers.iter().map(|router| &router.config).collect();
        let plan = plan(&running, &desired.routers);
        let prepared = match self.build(&plan, &desired).await {
            Ok(prepared) => prepared,
            Err(fatal) => {
                self.stop_unused_sources().await;
                return Err(Refusal::Problem(fatal.message));
            }
        };

        let groups = self.groups.clone();
        let spawner = &mut Spawner::Running(&groups);
        self.builder.sources.start(spawner, Stage::Watchers).await?;
        let mut before: Vec<Option<ManagedRouter>> = std::mem::take(&mut self.routers).into_iter().map(Some).collect();
        let mut take = |index: usize| before.get_mut(index).and_then(Option::take);
        for removed in plan.removed.iter().filter_map(|index| take(*index)) {
            removed.router.stop();
            groups.stop(removed.id).await?;
        }
        for ((transition, config), prepared) in plan.transitions.iter().zip(&desired.routers).zip(prepared) {
            let predecessor = match transition {
                Transition::Kept(index) | Transition::Changed(index) => take(*index),
                Transition::Added => None,
            };
            let Some(prepared) = prepared else {
                self.routers.extend(predecessor);
                continue;
            };
            if let Some(predecessor) = predecessor {
                // HAProxy has one writer at a time.
                predecessor.router.detach();
                groups.stop(predecessor.id).await?;
            }
            self.start_router(config.clone(), prepared, spawner).await?;
        }
        self.commit_config(desired);
        self.stop_unused_sources().await;
        self.publish();
        for change in &plan.changes {
            tracing::info!(
                router = %change.router, act = ?change.act, by = ?change.by, kept = change.kept,
                added = ?change.added, changed = ?change.changed, removed = ?change.removed,
                "Configuration reloaded."
            );
        }
        Ok(Applied {
            is_unchanged: plan.is_empty(),
            changes: RouterChanges { routers: plan.changes },
            needs_restart,
        })
    }
}

#[cfg(test)]
mod tests;
