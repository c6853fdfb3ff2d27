//! The status that follows from the state. Pure.

use std::collections::HashMap;
use std::sync::Arc;

use crate::haproxy::actor::state::State;
use crate::haproxy::cfg::panic_threshold;
use crate::haproxy::plan::Plan;
use crate::haproxy::plan::model::{Assignment, Backend, DesiredServer};
use crate::haproxy::runtime::parse::Statistics;
use crate::haproxy::status::{
    HaproxyStatus, PanicThresholdStatus, ReloadCount, ReloadResult, ServerPhase, ServerStatus, ServiceStatus,
};

/// Counts one more reload.
pub(crate) fn count(counts: &mut Vec<ReloadCount>, reason: &'static str, result: ReloadResult) {
    let mut known = counts.iter_mut();
    if let Some(known) = known.find(|known| known.reason == reason && known.result == result) {
        known.count += 1;
    } else {
        counts.push(ReloadCount {
            reason,
            result,
            count: 1,
        });
    }
}

/// Sets the fields that follow from `state` and its plan.
pub(crate) fn fill(status: &mut HaproxyStatus, state: &State, plan: &Plan, statistics: &Statistics) {
    let worker = state.proxy.worker();
    status.pid = worker.map(|worker| worker.info.pid);
    status.uptime_secs = worker.map(|worker| worker.info.uptime_secs);
    if let Some(worker) = worker {
        status.version.clone_from(&worker.info.version);
    }
    status.servers = state.provisioning();
    status.acts = plan.lines();
    let mut before = std::mem::take(&mut status.services).into_iter();
    let services = state.services().map(|id| {
        let now = service(id, state, statistics);
        match before.next() {
            Some(before) if *before == now => before,
            _ => Arc::new(now),
        }
    });
    status.services = services.collect();
}

fn service(id: &str, state: &State, statistics: &Statistics) -> ServiceStatus {
    let desired = state.desired(id);
    let by_address: HashMap<_, &DesiredServer> = desired
        .iter()
        .flat_map(|desired| &desired.servers)
        .map(|server| (server.address, server))
        .collect();
    let backend = state.proxy.loaded().and_then(|loaded| loaded.layout.get(id));
    let counters = statistics.get(id);
    let mut servers = Vec::new();
    for slot in backend.iter().flat_map(|backend| &backend.slots) {
        let (address, weight, phase) = match slot.assignment {
            Assignment::Free | Assignment::Gone => continue,
            Assignment::Active { address, weight } => (address, weight, ServerPhase::Active),
            Assignment::Draining { address } => (address, 0, ServerPhase::Draining),
        };
        let known = by_address.get(&address);
        servers.push(ServerStatus {
            slot: slot.id,
            name: slot.name.clone(),
            instance: known.map(|server| Arc::clone(&server.instance)).unwrap_or_default(),
            node: known.map(|server| Arc::clone(&server.node)).unwrap_or_default(),
            address,
            weight,
            state: phase,
            options: Arc::clone(&slot.options),
            ignored_options: known.map(|server| server.ignored.clone()).unwrap_or_default(),
            statistics: counters.and_then(|counters| counters.get(&slot.name)).cloned(),
        });
    }
    servers.shrink_to_fit();
    let active = servers.iter().filter(|server| server.state == ServerPhase::Active);
    let active = active.count();
    ServiceStatus {
        id: id.to_owned(),
        quarantined: state.quarantine.get(id).map(|known| known.reason.clone()),
        free_slots: backend.map_or(0, Backend::free),
        waiting: desired
            .map_or(0, |desired| desired.servers.len())
            .saturating_sub(active),
        panic_threshold: panic_status(id, state),
        skipped: desired.map(|desired| desired.skipped.clone()).unwrap_or_default(),
        servers,
    }
}

fn panic_status(id: &str, state: &State) -> Option<PanicThresholdStatus> {
    let (shadow, rule) = state.shadow(id)?;
    let live = |backend: &str| state.proxy.loaded().and_then(|loaded| loaded.table.get(backend));
    Some(panic_threshold::status(rule, live(id), live(shadow)))
}
