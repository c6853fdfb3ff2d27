//! Who sits where. Pure.
//!
//! Invariants: an instance that stays keeps its slot; a slot in use is never given another address; an instance never
//! sits in a slot of another class unless it sat there before its options changed (it goes on until the reload that
//! makes the right slot); a slot bears the name of its instance or none. Where HAProxy makes servers while it runs
//! ([`DynamicContext`]), whoever finds no slot gets a new one.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use crate::haproxy::plan::dynamic::DynamicServers;
use crate::haproxy::plan::model::{
    Assignment, Backend, DesiredBackend, DesiredServer, NOWHERE, Slot, UNKNOWN_OPTIONS, instance_name, spare_name,
};
use crate::haproxy::runtime::parse::{IdleServers, LiveBackend, Servers};
use crate::name::ServerName;

/// At least this many slots of a class are free after a reload.
pub(crate) const MIN_SPARE: usize = 8;
/// Spare slots don't grow a backend beyond this: before HAProxy 3.2 the cost of a reload is worse than linear in it.
const MAX_SLOTS: usize = 4096;
/// Classes of one backend that get spare slots, the most used first.
const MAX_SPARE_CLASSES: usize = 8;

/// Why an instance is not where it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unassigned {
    /// Every slot of its class is taken or still draining.
    Exhausted,
    /// There is no slot of its class at all.
    NoMatchingSlot,
}

/// Where new slots can be made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DynamicContext<'a> {
    pub(crate) dynamic: &'a DynamicServers,
    /// What HAProxy has there, whose names and ids are taken; `None` for nothing.
    pub(crate) live: Option<&'a LiveBackend>,
}

/// Gives each wanted instance a slot of `backend`, changing as few as possible; whoever is not wanted starts to drain.
/// Says why if somebody has no slot: then [`layout_for_reload`] and a reload are due.
pub(crate) fn assign(
    backend: &Backend,
    desired: &DesiredBackend,
    room: Option<DynamicContext<'_>>,
) -> (Backend, Option<Unassigned>) {
    let wanted: HashMap<SocketAddr, &DesiredServer> =
        desired.servers.iter().map(|server| (server.address, server)).collect();
    let mut slots = backend.slots.clone();
    let mut placed: HashSet<SocketAddr> = HashSet::new();
    let mut misfits: HashMap<SocketAddr, usize> = HashMap::new();
    for (index, slot) in slots.iter_mut().enumerate() {
        let Assignment::Active { address, .. } = slot.assignment else {
            continue;
        };
        slot.assignment = match wanted.get(&address) {
            Some(server) if server.options == slot.options && placed.insert(address) => active(server),
            Some(server) if server.options != slot.options && !misfits.contains_key(&address) => {
                misfits.insert(address, index);
                active(server)
            }
            Some(_) | None => Assignment::Draining { address },
        };
    }

    let mut vacancies = FreeSlots::of(&slots);
    let mut births = NewServers::default();
    let mut unassigned = None;
    for server in &desired.servers {
        if placed.contains(&server.address) {
            continue;
        }
        if let Some(slot) = vacancies.take(server, &slots).and_then(|index| slots.get_mut(index)) {
            slot.assignment = active(server);
            placed.insert(server.address);
        } else if let Some(slot) = room.and_then(|room| births.one(server, &slots, room)) {
            slots.push(slot);
            placed.insert(server.address);
        } else {
            let known = slots.iter().any(|slot| slot.options == server.options);
            unassigned.get_or_insert(if known {
                Unassigned::Exhausted
            } else {
                Unassigned::NoMatchingSlot
            });
        }
    }
    for (address, index) in misfits {
        if let Some(slot) = slots.get_mut(index).filter(|_| placed.contains(&address)) {
            slot.assignment = Assignment::Draining { address };
        }
    }
    (Backend { slots }, unassigned)
}

/// Draining slots at one of `idle` become free, or are given up.
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

/// Takes in what HAProxy has in a backend that grows, `None` for nothing: forgets the servers that were given up and are
/// gone, and lets those drain that somebody else has made, also in the place of one of ours. `leave` are the names of
/// servers that are not ours to touch.
pub(crate) fn sync_with_live(backend: &mut Backend, live: Option<&LiveBackend>, leave: impl Fn(&str) -> bool) {
    let live = live.map(|live| &live.servers);
    let of = |name: &str| live.and_then(|servers| servers.get(name));
    let has_left = |slot: &Slot| slot.dynamic && !slot.is_listed();
    backend.slots.retain(|slot| !has_left(slot) || of(&slot.name).is_some());
    for slot in &mut backend.slots {
        if let Some(other) = of(&slot.name).filter(|live| slot.dynamic && live.id != 0 && live.id != slot.id) {
            *slot = foreign_slot(slot.name.clone(), other.id, other.address);
        }
    }
    let known: HashSet<ServerName> = backend.slots.iter().map(|slot| slot.name.clone()).collect();
    let strangers: Vec<_> = live
        .into_iter()
        .flat_map(Servers::iter)
        .filter(|(name, _)| !known.contains(name) && !leave(name))
        .map(|(name, server)| foreign_slot(name.clone(), server.id, server.address))
        .collect();
    // Ownership id somebody else has got can't be made again with it.
    let ids: HashSet<u32> = live
        .into_iter()
        .flat_map(Servers::values)
        .map(|server| server.id)
        .collect();
    let can_be = |slot: &Slot| !slot.dynamic || of(&slot.name).is_some() || !ids.contains(&slot.id);
    backend.slots.retain(can_be);
    backend.slots.extend(strangers);
}

/// The slot of a server that somebody else has made.
fn foreign_slot(name: ServerName, id: u32, address: Option<SocketAddr>) -> Slot {
    Slot {
        id,
        name,
        options: UNKNOWN_OPTIONS.into(),
        assignment: Assignment::Draining {
            address: address.unwrap_or(NOWHERE),
        },
        dynamic: true,
    }
}

/// The slots for a reload: every wanted instance under its own name, its id kept if it had one, in the catalog's order;
/// then spare ones, but of no class that HAProxy makes servers of while it runs. Who was removed is forgotten.
pub(crate) fn layout_for_reload(
    backend: Option<&Backend>,
    desired: &DesiredBackend,
    dynamic: Option<&DynamicServers>,
) -> Backend {
    let grows = |options: &str| dynamic.is_some_and(|dynamic| dynamic.options(options).is_some());
    let mut taken: BTreeSet<u32> = BTreeSet::new();
    let mut ids: HashMap<SocketAddr, u32> = HashMap::new();
    for slot in backend.iter().flat_map(|backend| &backend.slots) {
        if let Assignment::Active { address, .. } = slot.assignment {
            ids.entry(address).or_insert(slot.id);
        }
    }
    taken.extend(desired.servers.iter().filter_map(|server| ids.get(&server.address)));
    let mut unused = (1..).filter(|id| !taken.contains(id));
    let mut slots: Vec<Slot> = Vec::with_capacity(desired.servers.len().saturating_add(MIN_SPARE));
    for server in &desired.servers {
        let Some(id) = ids.get(&server.address).copied().or_else(|| unused.next()) else {
            break;
        };
        slots.push(Slot {
            id,
            name: instance_name(&server.instance, server.address).into(),
            options: Arc::clone(&server.options),
            assignment: active(server),
            dynamic: grows(&server.options),
        });
    }
    for (options, count) in spare_slots(desired, grows) {
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

fn active(server: &DesiredServer) -> Assignment {
    Assignment::Active {
        address: server.address,
        weight: server.weight,
    }
}

/// How many spare slots of which options; none where it `grows`.
fn spare_slots(desired: &DesiredBackend, grows: impl Fn(&str) -> bool) -> Vec<(Arc<str>, usize)> {
    let Some(spare_options) = &desired.spare_options else {
        return Vec::new();
    };
    let mut used: BTreeMap<&Arc<str>, usize> = BTreeMap::new();
    // A cookie names one instance: nobody else fits a slot with it.
    let shared = |options: &str| !options.split(' ').any(|word| word == "cookie");
    for server in desired.servers.iter().filter(|server| shared(&server.options)) {
        let count = used.entry(&server.options).or_default();
        *count = count.saturating_add(1);
    }
    if desired.servers.is_empty() {
        used.insert(spare_options, 0);
    }
    let mut classes: Vec<_> = used.into_iter().filter(|(options, _)| !grows(options)).collect();
    classes.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let mut total = desired.servers.len();
    classes
        .into_iter()
        .take(MAX_SPARE_CLASSES)
        .map(|(options, used)| {
            let spare = capacity(used).saturating_sub(used);
            let spare = spare.min(MAX_SLOTS.saturating_sub(total)).max(MIN_SPARE);
            total = total.saturating_add(spare);
            (Arc::clone(options), spare)
        })
        .collect()
}

/// The size of a pool: a quarter and [`MIN_SPARE`] of it free, and growing by doubling, so that a service that grows
/// steadily is reloaded ever less often.
fn capacity(used: usize) -> usize {
    used.saturating_add(used.div_ceil(3).max(MIN_SPARE)).next_power_of_two()
}

/// The slots that can be given away, found without a walk through all slots for each instance.
struct FreeSlots {
    draining: HashMap<SocketAddr, usize>,
    /// Free, by name.
    named: HashMap<Arc<str>, usize>,
    /// Free and without a name, by options; the first slot last.
    spare: HashMap<Arc<str>, Vec<usize>>,
}

impl FreeSlots {
    fn of(slots: &[Slot]) -> Self {
        let mut found = Self {
            draining: HashMap::new(),
            named: HashMap::new(),
            spare: HashMap::new(),
        };
        for (index, slot) in slots.iter().enumerate().rev() {
            match slot.assignment {
                Assignment::Active { .. } | Assignment::Gone => {}
                Assignment::Draining { address } => {
                    found.draining.insert(address, index);
                }
                Assignment::Free if *slot.name == *spare_name(slot.id) => {
                    found.spare.entry(Arc::clone(&slot.options)).or_default().push(index);
                }
                Assignment::Free => {
                    // The address at the end of the name says whose it is.
                    let address = slot.name.rsplit_once('_').map_or("", |(_, address)| address);
                    found.named.insert(address.into(), index);
                }
            }
        }
        found
    }

    /// The slot it left, the one with its name, or a spare one.
    fn take(&mut self, server: &DesiredServer, slots: &[Slot]) -> Option<usize> {
        let fits = |index: &usize| slots.get(*index).is_some_and(|slot| slot.options == server.options);
        if let Some(index) = self.draining.get(&server.address).copied().filter(fits) {
            self.draining.remove(&server.address);
            return Some(index);
        }
        let own = instance_name("", server.address);
        let own = own.trim_start_matches('_');
        if let Some(index) = self.named.get(own).copied().filter(fits) {
            self.named.remove(own);
            return Some(index);
        }
        self.spare.get_mut(&server.options)?.pop()
    }
}

/// Names and ids for new slots; the taken ones are gathered when the first is made.
#[derive(Default)]
struct NewServers {
    taken: Option<(BTreeSet<u32>, HashSet<ServerName>)>,
}

impl NewServers {
    /// A slot for an instance, under its own name unless one that is leaving has it; `None` if HAProxy makes none like it.
    fn one(&mut self, server: &DesiredServer, slots: &[Slot], room: DynamicContext<'_>) -> Option<Slot> {
        room.dynamic.options(&server.options)?;
        let (ids, names) = self.taken.get_or_insert_with(|| {
            let live = room.live.into_iter().flat_map(|live| live.servers.iter());
            let live = live.map(|(name, server)| (server.id, name.clone()));
            slots
                .iter()
                .map(|slot| (slot.id, slot.name.clone()))
                .chain(live)
                .unzip()
        });
        let own: ServerName = instance_name(&server.instance, server.address).into();
        let mut free = (1..).filter(|id| !ids.contains(id));
        let (id, name) = if names.contains(&own) {
            free.map(|id| (id, spare_name(id).into()))
                .find(|(_, name)| !names.contains(name))?
        } else {
            (free.next()?, own)
        };
        ids.insert(id);
        names.insert(name.clone());
        Some(Slot {
            id,
            name,
            options: Arc::clone(&server.options),
            assignment: active(server),
            dynamic: true,
        })
    }
}

#[cfg(test)]
mod tests;
