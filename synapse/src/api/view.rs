//! What the API shows. Pure.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use common::zk::reflector::Freshness;
use common::zk::session::{SessionObserver, SessionState};
use serde::Serialize;
use tokio::time::Instant;

use super::holds::HeldView;
use crate::desired::Server;
use crate::haproxy::{HaproxyStatus, LastReload, PanicThresholdStatus, ServerPhase, ServerStatus, ServiceStatus};
use crate::name::ServerName;
use crate::pipeline::catalog::{Note, ServiceOutcome};
use crate::pipeline::guard::Guarded;
use crate::router::RouterStatus;
use crate::running::Running;
use crate::running::{RouterHandle, RunningRouter, RunningService};
use crate::watcher::Description;

/// `GET /status`.
#[derive(Debug, Serialize)]
pub(super) struct StatusView {
    pub(super) version: &'static str,
    pub(super) ready: bool,
    /// What is missing to be ready.
    pub(super) waiting_for: Vec<String>,
    pub(super) ensembles: Vec<EnsembleView>,
    pub(super) routers: Vec<RouterView>,
}

#[derive(Debug, Serialize)]
pub(super) struct EnsembleView {
    name: String,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<String>,
    /// How long the connection has been away.
    #[serde(skip_serializing_if = "Option::is_none")]
    suspended_seconds: Option<u64>,
    /// Attempts that failed in a row.
    #[serde(skip_serializing_if = "Option::is_none")]
    failures: Option<u32>,
    #[serde(skip_serializing_if = "String::is_empty")]
    error: String,
}

#[derive(Debug, Serialize)]
pub(super) struct RouterView {
    #[serde(rename = "type")]
    kind: &'static str,
    status: Arc<RouterStatus>,
    services: Vec<ServiceView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    haproxy: Option<Arc<HaproxyStatus>>,
}

/// `GET /v1/services/:id`.
#[derive(Debug, Serialize)]
pub(super) struct ServiceView {
    id: String,
    name: String,
    source: Description,
    freshness: FreshnessView,
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<ZoneView>,
    /// How many instances are used.
    used: usize,
    /// Why HAProxy does not have it, or not with its instances' options: HAProxy's own message.
    #[serde(skip_serializing_if = "Option::is_none")]
    quarantined: Option<String>,
    /// What its panic rule makes HAProxy do.
    #[serde(skip_serializing_if = "Option::is_none")]
    panic_threshold: Option<PanicThresholdStatus>,
    instances: Vec<InstanceView>,
}

#[derive(Debug, Serialize)]
struct FreshnessView {
    /// `never`, `live` or `stale`; `snapshot` when all that is known was so before the start.
    state: &'static str,
    /// How old the content is, 0 while it is watched.
    age_seconds: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    error: String,
}

/// What the zone rule goes by.
#[derive(Debug, Serialize)]
struct ZoneView {
    /// This host's.
    local: String,
    /// How much of what local clients need the local servers can carry.
    #[serde(skip_serializing_if = "Option::is_none")]
    covered_percent: Option<u32>,
}

#[derive(Debug, Serialize)]
struct InstanceView {
    node: Arc<str>,
    #[serde(flatten)]
    registered: Option<RegisteredView>,
    /// The weight it is used with, where the zone rule gives it one.
    #[serde(skip_serializing_if = "Option::is_none")]
    used_weight: Option<u16>,
    /// `used` and how, or why it is not.
    verdict: String,
    /// Why it is there although the registry does not list it any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    held: Option<HeldView>,
    /// Where it is in HAProxy; absent while it is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    haproxy: Option<PlaceView>,
}

/// The place of an instance in HAProxy.
#[derive(Debug, Serialize)]
struct PlaceView {
    /// The server's name there.
    server: ServerName,
    /// Its id there.
    slot: u32,
    /// Its phase.
    state: ServerPhase,
    /// In HAProxy's terms: `UP`, `DOWN`, `no check`…; absent before the first read.
    #[serde(skip_serializing_if = "Option::is_none")]
    check: Option<Arc<str>>,
    /// Those of the server line.
    options: Arc<str>,
    /// Requested options that were refused.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ignored_options: Vec<String>,
}

/// What is known of an instance that could be read.
#[derive(Debug, Serialize)]
struct RegisteredView {
    name: String,
    address: String,
    weight: Option<u16>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    created: i64,
}

/// How old a source's content is in seconds: 0 while it is watched, and counted from the daemon's start when it was
/// never read.
pub(crate) fn age_seconds(freshness: Freshness, started: Instant, now: Instant) -> u64 {
    let since = match freshness {
        Freshness::Live => now,
        Freshness::Stale { since } => since,
        Freshness::Never => started,
    };
    now.saturating_duration_since(since).as_secs()
}

impl EnsembleView {
    pub(super) fn of(ensemble: &SessionObserver, now: Instant) -> Self {
        let mut view = Self {
            name: ensemble.name().to_owned(),
            state: "connecting",
            session: None,
            suspended_seconds: None,
            failures: None,
            error: String::new(),
        };
        match ensemble.state() {
            SessionState::Connecting { failures, error } => {
                view.failures = Some(failures);
                view.error = error;
            }
            SessionState::Connected(session) => {
                view.state = "connected";
                view.session = Some(format!("{:#x}", session.id()));
            }
            SessionState::Suspended(session, since) => {
                view.state = "suspended";
                view.session = Some(format!("{:#x}", session.id()));
                view.suspended_seconds = Some(now.saturating_duration_since(since).as_secs());
            }
            SessionState::Closed => view.state = "closed",
        }
        view
    }
}

impl RouterView {
    pub(super) fn of(router: &RunningRouter, started: Instant, now: Instant) -> Self {
        Self {
            kind: router.handle.kind(),
            status: router.handle.status(),
            services: services(router, started, now),
            haproxy: haproxy(router),
        }
    }
}

/// The state of one HAProxy in `GET /v1/events`.
#[derive(Debug, Serialize)]
pub(super) struct HaproxyEvent<'s> {
    router: usize,
    in_sync: bool,
    pid: Option<u32>,
    last_reload: Option<&'s LastReload>,
    last_error: &'s str,
    acts: &'s [String],
}

impl<'s> HaproxyEvent<'s> {
    /// Of the router with this number, from 1 in the file's order.
    pub(super) fn of(router: usize, status: &'s HaproxyStatus) -> Self {
        Self {
            router,
            in_sync: status.in_sync,
            pid: status.pid,
            last_reload: status.last_reload.as_ref(),
            last_error: &status.last_error,
            acts: &status.acts,
        }
    }
}

/// The services of all routers.
pub(super) fn all(running: &Running, started: Instant, now: Instant) -> Vec<ServiceView> {
    let routers = running.routers.iter();
    routers.flat_map(|router| services(router, started, now)).collect()
}

fn haproxy(router: &RunningRouter) -> Option<Arc<HaproxyStatus>> {
    match &router.handle {
        RouterHandle::Plain(..) => None,
        RouterHandle::Haproxy(haproxy) => Some(haproxy.status()),
    }
}

/// The services of one router.
pub(super) fn services(router: &RunningRouter, started: Instant, now: Instant) -> Vec<ServiceView> {
    let outcome = Arc::clone(&router.pipeline.outcome.borrow());
    let guarded = Arc::clone(&router.pipeline.guarded.borrow());
    let haproxy = haproxy(router);
    let placed: HashMap<&str, &ServiceStatus> = haproxy
        .iter()
        .flat_map(|haproxy| &haproxy.services)
        .map(|service| (service.id.as_str(), &**service))
        .collect();
    let services = router.services.iter().zip(&outcome.services).zip(guarded.iter());
    services
        .map(|((service, outcome), guarded)| {
            let stages = Stages {
                outcome,
                guarded,
                placed: placed.get(service.id.as_str()).copied(),
            };
            ServiceView::of(service, stages, started, now)
        })
        .collect()
}

/// What is known of one service, from its source to HAProxy.
#[derive(Debug, Clone, Copy)]
struct Stages<'s> {
    outcome: &'s ServiceOutcome,
    guarded: &'s Guarded,
    /// Its part of HAProxy, if the router has one and has reported it.
    placed: Option<&'s ServiceStatus>,
}

impl ServiceView {
    fn of(service: &RunningService, stages: Stages<'_>, started: Instant, now: Instant) -> Self {
        let Stages {
            outcome,
            guarded,
            placed,
        } = stages;
        let state = &outcome.state;
        Self {
            id: service.id.clone(),
            name: service.name.clone(),
            source: service.source.clone(),
            freshness: FreshnessView {
                state: match state.freshness {
                    _ if guarded.remembered => "snapshot",
                    Freshness::Never => "never",
                    Freshness::Live => "live",
                    Freshness::Stale { .. } => "stale",
                },
                age_seconds: age_seconds(state.freshness, started, now),
                error: state.error.clone(),
            },
            zone: outcome.zone.as_ref().map(|zone| ZoneView {
                local: zone.local.clone(),
                covered_percent: zone.covered,
            }),
            used: outcome.used(),
            quarantined: placed.and_then(|placed| placed.quarantined.clone()),
            panic_threshold: placed.and_then(|placed| placed.panic_threshold.clone()),
            instances: instances(stages, now),
        }
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }
}

fn instances(stages: Stages<'_>, now: Instant) -> Vec<InstanceView> {
    let Stages { outcome, guarded, .. } = stages;
    let state = &outcome.state;
    let servers = stages.placed.iter().flat_map(|placed| &placed.servers);
    let places: HashMap<&str, &ServerStatus> = servers.map(|server| (&*server.node, server)).collect();
    let read = state.candidates.iter().map(|candidate| &candidate.server);
    let known = read.chain(&outcome.added).map(|server| {
        let notes = outcome.notes.get(&server.node).map(Vec::as_slice).unwrap_or_default();
        InstanceView {
            node: Arc::clone(&server.node),
            registered: Some(RegisteredView::of(server)),
            used_weight: notes.iter().find_map(|note| match note {
                Note::Weight { used, .. } => Some(*used),
                _ => None,
            }),
            verdict: match outcome.left_out.get(&server.node) {
                Some(verdict) => verdict.to_string(),
                None => used(notes),
            },
            held: guarded.held_as(&server.node).map(|held| HeldView::of(held, now)),
            haproxy: places.get(&*server.node).map(|place| PlaceView::of(place)),
        }
    });
    let skipped = state.skipped.iter().map(|skipped| InstanceView {
        node: Arc::clone(&skipped.node),
        registered: None,
        used_weight: None,
        verdict: format!("skipped: {}", skipped.reason),
        held: None,
        haproxy: None,
    });
    known.chain(skipped).collect()
}

impl PlaceView {
    fn of(server: &ServerStatus) -> Self {
        Self {
            server: server.name.clone(),
            slot: server.slot,
            state: server.state,
            check: server.statistics.as_ref().map(|counted| counted.status.clone()),
            options: server.options.clone(),
            ignored_options: server.ignored_options.clone(),
        }
    }
}

/// `used`, with its notes.
fn used(notes: &[Note]) -> String {
    if notes.is_empty() {
        return "used".to_owned();
    }
    let notes: Vec<String> = notes.iter().map(ToString::to_string).collect();
    format!("used: {}", notes.join("; "))
}

impl RegisteredView {
    fn of(server: &Server) -> Self {
        Self {
            name: server.name.clone(),
            address: server.address.to_string(),
            weight: server.weight,
            labels: server.labels.clone(),
            created: server.created,
        }
    }
}
