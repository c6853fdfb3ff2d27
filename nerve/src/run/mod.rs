//! The daemon in one piece: builds everything, binds before anything runs, hands the tasks to the supervisor.
//!
//! The stop is a written sequence, stage by stage: services are disabled, checks end, nodes are withdrawn, sessions are
//! closed, the API goes last, so that it can be asked how far things are. A task that breaks is different: nerve leaves
//! at once **without** withdrawing anything, for the services are healthy; the next nerve takes their nodes over
//! within the session timeout.
//!
//! All that belongs to a service is a group of tasks: a reload starts and stops them (`crew`).

mod bond;
mod crew;
mod parts;
mod plan;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::exit::Fatal;
use common::http::{self, Bound, CommonRoutes, Listen};
use common::ready::Readiness;
use common::reload::reloads;
use common::signal::{Handover, Signal, Signals};
use common::supervise::{Ended, Supervisor};
use common::systemd::{Notifier, State};
use common::telemetry::log::LevelHandle;
use common::telemetry::metrics::{self, Build};
use common::zk::session_pool::SessionPool;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::api::view::service_view;
use crate::api::{self, App};
use crate::config::{ApiAddress, Config, HooksConfig, Source};
use crate::metrics::{Gauges, Metrics};
use crate::overrides::spool;
use crate::reload::Reloads;
use crate::roster::Roster;
use crate::service::Context;
use crate::state_store;
use bond::Bond;
use crew::Crew;
use parts::Parts;

/// How long API requests in flight get at the end.
const API_DRAIN: Duration = Duration::from_secs(2);

/// The stages of the stop, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Services,
    Checks,
    Reporters,
    Sessions,
    Api,
}

/// Runs the daemon until a signal stops it. `source` is where `config` came from, for when it is to be read again.
pub async fn run(source: Source, config: Config, level: LevelHandle) -> Result<(), Fatal> {
    let signals =
        Signals::of_process().map_err(|error| Fatal::runtime(format!("cannot listen to signals: {error}")))?;
    let handover =
        Handover::of_process().map_err(|error| Fatal::runtime(format!("cannot listen to signals: {error}")))?;
    let daemon = Daemon::build(source, config, level).await?;
    let asked = daemon.asked.clone();
    tokio::select! {
        ended = daemon.run(signals) => ended,
        () = leave(handover, &asked) => {
            tracing::info!("Leaving for a successor: no service is disabled and no node withdrawn.");
            Ok(())
        }
    }
}

/// Returns when nerve is to leave its nodes to a successor. A stop that has begun is carried through.
async fn leave(mut handover: Handover, stopping: &CancellationToken) {
    loop {
        handover.asked().await;
        if !stopping.is_cancelled() {
            return;
        }
    }
}

#[derive(Debug)]
struct Daemon {
    supervisor: Supervisor<Stage>,
    asked: CancellationToken,
    readiness: Readiness,
    reloads: Reloads,
    notifier: Notifier,
    /// The deadline of the stop.
    grace: watch::Receiver<Duration>,
}

impl Daemon {
    async fn build(source: Source, config: Config, level: LevelHandle) -> Result<Self, Fatal> {
        let bound = bind_api(&config.api).await?;
        let hooks = match &config.hooks {
            Some(hooks) => Some(bind_hooks(hooks).await?),
            None => None,
        };
        let probes = match &config.probes {
            Some(probes) => Some(probes.bind().await.map_err(Fatal::config)?),
            None => None,
        };
        let build = Build {
            name: "nerve",
            version: env!("CARGO_PKG_VERSION"),
        };
        let mut registry = metrics::registry(build);
        let mut context = Context::new(Metrics::register(&mut registry));
        let roster = Roster::default();
        registry.register_collector(Box::new(Gauges { roster: roster.clone() }));
        let mut supervisor = Supervisor::new();
        let (asked, readiness) = (CancellationToken::new(), Readiness::default());
        let legacy_get_mutations = config.legacy_get_mutations;
        remember(&config, &mut supervisor, &mut context)?;
        watch_spool(&config, &mut supervisor, &mut context);
        let (state_store, changes) = (context.state_store.clone(), context.changes.clone());
        let (sessions, task) = SessionPool::new();
        supervisor.start(
            Stage::Sessions,
            "sessions",
            Bond::under(&asked).hold(|stop| task.run(stop)),
        );
        let parts = Parts::new(asked.clone(), context, sessions);
        let groups = supervisor.groups();
        let mut crew = Crew::new((source, config), level.clone(), parts, groups, roster.clone());
        crew.start(&mut supervisor, &readiness).await.map_err(Fatal::config)?;
        let grace = crew.grace();
        let (reloads, requests) = reloads();
        let notifier = Notifier::from_environment();
        let requests = requests.telling(notifier.clone());
        supervisor.start(Stage::Services, "reload", |stop| crew.run(requests, stop));
        tracing::info!(
            address = bound.address(),
            services = roster.now().services.len(),
            version = build.version,
            "nerve is up."
        );
        let (telling, told) = (notifier.clone(), roster.clone());
        supervisor.start(Stage::Api, "service manager", |stop| {
            telling.run(move || state(&told), stop)
        });
        let common = CommonRoutes {
            build,
            // It has read its configuration and listens: nothing else is needed once.
            started: Readiness::default(),
            readiness: readiness.clone(),
            registry: Arc::new(registry),
            level,
        };
        if let Some(probes) = probes {
            let handler = http::probes(common.clone());
            tracing::info!(address = probes.address(), "Probes are answered.");
            supervisor.start(Stage::Api, "probes", |stop| probes.serve(handler, API_DRAIN, stop));
        }
        if let Some(hooks) = hooks {
            tracing::info!(address = hooks.address(), "Pre-stop hooks are taken.");
            let handler = api::hooks(roster.clone(), state_store.clone());
            supervisor.start(Stage::Api, "hooks", |stop| hooks.serve(handler, API_DRAIN, stop));
        }
        let handler = api::handler(App {
            roster,
            reloads: reloads.clone(),
            common,
            legacy_get_mutations,
            state_store,
            changes,
            listeners: api::listeners(),
        });
        supervisor.start(Stage::Api, "orphans", common::process::orphans::reap);
        supervisor.start(Stage::Api, "api", |stop| bound.serve(handler, API_DRAIN, stop));
        Ok(Self {
            supervisor,
            asked,
            readiness,
            reloads,
            notifier,
            grace,
        })
    }

    async fn run(self, mut signals: Signals) -> Result<(), Fatal> {
        let Self {
            supervisor,
            asked,
            readiness,
            reloads,
            notifier,
            grace,
        } = self;
        let (sender, receiver) = mpsc::channel(4);
        let mut heard = Signals::fed_by(receiver);
        let broken = CancellationToken::new();
        let stopping = RefCell::new(None);
        let on_stop = |failed: Option<&Ended>| {
            if failed.is_none() {
                *stopping.borrow_mut() = Some(readiness.latch("the end: nerve is stopping"));
                notifier.stopping(*grace.borrow());
            } else {
                broken.cancel();
            }
        };
        let forward = async {
            loop {
                let signal = signals.next().await;
                if signal == Signal::Stop {
                    asked.cancel();
                }
                if sender.send(signal).await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        let ended = tokio::select! {
            biased;
            () = broken.cancelled() => return Err(Fatal::runtime(
                "a task broke (see the log); leaving without withdrawing any node, so that a restart takes them over",
            )),
            ended = supervisor.run(&mut heard, || *grace.borrow(), on_stop, || reloads.signal()) => ended,
            () = forward => return Ok(()),
        };
        match ended {
            Ended::Clean => Ok(()),
            Ended::StillRunning(tasks) => Err(Fatal::runtime(format!(
                "stopped before these were done: {}",
                tasks.join(", ")
            ))),
            Ended::TaskFailed { task, why } => {
                Err(Fatal::runtime(format!("task `{task}` failed while stopping: {why}")))
            }
        }
    }
}

/// nerve is up as soon as it runs: what its services and ZooKeeper are like is no business of who starts it.
fn state(roster: &Roster) -> State {
    let running = roster.now();
    let available = running
        .services
        .iter()
        .filter(|service| service_view(service).available);
    State {
        ready: true,
        status: format!(
            "{} of {} services are available",
            available.count(),
            running.services.len()
        ),
    }
}

/// Opens the state_store, where there is a directory for it.
fn remember(config: &Config, supervisor: &mut Supervisor<Stage>, context: &mut Context) -> Result<(), Fatal> {
    let Some(directory) = &config.state_dir else {
        tracing::info!("Without a `stateDir` operators' words and warm-ups end with this process.");
        return Ok(());
    };
    let names = config.services.iter().map(|service| service.name.as_str());
    let (state_store, task) = state_store::open(directory, names).map_err(|error| {
        Fatal::config(format!(
            "stateDir: {error}; choose a directory of this nerve's own that it may write"
        ))
    })?;
    context.state_store = state_store;
    // After the services, which have something to say to their end.
    supervisor.start(Stage::Sessions, "state_store", |stop| task.run(stop));
    Ok(())
}

/// Watches hacheck's spool, where there is one.
fn watch_spool(config: &Config, supervisor: &mut Supervisor<Stage>, context: &mut Context) {
    if let Some(directory) = &config.hacheck_spool {
        let (spools, task) = spool::spool(directory.clone());
        context.spool = spools;
        supervisor.start(Stage::Sessions, "hacheck's spool", |stop| task.run(stop));
    }
}

async fn bind_api(api: &ApiAddress) -> Result<Bound, Fatal> {
    let listen = match api {
        ApiAddress::Unix(path) => Listen::Unix(path.clone()),
        ApiAddress::Tcp { host, port } => Listen::Tcp(address("apiHost", host, *port).await?),
    };
    http::bind(&listen).await.map_err(|error| {
        Fatal::config(format!(
            "the API {error}; is another nerve running? Choose another `apiPort`, `apiHost` or `apiSocket`"
        ))
    })
}

async fn bind_hooks(hooks: &HooksConfig) -> Result<Bound, Fatal> {
    let listen = Listen::Tcp(address("hooks.host", &hooks.host, hooks.port).await?);
    http::bind(&listen).await.map_err(|error| {
        Fatal::config(format!(
            "hooks: {error}; `host` has to be an address of this machine (or pod), and `port` free"
        ))
    })
}

/// What the host of `key` resolves to.
async fn address(key: &str, host: &str, port: u16) -> Result<SocketAddr, Fatal> {
    let mut addresses = tokio::net::lookup_host((host, port))
        .await
        .map_err(|error| Fatal::config(format!("{key}: cannot resolve `{host}`: {error}")))?;
    addresses
        .next()
        .ok_or_else(|| Fatal::config(format!("{key}: `{host}` has no address")))
}

#[cfg(test)]
mod tests;
