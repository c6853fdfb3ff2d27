//! Builds everything, runs it, and stops it in order.
//!
//! Everything that can conflict with the machine (the API's address, HAProxy's program, paths and lock) is taken before
//! the first task runs. An unreachable ZooKeeper is no such thing: it is logged, shown and tried again.
//!
//! Stop: `/ready` turns false; routers end, leaving HAProxy running; then the watchers, the sessions, the API.

use std::sync::Arc;
use std::time::Duration;

use common::exit::Fatal;
use common::http::{CommonRoutes, bind};
use common::ready::{Latch, Readiness};
use common::signal::Signals;
use common::supervise::{Ended, Supervisor};
use common::telemetry::log::LevelHandle;
use common::telemetry::metrics::{Build, registry};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::api::Api;
use crate::catalog::Seed;
use crate::config::{Config, RouterConfig, RouterKind};
use crate::gather::{self, Gather, Inputs, gather};
use crate::metrics::Metrics;
use crate::router::console::{Console, console};
use crate::router::file_output::{self, FileOutput};
use crate::router::haproxy::{self, HaproxyTask, Links};
use crate::router::template::{self, TemplateFile};
use crate::router::{ApplierTask, Kind, Router, Service};
use crate::snapshot::{self, Followed, Keeper};
use crate::watcher::sources::{Source, Sources};
use crate::zone;

/// What the building of all routers shares.
struct Shared {
    sources: Sources,
    seed: Seed,
    bell: watch::Sender<()>,
    /// Rung at each change of what is guarded.
    news: watch::Sender<()>,
    remembered: snapshot::Content,
}

/// How long requests in flight may take when the API stops.
const API_DRAIN: Duration = Duration::from_secs(1);

/// What is stopped, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Routers,
    Watchers,
    Sessions,
    Api,
}

/// Who this is.
pub const BUILD: Build = Build {
    name: "synapse",
    version: env!("CARGO_PKG_VERSION"),
};

/// A router that is built and does not run yet.
struct Built {
    router: Router,
    gather: Gather,
    task: RouterTask,
}

impl Built {
    /// What the snapshot keeps of it.
    fn followed(&self) -> Followed {
        Followed {
            sources: self.router.services.iter().map(source_name).collect(),
            guarded: self.router.guarded.clone(),
        }
    }

    fn start(self, supervisor: &mut Supervisor<Stage>, number: usize) {
        supervisor.start(Stage::Watchers, format!("gather {number}"), |stop| {
            self.gather.run(stop)
        });
        let name = format!("router {number}");
        match self.task {
            RouterTask::Console(task) => supervisor.start(Stage::Routers, name, |stop| task.run(stop)),
            RouterTask::Template(task) => supervisor.start(Stage::Routers, name, |stop| task.run(stop)),
            RouterTask::FileOutput(task) => supervisor.start(Stage::Routers, name, |stop| task.run(stop)),
            RouterTask::Haproxy(task) => supervisor.start(Stage::Routers, name, |stop| task.run(stop)),
        }
    }
}

enum RouterTask {
    Console(ApplierTask<Console>),
    Template(Box<ApplierTask<TemplateFile>>),
    FileOutput(ApplierTask<FileOutput>),
    Haproxy(Box<HaproxyTask>),
}

/// Runs until a signal.
pub async fn run(config: Config, level: LevelHandle) -> Result<(), Fatal> {
    let mut signals =
        Signals::of_process().map_err(|error| Fatal::runtime(format!("signals can't be heard: {error}")))?;
    run_until(config, level, &mut signals).await
}

/// Runs until one of `signals`.
pub async fn run_until(mut config: Config, level: LevelHandle, signals: &mut Signals) -> Result<(), Fatal> {
    let started = Instant::now();
    zone::settle(&mut config);
    let readiness = Readiness::default();
    let bound = bind(&config.api).await.map_err(|error| {
        Fatal::config(format!(
            "{error}\n  another process may use it; choose another `apiPort` or `apiSocket`"
        ))
    })?;
    let address = bound.address();

    let bell = watch::Sender::new(());
    let mut shared = Shared {
        sources: Sources::new(bell.clone()),
        seed: host_seed(),
        bell,
        news: watch::Sender::new(()),
        remembered: config.snapshot_path.as_deref().map(snapshot::load).unwrap_or_default(),
    };
    let mut built = Vec::new();
    for (number, router) in (1..).zip(config.routers) {
        let latch = readiness.latch(format!("first apply of router {number}"));
        built.push(build(router, &mut shared, latch).await?);
    }
    let Shared {
        sources,
        bell,
        news,
        remembered,
        seed: _,
    } = shared;
    let keeper = config.snapshot_path.map(|path| {
        let followed = built.iter().map(Built::followed).collect();
        Keeper::new(path, remembered, followed, news.subscribe())
    });

    let routers: Vec<Router> = built.iter().map(|built| built.router.clone()).collect();
    let mut registry = registry(BUILD);
    registry.register_collector(Box::new(Metrics::new(routers.clone(), started)));
    let api = Api {
        common: CommonRoutes {
            build: BUILD,
            readiness: readiness.clone(),
            registry: Arc::new(registry),
            level,
        },
        ensembles: sources.ensembles(),
        routers,
        started,
    };

    let mut supervisor = Supervisor::new();
    supervisor.start(Stage::Api, "api", |stop| bound.serve(api.handler(), API_DRAIN, stop));
    sources.start(&mut supervisor, Stage::Watchers, Stage::Sessions);
    for (number, built) in (1..).zip(built) {
        built.start(&mut supervisor, number);
    }
    if let Some(keeper) = keeper {
        supervisor.start(Stage::Watchers, "snapshot", |stop| keeper.run(stop));
    }
    drop(bell);
    tracing::info!(api = %address, version = BUILD.version, "Synapse started.");

    let mut stopping = None;
    let on_stop = || stopping = Some(readiness.latch("the daemon stops"));
    let on_reload = || tracing::warn!("SIGHUP does nothing: restart synapse to read its configuration again.");
    let grace = config.shutdown_timeout;
    verdict(supervisor.run(signals, || grace, on_stop, on_reload).await)
}

fn verdict(ended: Ended) -> Result<(), Fatal> {
    match ended {
        Ended::Clean => {
            tracing::info!("Synapse stopped.");
            Ok(())
        }
        Ended::StillRunning(tasks) => {
            let tasks = tasks.join(", ");
            Err(Fatal::runtime(format!("stopped before these had ended: {tasks}")))
        }
        Ended::TaskFailed { task, why } => Err(Fatal::runtime(format!("the task `{task}` failed: {why}"))),
    }
}

async fn build(config: RouterConfig, shared: &mut Shared, first_apply: Latch) -> Result<Built, Fatal> {
    let of_services: Vec<Source> = config
        .services
        .iter()
        .map(|service| shared.sources.source(&service.watcher))
        .collect();
    let services = config.services.iter().zip(&of_services);
    let services = services.map(|(service, source)| Service {
        id: service.id.clone(),
        name: service.name.clone(),
        source: source.description.clone(),
    });
    let services: Vec<Service> = services.collect();
    let (now, unix_millis) = (Instant::now(), common::clock::unix_millis());
    let of_services = services.iter().zip(of_services).map(|(service, source)| {
        let remembered = shared.remembered.sources.get(&source_name(service));
        gather::Source {
            state: source.state,
            remembered: remembered.map(|remembered| Arc::new(remembered.state(now, unix_millis))),
        }
    });
    let health = watch::Sender::new(Arc::default());
    let (gathered, gather) = gather(Inputs {
        sources: of_services.collect(),
        services: config.services.clone(),
        seed: shared.seed,
        bell: shared.bell.subscribe(),
        health: health.subscribe(),
        news: shared.news.clone(),
    });
    let (kind, task) = match config.kind {
        RouterKind::Console => {
            let (applier, task) = console(gathered.desired, config.pace, first_apply);
            (Kind::Plain("console", applier), RouterTask::Console(task))
        }
        RouterKind::Template(template) => {
            let built = template::build(template, &config.services, config.pace, gathered.desired, first_apply);
            let (applier, task) = built?;
            (Kind::Plain("template", applier), RouterTask::Template(Box::new(task)))
        }
        RouterKind::FileOutput(output) => {
            let (applier, task) = file_output::build(output, config.pace, gathered.desired, first_apply)?;
            (Kind::Plain("file_output", applier), RouterTask::FileOutput(task))
        }
        RouterKind::Haproxy(haproxy) => {
            let build = haproxy::build(
                *haproxy,
                config.services,
                config.pace,
                Links {
                    desired: gathered.desired,
                    attention: gathered.attention,
                    health,
                },
                first_apply,
            );
            let (haproxy, task) = build.await?;
            (Kind::Haproxy(haproxy), RouterTask::Haproxy(Box::new(task)))
        }
    };
    let router = Router {
        services,
        outcome: gathered.outcome,
        guarded: gathered.guarded,
        orders: gathered.orders,
        kind,
    };
    Ok(Built { router, gather, task })
}

/// What the snapshot calls the source of a service.
fn source_name(service: &Service) -> String {
    service.source.to_string()
}

/// What tells this host from others, and stays the same: containers share the first, and hosts may share the second.
fn host_seed() -> Seed {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    Seed::of(&(read("/etc/machine-id") + &read("/proc/sys/kernel/hostname")))
}
