//! Servers that HAProxy adds and deletes at runtime. Pure.

use std::collections::BTreeMap;

use super::State;
use crate::config::ServersMode;
use crate::haproxy::cfg::render::ConfigTemplate;
use crate::haproxy::plan::dynamic::{DynamicServers, Provisioning};
use crate::haproxy::plan::model::{Assignment, NOWHERE};
use crate::haproxy::plan::slots;
use crate::haproxy::runtime::client::Worker;
use crate::haproxy::runtime::command::Target;

/// Whether HAProxy can add servers at runtime, and may.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Capabilities {
    pub(crate) mode: ServersMode,
    /// Of the program on this machine; the running worker takes precedence.
    pub(crate) program_supports_dynamic_servers: bool,
}

impl Capabilities {
    /// How HAProxy gets new servers. If dynamic servers are required and the worker has none, the actor logs it.
    pub(crate) fn provisioning(self, worker: Option<&Worker>) -> Provisioning {
        let program = self.program_supports_dynamic_servers;
        match self.mode {
            ServersMode::Auto | ServersMode::Dynamic
                if worker.map_or(program, |worker| worker.supports_dynamic_servers) =>
            {
                Provisioning::Dynamic
            }
            ServersMode::Slots | ServersMode::Auto | ServersMode::Dynamic => Provisioning::Slots,
        }
    }
}

/// The backends that get new servers at runtime according to the configuration.
pub(crate) fn dynamic_backends(
    template: &ConfigTemplate,
    provisioning: Provisioning,
) -> BTreeMap<&str, &DynamicServers> {
    match provisioning {
        Provisioning::Slots => BTreeMap::new(),
        Provisioning::Dynamic => template.dynamic_backends(),
    }
}

impl State {
    /// How HAProxy gets new servers.
    pub(crate) fn provisioning(&self) -> Provisioning {
        self.capabilities.provisioning(self.proxy.worker())
    }

    /// The backends that get new servers at runtime, without those in which HAProxy refused one.
    pub(crate) fn dynamic_backends(&self, provisioning: Provisioning) -> BTreeMap<&str, &DynamicServers> {
        let mut found = dynamic_backends(&self.template, provisioning);
        found.retain(|id, _| self.services.get(*id).is_none_or(|service| !service.dynamic_disabled));
        found
    }

    /// Syncs the layout with the servers HAProxy last reported. Services without a desired state are left untouched.
    pub(crate) fn sync_with_live(&mut self) {
        let provisioning = self.provisioning();
        let Some(loaded) = self.proxy.loaded_mut() else { return };
        let mut synced = false;
        for (id, dynamic) in dynamic_backends(&self.template, provisioning) {
            let Some(service) = self.services.get_mut(id).filter(|service| !service.dynamic_disabled) else {
                continue;
            };
            let (Some(_), Some(backend)) = (&service.desired, loaded.layout.get_mut(id)) else {
                continue;
            };
            let before = backend.clone();
            let leave = |name: &str| dynamic.is_operator_server(name) || service.undeletable.contains(name);
            slots::sync_with_live(backend, loaded.table.get(id), leave);
            if *backend != before {
                synced = true;
                service.changed = true;
            }
        }
        if synced {
            loaded.write();
        }
    }

    /// HAProxy refused to add this server: its backend has slots from now on.
    pub(crate) fn add_refused(&mut self, target: &Target) {
        let (Some(loaded), Some(service)) = (self.proxy.loaded_mut(), self.services.get_mut(&*target.backend)) else {
            return;
        };
        let live = loaded.table.get(&target.backend);
        let is_live = |name: &str| live.is_some_and(|live| live.servers.contains_key(name));
        // Another client was first: that is no refusal of its kind.
        if is_live(&target.server) {
            return;
        }
        service.dynamic_disabled = true;
        service.changed = true;
        if let Some(backend) = loaded.layout.get_mut(&target.backend) {
            backend.slots.retain(|slot| !slot.dynamic || is_live(&slot.name));
        }
        loaded.write();
    }

    /// HAProxy did not delete this server because it is busy: it drains on.
    pub(crate) fn delete_delayed(&mut self, target: &Target) {
        let Some(loaded) = self.proxy.loaded_mut() else { return };
        let live = loaded.table.get(&target.backend);
        let live = live.and_then(|live| live.servers.get(&target.server));
        let address = live.and_then(|live| live.address).unwrap_or(NOWHERE);
        let backend = loaded.layout.get_mut(&target.backend);
        for slot in backend.into_iter().flat_map(|backend| &mut backend.slots) {
            if slot.name == target.server && slot.assignment == Assignment::Gone {
                slot.assignment = Assignment::Draining { address };
            }
        }
    }

    /// HAProxy refused to delete this server: it is ignored as long as this worker lives.
    pub(crate) fn delete_refused(&mut self, target: &Target) {
        if let Some(backend) = self
            .proxy
            .loaded_mut()
            .and_then(|loaded| loaded.layout.get_mut(&target.backend))
            && let Some(service) = self.services.get_mut(&*target.backend)
        {
            service.undeletable.insert(target.server.clone());
            backend.slots.retain(|slot| slot.name != target.server || !slot.dynamic);
        }
    }
}
