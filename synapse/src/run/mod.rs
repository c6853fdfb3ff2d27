//! Builds everything, runs it, and stops it in order.
//!
//! Everything that can conflict with the machine (the API's address, HAProxy's program, paths and lock) is taken before
//! the first task runs. An unreachable ZooKeeper is no such thing: it is logged, shown and tried again.
//!
//! Stop: `/ready` turns false; routers end, leaving HAProxy running; then the watchers, the sessions, the API.
//!
//! Each router is a group of tasks, and so are each session and each watched path: a reload starts and stops them
//! (`crew`).

mod crew;
mod parts;
mod plan;

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use common::exit::Fatal;
use common::http::{CommonRoutes, bind};
use common::ready::Readiness;
use common::reload::reloads;
use common::signal::{Signal, Signals};
use common::supervise::{Ended, Supervisor};
use common::telemetry::log::LevelHandle;
use common::telemetry::metrics::{Build, registry};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use crate::api::{Api, listeners};
use crate::config::{Config, Source};
use crate::metrics::Metrics;
use crate::roster::Roster;
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

    let roster = Roster::default();
    let mut supervisor = Supervisor::new();
    let groups = supervisor.groups();
    let mut crew = Crew::new((source, config), level.clone(), groups, roster.clone());
    crew.start(&mut supervisor, &readiness, &first).await?;
    let grace = crew.grace();
    let (reloads, requests) = reloads();
    supervisor.start(Stage::Routers, "reload", |stop| crew.run(requests, stop));

    let mut registry = registry(BUILD);
    registry.register_collector(Box::new(Metrics::new(roster.clone(), started)));
    let api = Api {
        common: CommonRoutes {
            build: BUILD,
            started: first,
            readiness: readiness.clone(),
            registry: Arc::new(registry),
            level,
        },
        roster: roster.clone(),
        reloads: reloads.clone(),
        started,
        listeners: listeners(),
    };
    supervisor.start(Stage::Api, "orphans", common::process::orphans::reap);
    supervisor.start(Stage::Api, "api", |stop| bound.serve(api.handler(), API_DRAIN, stop));
    tracing::info!(api = %address, version = BUILD.version, "Synapse started.");

    let (sender, receiver) = mpsc::channel(4);
    let mut heard = Signals::fed_by(receiver);
    let mut missed = None;
    let hear = async {
        let mut asked = false;
        loop {
            let signal = tokio::select! {
                signal = signals.next() => signal,
                waited_for = settled(&readiness, &roster, once), if !asked => {
                    missed = waited_for;
                    Signal::Stop
                }
            };
            asked |= signal == Signal::Stop;
            // The supervisor listens as long as this is polled.
            sender.send(signal).await.ok();
        }
    };
    let mut stopping = None;
    let on_stop = || stopping = Some(readiness.latch("the daemon stops"));
    let run = supervisor.run(&mut heard, || *grace.borrow(), on_stop, || reloads.signal());
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

/// Returns when every router was applied with what its sources say, or after `once`, with what is missing; never without
/// it.
async fn settled(readiness: &Readiness, roster: &Roster, once: Option<Duration>) -> Option<Vec<String>> {
    let Some(limit) = once else { return pending().await };
    let missing = || {
        let mut missing = readiness.waiting_for();
        for router in &roster.now().routers {
            missing.extend(
                router
                    .is_incomplete()
                    .then(|| format!("the sources of {}", router.kind.name())),
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
