//! The daemon: builds everything, takes every address before anything runs, and starts the tasks.
//!
//! The stop is a sequence of stages: services are disabled, checks end, nodes are withdrawn, sessions are closed; the API
//! goes last, so that the progress can be queried. After the failure of a task nerve exits at once **without**
//! withdrawing anything, because the services are healthy: the next nerve takes their nodes over within the session
//! timeout.
//!
//! The tasks of a service are a group, which a reload starts and stops (`service_manager`).

mod plan;
mod service_builder;
mod service_manager;
mod withdraw_guard;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::daemon::{ConfiguredLevel, ReloadTask, bind_api, bind_probes, serve_probes};
use common::exit::Fatal;
use common::http::{self, Bound, CommonRoutes, Listen};
use common::ready::Readiness;
use common::reload::{Reader, ReloadCounter, reloads};
use common::signal::{Handover, Signal, Signals};
use common::supervise::{Ended, Supervisor};
use common::systemd::{Notifier, State};
use common::telemetry::metrics::{self, Build};
use common::zk::session_pool::SessionPool;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::api::view::service_view;
use crate::api::{self, App};
use crate::config::{ApiAddress, Config, HooksConfig, Source};
use crate::gauges::Gauges;
use crate::metrics::Metrics;
use crate::overrides::spool;
use crate::reload::Reloads;
use crate::running::RunningState;
use crate::service::Context;
use crate::state_store;
use service_builder::ServiceBuilder;
use service_manager::ServiceManager;
use withdraw_guard::WithdrawGuard;

/// How long API requests in flight get at the end.
const API_DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// The stages of the stop, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Services,
    Checks,
    Reporters,
    Sessions,
    Api,
}

/// Runs the daemon until a signal stops it. A reload reads `source` again.
pub async fn run(source: Source, config: Config, level: ConfiguredLevel) -> Result<(), Fatal> {
    let failed = |error| Fatal::runtime(format!("cannot receive signals: {error}"));
    let signals = Signals::of_process().map_err(failed)?;
    let handover = Handover::of_process().map_err(failed)?;
    let daemon = Daemon::build(source, config, level).await?;
    let withdraw = daemon.withdraw.clone();
    tokio::select! {
        ended = daemon.run(signals) => ended,
        () = handed_over(handover, &withdraw) => {
            tracing::info!("Handing over to a successor: no service is disabled and no node withdrawn.");
            Ok(())
        }
    }
}

/// Returns when nerve is to leave its nodes to a successor. A stop that has begun is completed.
async fn handed_over(mut handover: Handover, stopping: &CancellationToken) {
    loop {
        handover.requested().await;
        if !stopping.is_cancelled() {
            return;
        }
    }
}

#[derive(Debug)]
struct Daemon {
    supervisor: Supervisor<Stage>,
    /// Cancelled when a signal requests the stop.
    withdraw: CancellationToken,
    readiness: Readiness,
    reloads: Reloads,
    notifier: Notifier,
    /// The deadline of the stop.
    shutdown_timeout: watch::Receiver<Duration>,
}

impl Daemon {
    async fn build(source: Source, config: Config, level: ConfiguredLevel) -> Result<Self, Fatal> {
        let listen = match &config.api {
            ApiAddress::Unix(path) => Listen::Unix(path.clone()),
            ApiAddress::Tcp { host, port } => Listen::Tcp(address("apiHost", host, *port).await?),
        };
        let api = bind_api(&listen).await?;
        let hooks = match &config.hooks {
            Some(hooks) => Some(bind_hooks(hooks).await?),
            None => None,
        };
        let probes = bind_probes(config.probes.as_ref()).await?;
        let build = Build {
            name: "nerve",
            version: env!("CARGO_PKG_VERSION"),
        };
        let mut registry = metrics::registry(build);
        let mut context = Context::new(Metrics::register(&mut registry));
        let counter = ReloadCounter::register(&mut registry, build);
        let running = RunningState::default();
        registry.register_collector(Box::new(Gauges {
            running: running.clone(),
        }));
        let mut supervisor = Supervisor::new();
        let (withdraw, readiness) = (CancellationToken::new(), Readiness::default());
        let legacy_get_mutations = config.legacy_get_mutations;
        open_state_store(&config, &mut supervisor, &mut context)?;
        watch_spool(&config, &mut supervisor, &mut context);
        let (state_store, changes) = (context.state_store.clone(), context.changes.clone());
        let (sessions, task) = SessionPool::new();
        supervisor.start(
            Stage::Sessions,
            "sessions",
            WithdrawGuard::new(&withdraw).wrap(|stop| task.run(stop)),
        );
        let builder = ServiceBuilder::new(withdraw.clone(), context, sessions);
        let mut manager = ServiceManager::new(config, builder, supervisor.groups(), running.clone());
        manager.start(&mut supervisor, &readiness).await?;
        let shutdown_timeout = manager.shutdown_timeout();
        let notifier = Notifier::from_environment();
        let (reloads, requests) = reloads(notifier.clone());
        let common = CommonRoutes {
            build,
            // nerve has started once it has read its configuration and listens.
            started: Readiness::default(),
            readiness: readiness.clone(),
            registry: Arc::new(registry),
            level: level.handle.clone(),
        };
        let reader = Reader::new(move || source.load());
        let task = ReloadTask {
            manager,
            reader,
            level,
            requests,
            counter,
        };
        supervisor.start(Stage::Services, "reload", |stop| task.run(stop));
        tracing::info!(
            address = api.address(),
            services = running.load().services.len(),
            version = build.version,
            "nerve started."
        );
        let (sender, observed) = (notifier.clone(), running.clone());
        supervisor.start(Stage::Api, "service manager", |stop| {
            sender.run(move || state(&observed), stop)
        });
        serve_probes(&mut supervisor, Stage::Api, probes, &common, API_DRAIN_TIMEOUT);
        if let Some(hooks) = hooks {
            tracing::info!(address = hooks.address(), "Pre-stop hooks are served.");
            let handler = api::hooks(running.clone(), state_store.clone());
            supervisor.start(Stage::Api, "hooks", |stop| {
                hooks.serve(handler, API_DRAIN_TIMEOUT, stop)
            });
        }
        let handler = api::handler(App {
            running,
            reloads: reloads.clone(),
            common,
            legacy_get_mutations,
            state_store,
            changes,
            listeners: api::listeners(),
        });
        supervisor.start(Stage::Api, "orphans", common::process::orphans::reap);
        supervisor.start(Stage::Api, "api", |stop| api.serve(handler, API_DRAIN_TIMEOUT, stop));
        Ok(Self {
            supervisor,
            withdraw,
            readiness,
            reloads,
            notifier,
            shutdown_timeout,
        })
    }

    async fn run(self, mut signals: Signals) -> Result<(), Fatal> {
        let (sender, receiver) = mpsc::channel(4);
        let mut forwarded = Signals::fed_by(receiver);
        let failed = CancellationToken::new();
        let stopping = RefCell::new(None);
        let shutdown_timeout = || *self.shutdown_timeout.borrow();
        let on_stop = |failure: Option<&Ended>| {
            if failure.is_some() {
                return failed.cancel();
            }
            *stopping.borrow_mut() = Some(self.readiness.latch("the end: nerve is stopping"));
            self.notifier.stopping(shutdown_timeout());
        };
        let forward = async {
            loop {
                let signal = signals.next().await;
                if signal == Signal::Stop {
                    self.withdraw.cancel();
                }
                if sender.send(signal).await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        tokio::select! {
            biased;
            () = failed.cancelled() => Err(Fatal::runtime(
                "a task failed (see the log); exiting without withdrawing any node, so that a restart takes them over",
            )),
            ended = self.supervisor.run(&mut forwarded, shutdown_timeout, on_stop, || self.reloads.signal()) => ended.into_result(),
            () = forward => Ok(()),
        }
    }
}

/// nerve is ready as soon as it runs: neither service health nor ZooKeeper affects `READY=1`.
fn state(running: &RunningState) -> State {
    let services = &running.load().services;
    let available = services
        .iter()
        .filter(|service| service_view(service).available)
        .count();
    State {
        ready: true,
        status: format!("{available} of {} services are available", services.len()),
    }
}

/// Opens the state store, if a directory is configured.
fn open_state_store(config: &Config, supervisor: &mut Supervisor<Stage>, context: &mut Context) -> Result<(), Fatal> {
    let Some(directory) = &config.state_dir else {
        tracing::info!("Without a `stateDir` overrides and warm-ups end with this process.");
        return Ok(());
    };
    let names = config.services.iter().map(|service| service.name.as_str());
    let (state_store, task) = state_store::open(directory, names).map_err(|error| {
        Fatal::config(format!(
            "stateDir: {error}; choose a writable directory of this nerve's own"
        ))
    })?;
    context.state_store = state_store;
    // After the services, which save their last state when they stop.
    supervisor.start(Stage::Sessions, "state store", |stop| task.run(stop));
    Ok(())
}

/// Watches hacheck's spool, if it is configured.
fn watch_spool(config: &Config, supervisor: &mut Supervisor<Stage>, context: &mut Context) {
    if let Some(directory) = &config.hacheck_spool {
        let (spools, task) = spool::spool(directory.clone());
        context.spool = spools;
        supervisor.start(Stage::Sessions, "hacheck's spool", |stop| task.run(stop));
    }
}

async fn bind_hooks(hooks: &HooksConfig) -> Result<Bound, Fatal> {
    let listen = Listen::Tcp(address("hooks.host", &hooks.host, hooks.port).await?);
    http::bind(&listen).await.map_err(|error| {
        Fatal::config(format!(
            "hooks: {error}; `host` has to be an address of this machine (or pod), and `port` free"
        ))
    })
}

/// Resolves the host of `key`.
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
