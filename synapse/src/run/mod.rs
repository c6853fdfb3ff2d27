//! Builds everything, runs it, and stops it in order.
//!
//! Everything that can conflict with the machine (the API's address, HAProxy's program, paths and lock) is taken before
//! the first task runs. An unreachable ZooKeeper is not fatal: it is logged, shown and retried.
//!
//! Stop: `/ready` turns false; routers end and leave HAProxy running unless `stopOnExit`; then the watchers, the sessions,
//! the API. A failed task stops all others in the same order, but never HAProxy.
//!
//! The tasks of each router are a group, and so are those of each source: a reload starts and stops them
//! (`router_manager`).

mod plan;
mod router_builder;
mod router_manager;

use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use common::daemon::{ConfiguredLevel, ReloadTask, bind_api, bind_probes, serve_probes};
use common::exit::Fatal;
use common::http::CommonRoutes;
use common::ready::Readiness;
use common::reload::{Reader, ReloadCounter, reloads};
use common::signal::{Signal, Signals};
use common::supervise::{Ended, Supervisor};
use common::systemd::{Notifier, State};
use common::telemetry::metrics::{Build, registry};
use common::zk::session_pool::SessionPool;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use crate::api::{Api, listeners};
use crate::config::{Config, Source};
use crate::metrics::Metrics;
use crate::running::{RunningRouter, RunningState};
pub(crate) use router_builder::RouterBuilder;
use router_manager::RouterManager;

/// How long requests in flight get when the API stops.
const API_DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// How often `--once` checks whether it is done.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The stages of the stop, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Routers,
    Watchers,
    Sessions,
    Api,
}

/// The build of this daemon.
pub const BUILD: Build = Build {
    name: "synapse",
    version: env!("CARGO_PKG_VERSION"),
};

/// Runs until a signal stops it. A reload reads `source` again. With `once` it stops as soon as every router is applied,
/// or fails when that takes longer.
pub async fn run(source: Source, config: Config, level: ConfiguredLevel, once: Option<Duration>) -> Result<(), Fatal> {
    let signals = Signals::of_process();
    let mut signals = signals.map_err(|error| Fatal::runtime(format!("cannot receive signals: {error}")))?;
    let started_at = Instant::now();
    let (readiness, started) = (Readiness::default(), Readiness::default());
    let listener = bind_api(&config.api).await?;
    let address = listener.address();
    let probes = bind_probes(config.probes.as_ref()).await?;

    let running = RunningState::default();
    let mut supervisor = Supervisor::new();
    let (sessions, task) = SessionPool::new();
    supervisor.start(Stage::Sessions, "sessions", |stop| task.run(stop));
    let mut manager = RouterManager::new(config, sessions, supervisor.groups(), running.clone());
    manager.start(&mut supervisor, &readiness, &started).await?;
    let stop = manager.stop_config();
    let notifier = Notifier::from_environment();
    let (reloads, requests) = reloads(notifier.clone());
    let mut registry = registry(BUILD);
    let counter = ReloadCounter::register(&mut registry, BUILD);
    registry.register_collector(Box::new(Metrics::new(running.clone(), started_at)));
    let common = CommonRoutes {
        build: BUILD,
        started: started.clone(),
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
    supervisor.start(Stage::Routers, "reload", |stop| task.run(stop));
    serve_probes(&mut supervisor, Stage::Api, probes, &common, API_DRAIN_TIMEOUT);
    let api = Api {
        common,
        running: running.clone(),
        reloads: reloads.clone(),
        started: started_at,
        listeners: listeners(),
    };
    supervisor.start(Stage::Api, "api", |stop| {
        listener.serve(api.handler(), API_DRAIN_TIMEOUT, stop)
    });
    let (sender, observed) = (notifier.clone(), running.clone());
    supervisor.start(Stage::Api, "service manager", |stop| {
        sender.run(move || state(&started, &observed), stop)
    });
    tracing::info!(api = %address, version = BUILD.version, "Synapse started.");

    let (sender, receiver) = mpsc::channel(4);
    let mut forwarded = Signals::fed_by(receiver);
    let mut missing = None;
    let forward = async {
        // The latches are held to the end.
        let (mut is_stopping, mut latches) = (false, Vec::new());
        loop {
            let signal = tokio::select! {
                signal = signals.next() => signal,
                late = applied_once(&readiness, &running, once), if !is_stopping => {
                    missing = late;
                    Signal::Stop
                }
            };
            let delay = stop.borrow().delay;
            if signal == Signal::Stop && !is_stopping && once.is_none() && !delay.is_zero() {
                latches.push(readiness.latch("the end: a signal requested the stop"));
                notifier.stopping(delay + stop.borrow().timeout);
                wait_stop_delay(&mut signals, delay, || reloads.signal()).await;
            }
            is_stopping |= signal == Signal::Stop;
            // The supervisor receives as long as this is polled.
            sender.send(signal).await.ok();
        }
    };
    let mut stopping = None;
    let on_stop = |failed: Option<&Ended>| {
        if failed.is_some() {
            // The next synapse is the successor; until then HAProxy runs on, even with `stopOnExit`.
            running.load().routers.iter().for_each(RunningRouter::detach);
        }
        stopping = Some(readiness.latch("the daemon stops"));
        notifier.stopping(stop.borrow().timeout);
    };
    let run = supervisor.run(&mut forwarded, || stop.borrow().timeout, on_stop, || reloads.signal());
    let ended = tokio::select! {
        ended = run => ended,
        never = forward => never,
    };
    ended.into_result()?;
    tracing::info!("Synapse stopped.");
    missing.zip(once).map_or(Ok(()), |(missing, limit)| {
        let missing = missing.join(", ");
        Err(Fatal::runtime(format!(
            "not applied within {limit:?}; waiting for: {missing}"
        )))
    })
}

/// Runs on for `delay` after a stop was requested, because clients that stop at the same moment need HAProxy until they
/// end. A second signal ends the delay.
async fn wait_stop_delay(signals: &mut Signals, delay: Duration, reload: impl Fn()) {
    tracing::info!(?delay, "Stop requested; running on for `stopDelay`.");
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

/// synapse is ready for the service manager once every HAProxy was applied: dependent units find their services.
fn state(started: &Readiness, running: &RunningState) -> State {
    let waiting_for = started.waiting_for();
    let services: usize = running.load().routers.iter().map(|router| router.services.len()).sum();
    State {
        ready: waiting_for.is_empty(),
        status: if waiting_for.is_empty() {
            format!("{services} services are routed")
        } else {
            format!("waiting for {}", waiting_for.join(", "))
        },
    }
}

/// Returns when every router is applied with the content of its sources, or after `once`, with what is missing; pends
/// without `once`.
async fn applied_once(readiness: &Readiness, running: &RunningState, once: Option<Duration>) -> Option<Vec<String>> {
    let Some(limit) = once else { return pending().await };
    let missing = || {
        let mut missing = readiness.waiting_for();
        let running = running.load();
        let incomplete = running.routers.iter().filter(|router| router.is_incomplete());
        missing.extend(incomplete.map(|router| format!("the sources of {}", router.handle.kind())));
        missing
    };
    let all = async {
        while !missing().is_empty() {
            sleep(POLL_INTERVAL).await;
        }
    };
    let is_late = timeout(limit, all).await.is_err();
    is_late.then(missing)
}
