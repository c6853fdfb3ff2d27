//! Builds everything, runs it, and stops it in order.
//!
//! Everything that can conflict with the machine (the API's address, HAProxy's program, paths and lock) is taken before
//! the first task runs. An unreachable ZooKeeper is no such thing: it is logged, shown and tried again.
//!
//! Stop: `/ready` turns false; routers end, leaving HAProxy running unless `stopOnExit`; then the watchers, the sessions,
//! the API. A task that breaks stops all others in the same order, but never HAProxy.
//!
//! Each router is a group of tasks, and so is each watched path: a reload starts and stops them
//! (`crew`).

mod crew;
mod parts;
mod plan;

use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use common::exit::Fatal;
use common::http::{self, CommonRoutes, bind};
use common::ready::Readiness;
use common::reload::reloads;
use common::signal::{Signal, Signals};
use common::supervise::{Ended, Supervisor};
use common::systemd::{Notifier, State};
use common::telemetry::log::LevelHandle;
use common::telemetry::metrics::{Build, registry};
use common::zk::session_pool::SessionPool;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use crate::api::{Api, listeners};
use crate::config::{Config, Source};
use crate::metrics::{self, Metrics};
use crate::running::RunningState;
use crew::Crew;
pub(crate) use parts::host_seed;

/// How long requests in flight may take when the API stops.
const API_DRAIN: Duration = Duration::from_secs(1);

/// How often `--once` looks whether it is done.
const LOOK: Duration = Duration::from_millis(20);

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

/// Runs until a signal. `source` is where `config` came from, for when it is to be read again. With `once` it stops by
/// itself as soon as every router was applied, or with a failure when that takes longer.
pub async fn run(source: Source, config: Config, level: LevelHandle, once: Option<Duration>) -> Result<(), Fatal> {
    let mut signals =
        Signals::of_process().map_err(|error| Fatal::runtime(format!("signals can't be heard: {error}")))?;
    let started = Instant::now();
    let (readiness, first) = (Readiness::default(), Readiness::default());
    let bound = bind(&config.api).await.map_err(|error| {
        Fatal::config(format!(
            "{error}\n  another process may use it; choose another `apiPort` or `apiSocket`"
        ))
    })?;
    let address = bound.address();
    let probes = match &config.probes {
        Some(probes) => Some(probes.bind().await.map_err(Fatal::config)?),
        None => None,
    };

    let running = RunningState::default();
    let mut supervisor = Supervisor::new();
    let groups = supervisor.groups();
    let (sessions, task) = SessionPool::new();
    supervisor.start(Stage::Sessions, "sessions", |stop| task.run(stop));
    let mut crew = Crew::new((source, config), level.clone(), sessions, groups, running.clone());
    crew.start(&mut supervisor, &readiness, &first).await?;
    let stop = crew.grace();
    let (reloads, requests) = reloads();
    let notifier = Notifier::from_environment();
    let requests = requests.telling(notifier.clone());
    let mut registry = registry(BUILD);
    let count = metrics::Reloads::register(&mut registry);
    supervisor.start(Stage::Routers, "reload", |stop| crew.run(requests, count, stop));

    registry.register_collector(Box::new(Metrics::new(running.clone(), started)));
    let common = CommonRoutes {
        build: BUILD,
        started: first.clone(),
        readiness: readiness.clone(),
        registry: Arc::new(registry),
        level,
    };
    if let Some(probes) = probes {
        let handler = http::probes(common.clone());
        tracing::info!(address = probes.address(), "Probes are answered.");
        supervisor.start(Stage::Api, "probes", |stop| probes.serve(handler, API_DRAIN, stop));
    }
    let api = Api {
        common,
        running: running.clone(),
        reloads: reloads.clone(),
        started,
        listeners: listeners(),
    };
    supervisor.start(Stage::Api, "api", |stop| bound.serve(api.handler(), API_DRAIN, stop));
    let (telling, look) = (notifier.clone(), (first, running.clone()));
    supervisor.start(Stage::Api, "service manager", |stop| {
        telling.run(move || state(&look.0, &look.1), stop)
    });
    tracing::info!(api = %address, version = BUILD.version, "Synapse started.");

    let (sender, receiver) = mpsc::channel(4);
    let mut heard = Signals::fed_by(receiver);
    let mut missed = None;
    let hear = async {
        // A latch, from the first word to the end.
        let (mut asked, mut leaving) = (false, Vec::new());
        loop {
            let signal = tokio::select! {
                signal = signals.next() => signal,
                waited_for = settled(&readiness, &running, once), if !asked => {
                    missed = waited_for;
                    Signal::Stop
                }
            };
            let delay = stop.borrow().delay;
            if signal == Signal::Stop && !asked && once.is_none() && !delay.is_zero() {
                leaving.push(readiness.latch("the end: the daemon was told to stop"));
                notifier.stopping(delay + stop.borrow().timeout);
                linger(&mut signals, delay, || reloads.signal()).await;
            }
            asked |= signal == Signal::Stop;
            // The supervisor listens as long as this is polled.
            sender.send(signal).await.ok();
        }
    };
    let mut stopping = None;
    let on_stop = |failed: Option<&Ended>| {
        if failed.is_some() {
            // Whoever starts synapse again is the successor; until then HAProxy goes on, whatever `stopOnExit` says.
            running.load().routers.iter().for_each(|router| router.leave(true));
        }
        stopping = Some(readiness.latch("the daemon stops"));
        notifier.stopping(stop.borrow().timeout);
    };
    let run = supervisor.run(&mut heard, || stop.borrow().timeout, on_stop, || reloads.signal());
    let ended = tokio::select! {
        ended = run => ended,
        never = hear => never,
    };
    verdict(ended)?;
    match (missed, once) {
        (Some(waiting_for), Some(limit)) => Err(Fatal::runtime(format!(
            "not applied within {limit:?}; it still waited for: {}",
            waiting_for.join(", ")
        ))),
        _ => Ok(()),
    }
}

/// Goes on for `delay` as if nobody had asked for the stop: who is told to stop in the same moment needs HAProxy to its
/// own end. A second signal cuts it short.
async fn linger(signals: &mut Signals, delay: Duration, reload: impl Fn()) {
    tracing::info!(?delay, "Asked to stop; going on for the configured delay.");
    let mut end = pin!(sleep(delay));
    loop {
        tokio::select! {
            () = end.as_mut() => return,
            signal = signals.next() => match signal {
                Signal::Stop => return,
                Signal::Reload => reload(),
            }
        }
    }
}

/// synapse is up once every HAProxy was applied: who waits for it finds its services.
fn state(started: &Readiness, running: &RunningState) -> State {
    let waiting_for = started.waiting_for();
    let services: usize = running.load().routers.iter().map(|router| router.services.len()).sum();
    State {
        ready: waiting_for.is_empty(),
        status: if waiting_for.is_empty() {
            format!("{services} services are routed")
        } else {
            format!("waits for {}", waiting_for.join(", "))
        },
    }
}

/// Returns when every router was applied with what its sources say, or after `once`, with what is missing; never without
/// it.
async fn settled(readiness: &Readiness, running: &RunningState, once: Option<Duration>) -> Option<Vec<String>> {
    let Some(limit) = once else { return pending().await };
    let missing = || {
        let mut missing = readiness.waiting_for();
        for router in &running.load().routers {
            missing.extend(
                router
                    .is_incomplete()
                    .then(|| format!("the sources of {}", router.handle.kind())),
            );
        }
        missing
    };
    let all = async {
        while !missing().is_empty() {
            sleep(LOOK).await;
        }
    };
    let late = timeout(limit, all).await.is_err();
    late.then(missing)
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
