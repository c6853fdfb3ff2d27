//! Servers that HAProxy makes and deletes while it runs. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::{State, World};
use crate::config::ServersMode;
use crate::haproxy::cfg::render::{ConfigTemplate, Provisioning};
use crate::haproxy::plan::dynamic::DynamicServers;
use crate::haproxy::plan::model::{Assignment, NOWHERE, Slot};
use crate::haproxy::plan::slots;
use crate::haproxy::runtime::command::Target;

/// Whether HAProxy gets new servers while it runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Capabilities {
    pub(crate) mode: ServersMode,
    /// What the program on this machine can; the worker that runs knows better.
    pub(crate) program_supports_dynamic_servers: bool,
}

impl Capabilities {
    pub(crate) fn kind(self, worker_makes_servers: Option<bool>) -> Provisioning {
        let supports_dynamic_servers = worker_makes_servers.unwrap_or(self.program_supports_dynamic_servers);
        match self.mode {
            ServersMode::Auto | ServersMode::Dynamic if supports_dynamic_servers => Provisioning::Dynamic,
            // That one that can't was asked for it, is said where it is seen.
            ServersMode::Slots | ServersMode::Auto | ServersMode::Dynamic => Provisioning::Slots,
        }
    }
}

/// The backends that get new servers while HAProxy runs, without those in which it refused one.
pub(crate) fn dynamic_backends<'f>(
    frame: &'f ConfigTemplate,
    kind: Provisioning,
    dynamic_disabled: &BTreeSet<String>,
) -> BTreeMap<&'f str, &'f DynamicServers> {
    let mut dynamic_backends = match kind {
        Provisioning::Slots => BTreeMap::new(),
        Provisioning::Dynamic => frame.dynamic_backends(),
    };
    dynamic_backends.retain(|service, _| !dynamic_disabled.contains(*service));
    dynamic_backends
}

impl State {
    /// How HAProxy gets new servers.
    pub(crate) fn kind(&self) -> Provisioning {
        self.capabilities.kind(match &self.world {
            World::Loaded(loaded) => Some(loaded.live.supports_dynamic_servers),
            World::Foreign(live) => Some(live.supports_dynamic_servers),
            World::Unknown | World::Absent => None,
        })
    }

    /// The backends that get new servers while HAProxy runs.
    pub(crate) fn dynamic_backends(&self) -> BTreeMap<&str, &DynamicServers> {
        self.dynamic_backends_of(self.kind())
    }

    pub(crate) fn dynamic_backends_of(&self, kind: Provisioning) -> BTreeMap<&str, &DynamicServers> {
        dynamic_backends(&self.frame, kind, &self.dynamic_disabled)
    }

    /// Takes in which servers there are, as of the last look. Where it is not known who should serve, whoever does goes on.
    pub(crate) fn sync_with_live(&mut self) {
        let kind = self.kind();
        let World::Loaded(loaded) = &mut self.world else { return };
        let mut met = false;
        for (service, dynamic) in dynamic_backends(&self.frame, kind, &self.dynamic_disabled) {
            let Some(backend) = loaded
                .layout
                .get_mut(service)
                .filter(|_| self.desired.contains_key(service))
            else {
                continue;
            };
            let before = backend.clone();
            let leave = |name: &str| {
                dynamic.is_operator_server(name) || self.undeletable.contains(&(service.to_owned(), name.into()))
            };
            slots::sync_with_live(backend, loaded.table.get(service), leave);
            if *backend != before {
                met = true;
                self.changed.insert(service.to_owned());
            }
        }
        if met {
            loaded.write();
        }
    }

    /// HAProxy did not make this server: its backend has slots from now on.
    pub(crate) fn add_refused(&mut self, target: &Target) {
        let World::Loaded(loaded) = &mut self.world else { return };
        let service = &*target.backend;
        let live = loaded.table.get(service);
        let is_there = |slot: &Slot| live.is_some_and(|live| live.servers.contains_key(&slot.name));
        // Somebody else was first: that is another thing.
        if live.is_some_and(|live| live.servers.contains_key(&target.server)) {
            return;
        }
        self.dynamic_disabled.insert(service.to_owned());
        self.changed.insert(service.to_owned());
        if let Some(backend) = loaded.layout.get_mut(service) {
            backend.slots.retain(|slot| !slot.dynamic || is_there(slot));
        }
        loaded.write();
    }

    /// HAProxy did not delete this server: for now, for it is still `busy`, or as long as this worker lives.
    pub(crate) fn delete_refused(&mut self, target: &Target, busy: bool) {
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
            self.undeletable
                .insert((target.backend.to_string(), target.server.clone()));
            backend.slots.retain(|slot| slot.name != target.server || !slot.dynamic);
        }
        for slot in backend.slots.iter_mut().filter(|slot| slot.name == target.server) {
            if slot.assignment == Assignment::Gone {
                slot.assignment = Assignment::Draining { address };
            }
        }
    }
}
