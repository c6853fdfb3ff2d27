//! Builds routers with their sources and pipelines. Starts nothing.

use std::sync::Arc;

use common::exit::Fatal;
use common::ready::Latch;
use common::supervise::Group;
use common::zk::session_pool::SessionPool;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Stage;
use crate::config::{RouterConfig, RouterKind, ServiceConfig};
use crate::haproxy::{self, Channels};
use crate::health::Health;
use crate::pipeline::catalog::Seed;
use crate::pipeline::guard::Guarded;
use crate::pipeline::{self, Inputs, PipelineHandle, ServicePipeline};
use crate::router::console::console;
use crate::router::{Locks, file_output, template};
use crate::running::{RouterHandle, RunningRouter, RunningService};
use crate::snapshot::{Content, Followed};
use crate::watcher::WatcherState;
use crate::watcher::sources::Sources;

/// Builds routers.
#[derive(Debug)]
pub(crate) struct RouterBuilder {
    pub(crate) sources: Sources,
    changes: watch::Sender<()>,
    /// Notified at each change of a guard.
    pub(super) news: watch::Sender<()>,
    /// The content of the sources before the start; used by the first routers only.
    pub(super) remembered: Content,
    locks: Locks,
    seed: Seed,
    /// The number of routers ever built, for the names of their tasks.
    built: usize,
}

/// A router that is not started yet.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) router: RunningRouter,
    pub(super) group: Group<Stage>,
}

/// A pipeline that is not started yet.
#[derive(Debug)]
pub(crate) struct PreparedPipeline {
    services: Vec<RunningService>,
    pub(crate) handle: PipelineHandle,
    pub(crate) task: ServicePipeline,
    health: watch::Sender<Arc<Health>>,
}

impl RouterBuilder {
    /// Returns a builder without sources; `remembered` is their content before the start.
    pub(crate) fn new(remembered: Content, sessions: SessionPool) -> Self {
        let changes = watch::Sender::new(());
        Self {
            sources: Sources::new(changes.clone(), sessions),
            changes,
            news: watch::Sender::new(()),
            remembered,
            locks: Locks::default(),
            seed: host_seed(),
            built: 0,
        }
    }

    /// Builds the pipeline of a router.
    pub(crate) fn pipeline(
        &mut self,
        configs: &Arc<Vec<ServiceConfig>>,
        predecessor: Option<&RunningRouter>,
    ) -> PreparedPipeline {
        let mut services = Vec::new();
        let mut sources = Vec::new();
        for config in configs.iter() {
            let source = self.sources.source(&config.watcher);
            let service = RunningService {
                id: config.id.clone(),
                name: config.name.clone(),
                source: source.description,
            };
            sources.push(pipeline::Source {
                state: source.state,
                remembered: self.remembered(&service, predecessor),
            });
            services.push(service);
        }
        let health = watch::Sender::new(Arc::default());
        let (handle, task) = ServicePipeline::new(Inputs {
            sources,
            services: Arc::clone(configs),
            seed: self.seed,
            changes: self.changes.subscribe(),
            health: health.subscribe(),
            news: self.news.clone(),
        });
        PreparedPipeline {
            services,
            handle,
            task,
            health,
        }
    }

    /// Builds a router, which starts with the state of its predecessor's sources.
    pub(super) async fn router(
        &mut self,
        config: RouterConfig,
        first_apply: Latch,
        predecessor: Option<&RunningRouter>,
    ) -> Result<Prepared, Fatal> {
        let pipeline = self.pipeline(&config.services, predecessor);
        let (desired, locks) = (pipeline.handle.desired.clone(), &mut self.locks);
        self.built += 1;
        let name = format!("router {}", self.built);
        let mut group = Group::default();
        group.add(Stage::Watchers, format!("pipeline of {name}"), |stop| {
            pipeline.task.run(stop)
        });
        let handle = match config.kind {
            RouterKind::Console => {
                let (applier, task) = console(desired, config.pace, first_apply);
                group.add(Stage::Routers, name, |stop| task.run(stop));
                RouterHandle::Plain("console", applier)
            }
            RouterKind::Template(template) => {
                let built = template::build(template, &config.services, config.pace, desired, first_apply, locks);
                let (applier, task) = built?;
                group.add(Stage::Routers, name, |stop| task.run(stop));
                RouterHandle::Plain("template", applier)
            }
            RouterKind::FileOutput(output) => {
                let (applier, task) = file_output::build(output, config.pace, desired, first_apply, locks)?;
                group.add(Stage::Routers, name, |stop| task.run(stop));
                RouterHandle::Plain("file_output", applier)
            }
            RouterKind::Haproxy(haproxy) => {
                let channels = Channels {
                    desired,
                    attention: pipeline.handle.attention.clone(),
                    health: pipeline.health,
                };
                let built = haproxy::build(*haproxy, config.services, config.pace, channels, first_apply, locks);
                let (haproxy, task) = built.await?;
                group.add(Stage::Routers, name, |stop| task.run(stop));
                RouterHandle::Haproxy(haproxy)
            }
        };
        let router = RunningRouter {
            services: pipeline.services,
            pipeline: pipeline.handle,
            handle,
        };
        Ok(Prepared { router, group })
    }

    fn remembered(&self, service: &RunningService, predecessor: Option<&RunningRouter>) -> Option<Arc<WatcherState>> {
        let known = predecessor.and_then(|router| {
            let guarded = Arc::clone(&router.pipeline.guarded.borrow());
            let place = router
                .services
                .iter()
                .position(|known| known.source == service.source)?;
            guarded.get(place).map(Guarded::whole)
        });
        known.or_else(|| {
            let remembered = self.remembered.sources.get(&service.source.remembered_as()?)?;
            let state = remembered.state(Instant::now(), common::clock::unix_millis());
            Some(Arc::new(state))
        })
    }
}

/// Returns the part of a router that the snapshot keeps.
pub(super) fn followed(router: &RunningRouter) -> Followed {
    Followed {
        sources: router
            .services
            .iter()
            .map(|service| service.source.remembered_as())
            .collect(),
        guarded: router.pipeline.guarded.clone(),
    }
}

/// Returns a stable seed of this host: containers share the first part, and hosts may share the second.
fn host_seed() -> Seed {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    Seed::of(&(read("/etc/machine-id") + &read("/proc/sys/kernel/hostname")))
}
