//! Assignment of instances to slots. Pure.
//!
//! Invariants: an instance that stays keeps its slot; a slot in use is never given another address; an instance never has a
//! slot with other options unless it had the slot before its options changed (until the reload that makes the right slot);
//! a slot has the name of its instance or a neutral one. Where HAProxy adds servers at runtime ([`DynamicContext`]), an
//! instance that finds no slot gets a new one.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use crate::haproxy::plan::dynamic::DynamicServers;
use crate::haproxy::plan::model::{
    Assignment, Backend, DesiredBackend, DesiredServer, NOWHERE, Slot, UNKNOWN_OPTIONS, address_name, instance_name,
    spare_name,
};
use crate::haproxy::runtime::parse::{IdleServers, LiveBackend, LiveServer, Servers};
use crate::name::ServerName;

/// Free slots of each option set after a reload.
pub(crate) const MIN_SPARE: usize = 8;
/// Spare slots don't grow a backend beyond this: before HAProxy 3.2 the cost of a reload grows faster than the slots.
const MAX_SLOTS: usize = 4096;
/// Option sets of one backend that get spare slots, the most used first.
const MAX_SPARE_SETS: usize = 8;

/// Why an instance has no slot of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unassigned {
    /// All slots with its options are in use or still draining.
    Exhausted,
    /// No slot has its options.
    NoMatchingSlot,
}

/// A backend that gets new slots at runtime.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DynamicContext<'a> {
    pub(crate) dynamic: &'a DynamicServers,
    /// The servers that HAProxy has there, whose names and ids are taken.
    pub(crate) live: Option<&'a LiveBackend>,
}

/// Assigns each desired instance to a slot of `backend` with as few changes as possible; all other instances start to
/// drain. If the second value is some, an instance has no slot: then [`layout_for_reload`] and a reload are due.
pub(crate) fn assign(
    backend: &Backend,
    desired: &DesiredBackend,
    context: Option<DynamicContext<'_>>,
) -> (Backend, Option<Unassigned>) {
    let by_address: HashMap<SocketAddr, &DesiredServer> =
        desired.servers.iter().map(|server| (server.address, server)).collect();
    let mut slots = backend.slots.clone();
    let mut assigned: HashSet<SocketAddr> = HashSet::new();
    let mut misfits: HashMap<SocketAddr, usize> = HashMap::new();
    for (index, slot) in slots.iter_mut().enumerate() {
        let Assignment::Active { address, .. } = slot.assignment else {
            continue;
        };
        slot.assignment = match by_address.get(&address) {
            Some(server) if server.options == slot.options && assigned.insert(address) => active(server),
            Some(server) if server.options != slot.options && !misfits.contains_key(&address) => {
                misfits.insert(address, index);
                active(server)
            }
            Some(_) | None => Assignment::Draining { address },
        };
    }

    let mut free = FreeSlots::of(&slots);
    let mut new = NewServers::default();
    let mut unassigned = None;
    for server in &desired.servers {
        if assigned.contains(&server.address) {
            continue;
        }
        if let Some(slot) = free.take(server, &slots).and_then(|index| slots.get_mut(index)) {
            slot.assignment = active(server);
        } else if let Some(slot) = context.and_then(|context| new.slot(server, &slots, context)) {
            slots.push(slot);
        } else {
            let known = slots.iter().any(|slot| slot.options == server.options);
            unassigned.get_or_insert(if known {
                Unassigned::Exhausted
            } else {
                Unassigned::NoMatchingSlot
            });
            continue;
        }
        assigned.insert(server.address);
    }
    for (address, index) in misfits {
        if let Some(slot) = slots.get_mut(index).filter(|_| assigned.contains(&address)) {
            slot.assignment = Assignment::Draining { address };
        }
    }
    (Backend { slots }, unassigned)
}

/// Frees draining slots whose servers are idle, or marks them for deletion if they are dynamic.
pub(crate) fn release(backend: &mut Backend, idle: &IdleServers) {
    for slot in &mut backend.slots {
        let (idle, then) = if slot.dynamic {
            (&idle.deletable, Assignment::Gone)
        } else {
            (&idle.reusable, Assignment::Free)
        };
        if matches!(slot.assignment, Assignment::Draining { .. }) && idle.contains(&slot.name) {
            slot.assignment = then;
        }
    }
}

/// Marks the slots that are deleted once their instances have left.
pub(crate) fn make_dynamic(backend: &mut Backend, dynamic: &DynamicServers) {
    for slot in &mut backend.slots {
        slot.dynamic = slot.assignment != Assignment::Free && dynamic.options(&slot.options).is_some();
    }
}

/// Syncs a backend of dynamic servers with the servers that HAProxy has: forgets deleted ones, and drains those that synapse
/// did not add, also in the place of one of its own. Servers of which `leave` is true are left alone.
pub(crate) fn sync_with_live(backend: &mut Backend, live: Option<&LiveBackend>, leave: impl Fn(&str) -> bool) {
    let none = Servers::default();
    let live = live.map_or(&none, |live| &live.servers);
    let ids: HashSet<u32> = live.values().map(|server| server.id).collect();
    // A server whose id is taken can't be added again.
    let is_possible = |slot: &Slot| !slot.dynamic || slot.is_listed() && !ids.contains(&slot.id);
    backend
        .slots
        .retain(|slot| live.contains_key(&slot.name) || is_possible(slot));
    for slot in &mut backend.slots {
        if let Some(other) = live.get(&slot.name)
            && slot.dynamic
            && other.id != 0
            && other.id != slot.id
        {
            *slot = foreign_slot(&slot.name, other);
        }
    }
    let known: HashSet<ServerName> = backend.slots.iter().map(|slot| slot.name.clone()).collect();
    let foreign = live.iter().filter(|(name, _)| !known.contains(name) && !leave(name));
    backend
        .slots
        .extend(foreign.map(|(name, server)| foreign_slot(name, server)));
}

/// The slot of a server that synapse did not add.
fn foreign_slot(name: &ServerName, server: &LiveServer) -> Slot {
    Slot {
        id: server.id,
        name: name.clone(),
        options: UNKNOWN_OPTIONS.into(),
        assignment: Assignment::Draining {
            address: server.address.unwrap_or(NOWHERE),
        },
        dynamic: true,
    }
}

/// Returns the slots for a reload: first every desired instance under its own name, in the catalog's order, with its former
/// id if it had one; then spare slots, except with options that HAProxy can add at runtime. Removed instances are forgotten.
pub(crate) fn layout_for_reload(
    backend: Option<&Backend>,
    desired: &DesiredBackend,
    dynamic: Option<&DynamicServers>,
) -> Backend {
    let is_dynamic = |options: &str| dynamic.is_some_and(|dynamic| dynamic.options(options).is_some());
    let mut ids: HashMap<SocketAddr, u32> = HashMap::new();
    for slot in backend.iter().flat_map(|backend| &backend.slots) {
        if let Assignment::Active { address, .. } = slot.assignment {
            ids.entry(address).or_insert(slot.id);
        }
    }
    let known = |server: &DesiredServer| ids.get(&server.address).copied();
    let taken: HashSet<u32> = desired.servers.iter().filter_map(known).collect();
    let mut unused = (1..).filter(|id| !taken.contains(id));
    let mut slots: Vec<Slot> = Vec::with_capacity(desired.servers.len() + MIN_SPARE);
    for server in &desired.servers {
        let name = instance_name(&server.instance, server.address).into();
        let id = known(server).or_else(|| unused.next());
        slots.extend(id.map(|id| instance_slot(server, id, name, is_dynamic(&server.options))));
    }
    for (options, count) in spare_slots(desired, is_dynamic) {
        slots.extend(unused.by_ref().take(count).map(|id| Slot {
            id,
            name: spare_name(id).into(),
            options: Arc::clone(&options),
            assignment: Assignment::Free,
            dynamic: false,
        }));
    }
    Backend { slots }
}

fn instance_slot(server: &DesiredServer, id: u32, name: ServerName, dynamic: bool) -> Slot {
    Slot {
        id,
        name,
        options: Arc::clone(&server.options),
        assignment: active(server),
        dynamic,
    }
}

fn active(server: &DesiredServer) -> Assignment {
    Assignment::Active {
        address: server.address,
        weight: server.weight,
    }
}

/// The number of spare slots for each option set that is not dynamic.
fn spare_slots(desired: &DesiredBackend, is_dynamic: impl Fn(&str) -> bool) -> Vec<(Arc<str>, usize)> {
    let Some(spare_options) = &desired.spare_options else {
        return Vec::new();
    };
    let mut used: BTreeMap<&Arc<str>, usize> = BTreeMap::new();
    if desired.servers.is_empty() {
        used.insert(spare_options, 0);
    }
    for server in &desired.servers {
        *used.entry(&server.options).or_default() += 1;
    }
    // A cookie names one instance: no other fits a slot with it.
    let is_shared = |options: &str| !options.split(' ').any(|word| word == "cookie");
    used.retain(|options, _| is_shared(options) && !is_dynamic(options));
    let mut used: Vec<_> = used.into_iter().collect();
    used.sort_by_key(|(_, count)| Reverse(*count));
    let mut total = desired.servers.len();
    used.into_iter()
        .take(MAX_SPARE_SETS)
        .map(|(options, used)| {
            let spare = (capacity(used) - used)
                .min(MAX_SLOTS.saturating_sub(total))
                .max(MIN_SPARE);
            total += spare;
            (Arc::clone(options), spare)
        })
        .collect()
}

/// The size of a pool: a quarter and [`MIN_SPARE`] of it free, and growing by doubling, so that a service that grows
/// steadily is reloaded ever less often.
fn capacity(used: usize) -> usize {
    (used + used.div_ceil(3).max(MIN_SPARE)).next_power_of_two()
}

/// The slots that can be assigned, found without a walk through all slots for each instance; the first slot last.
#[derive(Default)]
struct FreeSlots(HashMap<Key, Vec<usize>>);

/// The property by which an instance finds a slot.
#[derive(PartialEq, Eq, Hash)]
enum Key {
    Draining(SocketAddr),
    /// Free, with the name of an instance that ends with this [`address_name`].
    Named(String),
    /// Free, with a neutral name and these options.
    Spare(Arc<str>),
}

impl FreeSlots {
    fn of(slots: &[Slot]) -> Self {
        let mut found = Self::default();
        for (index, slot) in slots.iter().enumerate().rev() {
            let key = match slot.assignment {
                Assignment::Active { .. } | Assignment::Gone => continue,
                Assignment::Draining { address } => Key::Draining(address),
                Assignment::Free if *slot.name == *spare_name(slot.id) => Key::Spare(Arc::clone(&slot.options)),
                Assignment::Free => Key::Named(slot.name.rsplit('_').next().unwrap_or_default().to_owned()),
            };
            found.0.entry(key).or_default().push(index);
        }
        found
    }

    /// Takes the slot that the instance left, the one with its name, or a spare one.
    fn take(&mut self, server: &DesiredServer, slots: &[Slot]) -> Option<usize> {
        let fits = |index: &mut usize| slots.get(*index).is_some_and(|slot| slot.options == server.options);
        let keys = [
            Key::Draining(server.address),
            Key::Named(address_name(server.address)),
            Key::Spare(Arc::clone(&server.options)),
        ];
        keys.iter().find_map(|key| self.0.get_mut(key)?.pop_if(fits))
    }
}

/// Names and ids for new slots; the taken ones are collected for the first.
#[derive(Default)]
struct NewServers {
    taken: Option<(BTreeSet<u32>, HashSet<ServerName>)>,
}

impl NewServers {
    /// Returns a slot for an instance, under its own name unless a slot that drains has it; `None` if HAProxy can't add such
    /// a server.
    fn slot(&mut self, server: &DesiredServer, slots: &[Slot], context: DynamicContext<'_>) -> Option<Slot> {
        context.dynamic.options(&server.options)?;
        let (ids, names) = self.taken.get_or_insert_with(|| {
            let live = context.live.into_iter().flat_map(|live| live.servers.iter());
            let live = live.map(|(name, server)| (server.id, name.clone()));
            let slots = slots.iter().map(|slot| (slot.id, slot.name.clone()));
            slots.chain(live).unzip()
        });
        let mut free = (1..).filter(|id| !ids.contains(id));
        let own = ServerName::from(instance_name(&server.instance, server.address));
        let (id, name) = if names.contains(&own) {
            free.map(|id| (id, spare_name(id).into()))
                .find(|(_, name)| !names.contains(name))?
        } else {
            (free.next()?, own)
        };
        ids.insert(id);
        names.insert(name.clone());
        Some(instance_slot(server, id, name, true))
    }
}

#[cfg(test)]
mod tests;
