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
use crate::haproxy::{self, Channels, HaproxyTask};
use crate::pipeline::catalog::Seed;
use crate::pipeline::guard::Guarded;
use crate::pipeline::{self, Inputs, ServicePipeline};
use crate::router::console::{Console, console};
use crate::router::file_output::{self, FileOutput};
use crate::router::template::{self, TemplateFile};
use crate::router::{ApplierTask, Locks};
use crate::running::{RouterHandle, RunningRouter, RunningService};
use crate::snapshot::{Content, Followed};
use crate::watcher::WatcherState;
use crate::watcher::sources::{Source, Sources};

/// Builds routers.
#[derive(Debug)]
pub(super) struct RouterBuilder {
    pub(super) sources: Sources,
    changes: watch::Sender<()>,
    /// Notified at each change of a guard.
    news: watch::Sender<()>,
    /// The content of the sources before the start.
    remembered: Content,
    locks: Locks,
    seed: Seed,
}

/// A router that is not started yet.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) router: RunningRouter,
    pipeline: ServicePipeline,
    task: Task,
}

#[derive(Debug)]
enum Task {
    Console(ApplierTask<Console>),
    Template(Box<ApplierTask<TemplateFile>>),
    FileOutput(ApplierTask<FileOutput>),
    Haproxy(Box<HaproxyTask>),
}

impl Prepared {
    /// Returns its tasks; `name` distinguishes them from other routers'.
    pub(super) fn group(self, name: &str) -> Group<Stage> {
        let mut group = Group::default();
        group.add(Stage::Watchers, format!("pipeline of {name}"), |stop| {
            self.pipeline.run(stop)
        });
        let name = format!("router {name}");
        match self.task {
            Task::Console(task) => group.add(Stage::Routers, name, |stop| task.run(stop)),
            Task::Template(task) => group.add(Stage::Routers, name, |stop| task.run(stop)),
            Task::FileOutput(task) => group.add(Stage::Routers, name, |stop| task.run(stop)),
            Task::Haproxy(task) => group.add(Stage::Routers, name, |stop| task.run(stop)),
        }
        group
    }
}

impl RouterBuilder {
    /// Returns a builder without sources; `remembered` is their content before the start.
    pub(super) fn new(remembered: Content, sessions: SessionPool) -> Self {
        let changes = watch::Sender::new(());
        Self {
            sources: Sources::new(changes.clone(), sessions),
            changes,
            news: watch::Sender::new(()),
            remembered,
            locks: Locks::default(),
            seed: host_seed(),
        }
    }

    /// Returns the receiver of changes of a guard.
    pub(super) fn news(&self) -> watch::Receiver<()> {
        self.news.subscribe()
    }

    /// Builds a router, which starts with the state of its predecessor's sources.
    pub(super) async fn router(
        &mut self,
        config: RouterConfig,
        first_apply: Latch,
        predecessor: Option<&RunningRouter>,
    ) -> Result<Prepared, Fatal> {
        let sources: Vec<Source> = config
            .services
            .iter()
            .map(|service| self.sources.source(&service.watcher))
            .collect();
        let running = |(service, source): (&ServiceConfig, &Source)| RunningService {
            id: service.id.clone(),
            name: service.name.clone(),
            source: source.description.clone(),
        };
        let services: Vec<RunningService> = config.services.iter().zip(&sources).map(running).collect();
        let sources = services.iter().zip(sources).map(|(service, source)| pipeline::Source {
            state: source.state,
            remembered: self.remembered(service, predecessor),
        });
        let health = watch::Sender::new(Arc::default());
        let (pipeline, pipeline_task) = ServicePipeline::new(Inputs {
            sources: sources.collect(),
            services: Arc::clone(&config.services),
            seed: self.seed,
            changes: self.changes.subscribe(),
            health: health.subscribe(),
            news: self.news.clone(),
        });
        let (desired, locks) = (pipeline.desired.clone(), &mut self.locks);
        let (handle, task) = match config.kind {
            RouterKind::Console => {
                let (applier, task) = console(desired, config.pace, first_apply);
                (RouterHandle::Plain("console", applier), Task::Console(task))
            }
            RouterKind::Template(template) => {
                let built = template::build(template, &config.services, config.pace, desired, first_apply, locks);
                let (applier, task) = built?;
                (RouterHandle::Plain("template", applier), Task::Template(Box::new(task)))
            }
            RouterKind::FileOutput(output) => {
                let (applier, task) = file_output::build(output, config.pace, desired, first_apply, locks)?;
                (RouterHandle::Plain("file_output", applier), Task::FileOutput(task))
            }
            RouterKind::Haproxy(haproxy) => {
                let links = Channels {
                    desired,
                    attention: pipeline.attention.clone(),
                    health,
                };
                let build = haproxy::build(*haproxy, config.services, config.pace, links, first_apply, locks);
                let (haproxy, task) = build.await?;
                (RouterHandle::Haproxy(haproxy), Task::Haproxy(Box::new(task)))
            }
        };
        let router = RunningRouter {
            services,
            pipeline,
            handle,
        };
        Ok(Prepared {
            router,
            pipeline: pipeline_task,
            task,
        })
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

    /// Returns and drops the content of the sources before the start, which is used at the start only.
    pub(super) fn forget(&mut self) -> Content {
        std::mem::take(&mut self.remembered)
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
pub(crate) fn host_seed() -> Seed {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    Seed::of(&(read("/etc/machine-id") + &read("/proc/sys/kernel/hostname")))
}
