//! Servers that HAProxy makes and deletes while it runs. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{State, World};
use crate::config::ServersMode;
use crate::haproxy::cfg::render::{Frame, Kind, seat};
use crate::haproxy::plan::dynamic::Growth;
use crate::haproxy::plan::model::{NOWHERE, Occupant, Slot};
use crate::haproxy::plan::slots;
use crate::haproxy::runtime::command::Target;

/// Whether HAProxy gets new servers while it runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Abilities {
    pub(crate) mode: ServersMode,
    /// What the program on this machine can; the worker that runs knows better.
    pub(crate) program_makes_servers: bool,
}

impl Abilities {
    pub(crate) fn kind(self, worker_makes_servers: Option<bool>) -> Kind {
        let makes_servers = worker_makes_servers.unwrap_or(self.program_makes_servers);
        match self.mode {
            ServersMode::Auto | ServersMode::Dynamic if makes_servers => Kind::Dynamic,
            // That one that can't was asked for it, is said where it is seen.
            ServersMode::Slots | ServersMode::Auto | ServersMode::Dynamic => Kind::Slots,
        }
    }
}

/// The backends that get new servers while HAProxy runs, without those in which it refused one.
pub(crate) fn growths<'f>(frame: &'f Frame, kind: Kind, slotted: &BTreeSet<String>) -> BTreeMap<&'f str, &'f Growth> {
    let mut growths = match kind {
        Kind::Slots => BTreeMap::new(),
        Kind::Dynamic => frame.growths(),
    };
    growths.retain(|service, _| !slotted.contains(*service));
    growths
}

impl State {
    /// How HAProxy gets new servers.
    pub(crate) fn kind(&self) -> Kind {
        self.abilities.kind(match &self.world {
            World::Loaded(loaded) => Some(loaded.live.makes_servers),
            World::Foreign(live) => Some(live.makes_servers),
            World::Unknown | World::Absent => None,
        })
    }

    /// The backends that get new servers while HAProxy runs.
    pub(crate) fn growths(&self) -> BTreeMap<&str, &Growth> {
        self.growths_of(self.kind())
    }

    pub(crate) fn growths_of(&self, kind: Kind) -> BTreeMap<&str, &Growth> {
        growths(&self.frame, kind, &self.slotted)
    }

    /// Takes in which servers there are, as of the last look. Where it is not known who should serve, whoever does goes on.
    pub(crate) fn meet(&mut self) {
        let kind = self.kind();
        let World::Loaded(loaded) = &mut self.world else { return };
        let mut met = false;
        for (service, growth) in growths(&self.frame, kind, &self.slotted) {
            let Some(backend) = loaded
                .layout
                .get_mut(service)
                .filter(|_| self.wants.contains_key(service))
            else {
                continue;
            };
            let before = backend.clone();
            let leave =
                |name: &str| growth.is_the_operators(name) || self.lasting.contains(&(service.to_owned(), name.into()));
            slots::meet(backend, loaded.table.get(service), leave);
            if *backend != before {
                met = true;
                self.changed.insert(service.to_owned());
            }
        }
        if met {
            loaded.text = Arc::new(seat(&loaded.text, &loaded.layout));
        }
    }

    /// HAProxy did not make this server: its backend has slots from now on.
    pub(crate) fn not_made(&mut self, target: &Target) {
        let World::Loaded(loaded) = &mut self.world else { return };
        let service = &*target.backend;
        let live = loaded.table.get(service);
        let is_there = |slot: &Slot| live.is_some_and(|live| live.servers.contains_key(&slot.name));
        // Somebody else was first: that is another thing.
        if live.is_some_and(|live| live.servers.contains_key(&target.server)) {
            return;
        }
        self.slotted.insert(service.to_owned());
        self.changed.insert(service.to_owned());
        if let Some(backend) = loaded.layout.get_mut(service) {
            backend.slots.retain(|slot| !slot.dynamic || is_there(slot));
        }
        loaded.text = Arc::new(seat(&loaded.text, &loaded.layout));
    }

    /// HAProxy did not delete this server: for now, for it is still `busy`, or as long as this worker lives.
    pub(crate) fn not_deleted(&mut self, target: &Target, busy: bool) {
        let World::Loaded(loaded) = &mut self.world else { return };
        let live = loaded
            .table
            .get(&target.backend)
            .and_then(|live| live.servers.get(&target.server));
        let address = live.and_then(|live| live.address).unwrap_or(NOWHERE);
        let Some(backend) = loaded.layout.get_mut(&*target.backend) else {
            return;
        };
        if !busy {
            self.lasting
                .insert((target.backend.to_string(), Arc::clone(&target.server)));
            backend.slots.retain(|slot| slot.name != target.server || !slot.dynamic);
        }
        for slot in backend.slots.iter_mut().filter(|slot| slot.name == target.server) {
            if slot.occupant == Occupant::Gone {
                slot.occupant = Occupant::Draining { address };
            }
        }
    }
}
