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
use crate::gather::{Gather, gather};
use crate::metrics::Metrics;
use crate::router::console::{Console, console};
use crate::router::file_output::{self, FileOutput};
use crate::router::haproxy::{self, HaproxyTask};
use crate::router::template::{self, TemplateFile};
use crate::router::{ApplierTask, Kind, Router, Service};
use crate::watcher::sources::{Source, Sources};

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
pub async fn run_until(config: Config, level: LevelHandle, signals: &mut Signals) -> Result<(), Fatal> {
    let started = Instant::now();
    let readiness = Readiness::default();
    let bound = bind(&config.api).await.map_err(|error| {
        Fatal::config(format!(
            "{error}\n  another process may use it; choose another `apiPort` or `apiSocket`"
        ))
    })?;
    let address = bound.address();

    let bell = watch::Sender::new(());
    let mut sources = Sources::new(bell.clone());
    let seed = host_seed();
    let mut built = Vec::new();
    for (number, router) in (1..).zip(config.routers) {
        let latch = readiness.latch(format!("first apply of router {number}"));
        built.push(build(router, &mut sources, seed, bell.subscribe(), latch).await?);
    }

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

async fn build(
    config: RouterConfig,
    sources: &mut Sources,
    seed: Seed,
    bell: watch::Receiver<()>,
    first_apply: Latch,
) -> Result<Built, Fatal> {
    let of_services: Vec<Source> = config
        .services
        .iter()
        .map(|service| sources.source(&service.watcher))
        .collect();
    let services = config.services.iter().zip(&of_services);
    let services = services.map(|(service, source)| Service {
        id: service.id.clone(),
        name: service.name.clone(),
        ensemble: source.ensemble.clone(),
        path: source.path.clone(),
    });
    let services = services.collect();
    let states = of_services.into_iter().map(|source| source.state).collect();
    let (gathered, gather) = gather(config.services.clone(), states, seed, bell);
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
            let build = haproxy::build(*haproxy, config.services, config.pace, gathered.desired, first_apply);
            let (haproxy, task) = build.await?;
            (Kind::Haproxy(haproxy), RouterTask::Haproxy(Box::new(task)))
        }
    };
    let router = Router {
        services,
        outcome: gathered.outcome,
        kind,
    };
    Ok(Built { router, gather, task })
}

/// What tells this host from others, and stays the same: containers share the first, and hosts may share the second.
fn host_seed() -> Seed {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    Seed::of(&(read("/etc/machine-id") + &read("/proc/sys/kernel/hostname")))
}
