//! Builds a router with all that belongs to it. Starts nothing.

use common::exit::Fatal;
use common::ready::Latch;
use common::supervise::Group;
use tokio::sync::watch;

use super::Stage;
use crate::catalog::Seed;
use crate::config::{RouterConfig, RouterKind};
use crate::gather::{Gather, gather};
use crate::router::console::{ConsoleTask, console};
use crate::router::haproxy::{self, Estate, HaproxyTask};
use crate::router::{Kind, Router, Service};
use crate::watcher::sources::{Source, Sources};

/// What routers are made from.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) sources: Sources,
    bell: watch::Sender<()>,
    seed: Seed,
}

/// A router that is built and does not run yet.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) router: Router,
    gather: Gather,
    task: Task,
}

#[derive(Debug)]
enum Task {
    Console(ConsoleTask),
    Haproxy(Box<HaproxyTask>),
}

impl Built {
    /// Its tasks; `name` tells them from other routers'.
    pub(super) fn group(self, name: &str) -> Group<Stage> {
        let mut group = Group::default();
        group.add(Stage::Watchers, format!("gather {name}"), |stop| self.gather.run(stop));
        let name = format!("router {name}");
        match self.task {
            Task::Console(task) => group.add(Stage::Routers, name, |stop| task.run(stop)),
            Task::Haproxy(task) => group.add(Stage::Routers, name, |stop| task.run(stop)),
        }
        group
    }
}

impl Parts {
    /// No source yet.
    pub(super) fn new() -> Self {
        let bell = watch::Sender::new(());
        Self {
            sources: Sources::new(bell.clone()),
            bell,
            seed: host_seed(),
        }
    }

    /// Builds one; `heir_of` is what the router whose place it takes leaves behind.
    pub(super) async fn router(
        &mut self,
        config: RouterConfig,
        first_apply: Latch,
        heir_of: Option<Estate>,
    ) -> Result<Built, Fatal> {
        let sources: Vec<Source> = config
            .services
            .iter()
            .map(|service| self.sources.source(&service.watcher))
            .collect();
        let services = config.services.iter().zip(&sources);
        let services = services.map(|(service, source)| Service {
            id: service.id.clone(),
            name: service.name.clone(),
            ensemble: source.ensemble.clone(),
            path: source.path.clone(),
        });
        let services = services.collect();
        let states = sources.into_iter().map(|source| source.state).collect();
        let (gathered, gather) = gather(config.services.clone(), states, self.seed, self.bell.subscribe());
        let (kind, task) = match config.kind {
            RouterKind::Console => {
                let (failures, task) = console(gathered.desired, config.events_buffer, first_apply);
                (Kind::Console(failures), Task::Console(task))
            }
            RouterKind::Haproxy(haproxy) => {
                let build = haproxy::build(
                    *haproxy,
                    config.services,
                    config.events_buffer,
                    gathered.desired,
                    first_apply,
                    heir_of,
                );
                let (haproxy, task) = build.await?;
                (Kind::Haproxy(haproxy), Task::Haproxy(Box::new(task)))
            }
        };
        let router = Router {
            services,
            outcome: gathered.outcome,
            kind,
        };
        Ok(Built { router, gather, task })
    }
}

/// What tells this host from others, and stays the same: containers share the first, and hosts may share the second.
pub(crate) fn host_seed() -> Seed {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    Seed::of(&(read("/etc/machine-id") + &read("/proc/sys/kernel/hostname")))
}
