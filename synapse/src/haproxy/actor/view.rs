//! From what is known to what is shown. Pure.

use std::collections::HashMap;
use std::sync::Arc;

use crate::haproxy::actor::state::{State, World};
use crate::haproxy::cfg::panic_threshold;
use crate::haproxy::plan::model::{Assignment, DesiredServer};
use crate::haproxy::runtime::parse::Statistics;
use crate::haproxy::status::{HaproxyStatus, PanicThresholdStatus, ReloadCount, ServerStatus, ServiceStatus};

/// Counts one more.
pub(crate) fn count(counts: &mut Vec<ReloadCount>, reason: &'static str, result: &'static str) {
    if let Some(known) = counts
        .iter_mut()
        .find(|known| known.reason == reason && known.result == result)
    {
        known.count = known.count.saturating_add(1);
    } else {
        counts.push(ReloadCount {
            reason,
            result,
            count: 1,
        });
    }
}

/// Fills in what follows from `state`.
pub(crate) fn fill(status: &mut HaproxyStatus, state: &State, statistics: &Statistics) {
    let live = match &state.world {
        World::Loaded(loaded) => Some(&loaded.live),
        World::Foreign(live) => Some(live),
        World::Unknown | World::Absent => None,
    };
    status.pid = live.map(|live| live.info.pid);
    status.uptime_secs = live.map(|live| live.info.uptime_secs);
    if let Some(live) = live {
        status.version.clone_from(&live.info.version);
    }
    status.servers = state.kind().as_str();
    status.acts = state.plan().lines();
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
    let desired = state.desired.get(id);
    let wanted: HashMap<_, &DesiredServer> = desired
        .iter()
        .flat_map(|desired| &desired.servers)
        .map(|server| (server.address, server))
        .collect();
    let backend = match &state.world {
        World::Loaded(loaded) => loaded.layout.get(id),
        World::Unknown | World::Absent | World::Foreign(_) => None,
    };
    let counted = statistics.get(id);
    let mut servers = Vec::new();
    for slot in backend.iter().flat_map(|backend| &backend.slots) {
        let (address, weight, word) = match slot.assignment {
            Assignment::Free | Assignment::Gone => continue,
            Assignment::Active { address, weight } => (address, weight, "active"),
            Assignment::Draining { address } => (address, 0, "draining"),
        };
        let known = wanted.get(&address);
        servers.push(ServerStatus {
            slot: slot.id,
            name: slot.name.clone(),
            instance: known.map(|server| Arc::clone(&server.instance)).unwrap_or_default(),
            node: known.map(|server| Arc::clone(&server.node)).unwrap_or_default(),
            address,
            weight,
            state: word,
            options: Arc::clone(&slot.options),
            ignored_options: known.map(|server| server.ignored.clone()).unwrap_or_default(),
            statistics: counted.and_then(|counted| counted.get(&slot.name)).cloned(),
        });
    }
    servers.shrink_to_fit();
    let active = servers.iter().filter(|server| server.state == "active").count();
    ServiceStatus {
        id: id.to_owned(),
        quarantined: state.quarantine.get(id).map(|known| known.words.clone()),
        free_slots: backend.map_or(0, crate::haproxy::plan::model::Backend::free),
        waiting: desired
            .map_or(0, |desired| desired.servers.len())
            .saturating_sub(active),
        panic_threshold: panicking(id, state),
        skipped: desired.map(|desired| desired.skipped.clone()).unwrap_or_default(),
        servers,
    }
}

fn panicking(id: &str, state: &State) -> Option<PanicThresholdStatus> {
    let (shadow, rule) = state.shadow(id)?;
    let live = |backend: &str| match &state.world {
        World::Loaded(loaded) => loaded.table.get(backend),
        World::Unknown | World::Absent | World::Foreign(_) => None,
    };
    Some(panic_threshold::status(rule, live(id), live(shadow)))
}
