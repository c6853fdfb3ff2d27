//! The state that the actor decides on, and what follows from it. Pure.

pub(crate) mod dynamic;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use crate::config::PanicThreshold;
use crate::desired::{Desired, Server};
use crate::haproxy::cfg::file::{ConfigFile, FileText, apply_live_state};
use crate::haproxy::cfg::render::ConfigTemplate;
use crate::haproxy::plan::desired::desired_backend;
use crate::haproxy::plan::model::{DesiredBackend, Layout};
use crate::haproxy::plan::options::OperatorOptions;
use crate::haproxy::plan::reason::ReloadReason;
use crate::haproxy::plan::slots::{self, DynamicContext, Unassigned, assign};
use crate::haproxy::plan::{Plan, plan};
use crate::haproxy::process::validate::{Candidate, Quarantine, QuarantineScope};
use crate::haproxy::runtime::client::Worker;
use crate::haproxy::runtime::parse::{IdleServers, Table};
use crate::health::Health;
use crate::name::{BackendName, ServerName};
use dynamic::Capabilities;

/// The observed state of HAProxy.
#[derive(Debug, Default)]
pub(crate) enum ProxyState {
    /// Not queried yet, or it did not answer in a known way.
    #[default]
    Unknown,
    /// No process listens on the stats socket.
    Down,
    /// It runs with a structure that is not that of the file on disk.
    Foreign(Worker),
    /// It runs with known slots.
    Loaded(Box<Loaded>),
}

/// A HAProxy with known slots.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The desired assignments.
    pub(crate) layout: Layout,
    /// The file that HAProxy has loaded, with these assignments.
    pub(crate) text: Arc<String>,
    /// The same without servers.
    file: FileText,
    /// The fingerprint that the configuration gives these slots.
    structure: String,
    /// The worker as of the last observation.
    pub(crate) worker: Worker,
    /// Its servers as of the last observation.
    pub(crate) table: Table,
    /// The addresses it listens on.
    pub(crate) binds: BTreeSet<SocketAddr>,
}

/// A service with draining slots, and the numbers of the backends that may have requests for them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Draining<'s> {
    pub(crate) service: &'s str,
    pub(crate) backend: u32,
    /// Requests that a panic threshold has sent there keep a slot in use too.
    pub(crate) shadow: Option<u32>,
}

/// The state of one service.
#[derive(Debug, Default)]
pub(crate) struct ServiceState {
    pub(crate) operator: OperatorOptions,
    /// `defaultServers`, for a service of which nothing else is known.
    pub(crate) defaults: Vec<Server>,
    /// The input of `desired`.
    pub(crate) servers: Option<Arc<[Server]>>,
    /// `None` until its watcher has answered.
    pub(crate) desired: Option<Arc<DesiredBackend>>,
    /// Whether a new assignment is due.
    pub(crate) changed: bool,
    pub(crate) unassigned: Option<Unassigned>,
    /// Whether its registrations have caused so many reloads that other services go first.
    pub(crate) rate_limited: bool,
    /// Whether HAProxy refused to add a server, so that the service has slots.
    pub(crate) dynamic_disabled: bool,
    /// Servers that HAProxy refused to delete.
    pub(crate) undeletable: BTreeSet<ServerName>,
}

/// The state that the actor decides on.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) template: Arc<ConfigTemplate>,
    pub(crate) capabilities: Capabilities,
    pub(crate) services: BTreeMap<String, ServiceState>,
    pub(crate) proxy: ProxyState,
    pub(crate) quarantine: Quarantine,
    /// Whether the parts left out may be right by now.
    pub(crate) retry_quarantine: bool,
    /// Backends whose weights HAProxy does not change.
    pub(crate) fixed_weights: BTreeSet<BackendName>,
    /// The change that the runtime API could not make.
    pub(crate) drift: Option<String>,
    /// Whether an operator has requested a reload.
    pub(crate) requested: bool,
    /// Whether a first file no longer waits for services whose watchers have not answered.
    pub(crate) wait_is_over: bool,
}

impl ProxyState {
    pub(crate) fn loaded(&self) -> Option<&Loaded> {
        match self {
            Self::Loaded(loaded) => Some(loaded),
            Self::Unknown | Self::Down | Self::Foreign(_) => None,
        }
    }

    fn loaded_mut(&mut self) -> Option<&mut Loaded> {
        match self {
            Self::Loaded(loaded) => Some(loaded),
            Self::Unknown | Self::Down | Self::Foreign(_) => None,
        }
    }

    /// The worker that answered last.
    pub(crate) fn worker(&self) -> Option<&Worker> {
        match self {
            Self::Loaded(loaded) => Some(&loaded.worker),
            Self::Foreign(worker) => Some(worker),
            Self::Unknown | Self::Down => None,
        }
    }

    fn has_slots(&self, service: &str) -> bool {
        self.loaded().is_some_and(|loaded| loaded.layout.contains_key(service))
    }
}

impl Loaded {
    /// Writes the servers of the layout into the text.
    fn write(&mut self) {
        self.text = Arc::new(self.file.with_servers(&self.layout));
    }
}

impl State {
    /// Takes the desired servers; returns whether an assignment is due. An unknown service stays as it is: unknown is not
    /// empty. Remembered servers count only if no HAProxy runs, which would have newer ones.
    pub(crate) fn set_desired(&mut self, desired: &Desired) -> bool {
        for service in &desired.services {
            let (Some(servers), Some(state)) = (&service.servers, self.services.get_mut(&service.id)) else {
                continue;
            };
            let is_newer = matches!(self.proxy, ProxyState::Unknown) || self.proxy.has_slots(&service.id);
            if state.servers.as_ref() == Some(servers) || service.remembered && is_newer {
                continue;
            }
            let new = desired_backend(servers, &mut state.operator);
            let before = state.desired.as_ref();
            // HAProxy may accept other options than those it refused.
            self.retry_quarantine |= self.quarantine.contains_key(&service.id)
                && before.is_some_and(|before| before.option_sets() != new.option_sets());
            state.servers = Some(Arc::clone(servers));
            state.desired = Some(Arc::new(new));
            state.changed = true;
        }
        self.services.values().any(|service| service.changed)
    }

    /// Ends the wait for unknown services. Such a service keeps the slots it has in HAProxy or in the file (`disk`); without
    /// slots there it starts with its default servers, so that all others can start.
    pub(crate) fn stop_waiting(&mut self, disk: &ConfigFile) {
        self.wait_is_over = true;
        for (id, service) in &mut self.services {
            let has_slots = disk.layout.contains_key(id.as_str()) || self.proxy.has_slots(id);
            if !has_slots && service.desired.is_none() {
                let desired = desired_backend(&service.defaults, &mut service.operator);
                service.desired = Some(Arc::new(desired));
                service.changed = true;
            }
        }
    }

    /// Takes what HAProxy reports. `disk` is read only if needed.
    pub(crate) fn observe(&mut self, worker: Worker, table: Table, disk: impl FnOnce() -> ConfigFile) {
        if let Some(loaded) = self.proxy.loaded_mut()
            && loaded.worker.structure == worker.structure
            && loaded.worker.supports_dynamic_servers == worker.supports_dynamic_servers
        {
            // Perhaps another process, but with the same file.
            loaded.worker = worker;
            loaded.table = table;
            self.sync_with_live();
            return;
        }
        let disk = disk();
        if disk.structure.is_some() && disk.structure == worker.structure {
            self.adopt(disk, worker, table);
        } else {
            self.proxy = ProxyState::Foreign(worker);
        }
    }

    /// Takes over a HAProxy that runs the file on disk.
    pub(crate) fn adopt(&mut self, mut disk: ConfigFile, worker: Worker, table: Table) {
        apply_live_state(&mut disk.layout, &table);
        self.template.sync_shadows(&mut disk.layout);
        self.set_loaded(disk, worker, table);
    }

    /// Takes a HAProxy that runs `disk` with the instances in it.
    pub(crate) fn set_loaded(&mut self, disk: ConfigFile, worker: Worker, table: Table) {
        let provisioning = self.capabilities.provisioning(Some(&worker));
        let mut layout = disk.layout;
        for (service, dynamic) in self.dynamic_backends(provisioning) {
            if let Some(backend) = layout.get_mut(service) {
                slots::make_dynamic(backend, dynamic);
            }
        }
        self.proxy = ProxyState::Loaded(Box::new(Loaded {
            text: Arc::new(disk.text.with_servers(&layout)),
            file: disk.text,
            structure: self.template.render(&layout, provisioning).structure,
            layout,
            binds: disk.binds.into_iter().collect(),
            worker,
            table,
        }));
        for service in self.services.values_mut() {
            service.undeletable.clear();
            service.unassigned = None;
            service.changed = service.desired.is_some();
        }
        self.sync_with_live();
    }

    /// Assigns the instances of changed services to slots.
    pub(crate) fn assign(&mut self) {
        let provisioning = self.provisioning();
        let Some(loaded) = self.proxy.loaded_mut() else { return };
        let dynamic_backends = dynamic::dynamic_backends(&self.template, provisioning);
        let mut moved = false;
        for (id, service) in self.services.iter_mut().filter(|(_, service)| service.changed) {
            service.changed = false;
            let (Some(desired), Some(backend)) = (&service.desired, loaded.layout.get_mut(id.as_str())) else {
                continue;
            };
            let dynamic = dynamic_backends.get(id.as_str()).filter(|_| !service.dynamic_disabled);
            let context = dynamic.map(|dynamic| DynamicContext {
                dynamic,
                live: loaded.table.get(id.as_str()),
            });
            let quarantined = self.quarantine.get(id);
            let plain = quarantined.filter(|known| known.scope == QuarantineScope::Options);
            let plain = plain.map(|_| desired.plain());
            let (now, unassigned) = assign(backend, plain.as_ref().unwrap_or(desired), context);
            moved |= now != *backend;
            *backend = now;
            service.unassigned = unassigned;
        }
        if moved {
            self.template.sync_shadows(&mut loaded.layout);
            loaded.write();
        }
    }

    /// The services with draining slots.
    pub(crate) fn draining(&self) -> impl Iterator<Item = Draining<'_>> {
        self.proxy.loaded().into_iter().flat_map(move |loaded| {
            let number = |name: &str| loaded.table.get(name).map(|live| live.id);
            self.services().filter_map(move |service| {
                loaded.layout.get(service).filter(|backend| backend.is_draining())?;
                Some(Draining {
                    service,
                    backend: number(service)?,
                    shadow: self.shadow(service).and_then(|(name, _)| number(name)),
                })
            })
        })
    }

    /// Whether an instance waits for a slot of a service that has draining ones.
    pub(crate) fn lacks_a_slot(&self) -> bool {
        let mut states = self
            .draining()
            .filter_map(|draining| self.services.get(draining.service));
        states.any(|service| service.unassigned == Some(Unassigned::Exhausted))
    }

    /// Frees the draining slots of `service` that were `idle`, for the instances that wait. A slot that HAProxy was not yet
    /// seen to have in maintenance stays: a request may still have found its way there.
    pub(crate) fn release(&mut self, service: &str, mut idle: IdleServers) {
        if let Some(loaded) = self.proxy.loaded_mut()
            && let Some(backend) = loaded.layout.get_mut(service)
            && let Some(live) = loaded.table.get(service)
            && let Some(state) = self.services.get_mut(service)
        {
            idle.retain(|name| live.servers.get(name).is_some_and(|server| server.maint));
            slots::release(backend, &idle);
            state.changed = true;
        }
    }

    /// Plans the next step; nothing if HAProxy's slots are unknown.
    pub(crate) fn plan(&self) -> Plan {
        let Some(loaded) = self.proxy.loaded() else {
            return Plan::Nothing;
        };
        let structural = self.structural(loaded).filter(|_| self.can_render());
        let dynamic_backends = self.dynamic_backends(self.provisioning());
        plan(
            &loaded.layout,
            &loaded.table,
            &dynamic_backends,
            structural.as_ref(),
            &self.fixed_weights,
        )
    }

    /// The reason why the loaded structure will not do.
    fn structural(&self, loaded: &Loaded) -> Option<ReloadReason> {
        if self.requested {
            return Some(ReloadReason::Operator);
        }
        if let Some(what) = &self.drift {
            return Some(ReloadReason::Drift { what: what.clone() });
        }
        // Before all that may be delayed: an instance waits for this one.
        if let Some(reason) = self.unassigned(|service| !service.rate_limited) {
            return Some(reason);
        }
        let provisioning = self.provisioning();
        let running = loaded.worker.structure.as_deref();
        if running.and_then(|running| provisioning.stable_part(running)) != provisioning.stable_part(&loaded.structure)
        {
            let what = "the configuration is not the one HAProxy has loaded".to_owned();
            return Some(ReloadReason::Structure { what });
        }
        let is_missing = |service: &&str| {
            !loaded.layout.contains_key(*service) && self.is_known(service) && !self.quarantine.contains_key(*service)
        };
        if let Some(service) = self.services().find(is_missing) {
            let what = format!("{service} is new");
            return Some(ReloadReason::Structure { what });
        }
        if self.retry_quarantine && !self.quarantine.is_empty() {
            return Some(ReloadReason::Quarantine);
        }
        self.unassigned(|service| service.rate_limited)
    }

    /// The reload that an instance of one of these services waits for.
    fn unassigned(&self, among: impl Fn(&ServiceState) -> bool) -> Option<ReloadReason> {
        let mut services = self.services.iter().filter(|(_, service)| among(service));
        services.find_map(|(id, service)| {
            let service_id = id.clone();
            service.unassigned.map(|reason| match reason {
                Unassigned::Exhausted => ReloadReason::SlotsExhausted { service: service_id },
                Unassigned::NoMatchingSlot => ReloadReason::OptionClass { service: service_id },
            })
        })
    }

    /// The checks' results that HAProxy reported last.
    pub(crate) fn health(&self) -> Health {
        let mut health = Health::default();
        for service in self.services() {
            let backend = self.proxy.loaded().and_then(|loaded| loaded.table.get(service));
            for server in backend.iter().flat_map(|backend| backend.servers.values()) {
                if let Some((address, check)) = server.address.zip(server.check) {
                    health.insert(service, address, check);
                }
            }
        }
        health
    }

    /// The shadow backend and the panic threshold of a service.
    pub(crate) fn shadow(&self, service: &str) -> Option<(&str, PanicThreshold)> {
        self.template.shadow(service)
    }

    /// The services in the file's order.
    pub(crate) fn services(&self) -> impl Iterator<Item = &str> {
        self.template.binds().map(|(service, _)| service)
    }

    /// The desired servers of a service.
    pub(crate) fn desired(&self, service: &str) -> Option<&Arc<DesiredBackend>> {
        self.services.get(service)?.desired.as_ref()
    }

    fn is_known(&self, service: &str) -> bool {
        self.desired(service).is_some()
    }

    /// Whether a file can be made without removing servers of a service that is only unknown.
    pub(crate) fn can_render(&self) -> bool {
        let is_known = |service: &str| self.is_known(service) || self.proxy.has_slots(service);
        self.wait_is_over || self.services().all(is_known)
    }

    /// The content that a reload for `reason` should load. If HAProxy's slots are unknown, those in `disk` count.
    /// `binds_while_down` are the addresses in use while no HAProxy answers, if known.
    pub(crate) fn candidate(
        &self,
        reason: &ReloadReason,
        disk: &ConfigFile,
        binds_while_down: Option<BTreeSet<SocketAddr>>,
    ) -> Candidate {
        let (layout, binds) = match &self.proxy {
            ProxyState::Loaded(loaded) => (&loaded.layout, Some(loaded.binds.clone())),
            ProxyState::Down => (&disk.layout, binds_while_down),
            ProxyState::Foreign(_) | ProxyState::Unknown => (&disk.layout, None),
        };
        let from_scratch = self.retry_quarantine
            || matches!(
                reason,
                ReloadReason::Quarantine | ReloadReason::FirstStart | ReloadReason::Operator
            );
        let provisioning = self.provisioning();
        let dynamic_backends = self.dynamic_backends(provisioning).into_iter();
        let services = self.services.iter();
        Candidate {
            template: Arc::clone(&self.template),
            provisioning,
            dynamic_backends: dynamic_backends
                .map(|(service, dynamic)| (service.to_owned(), dynamic.clone()))
                .collect(),
            layout: layout.clone(),
            desired: services
                .filter_map(|(id, service)| Some((id.clone(), Arc::clone(service.desired.as_ref()?))))
                .collect(),
            quarantine: if from_scratch {
                Quarantine::new()
            } else {
                self.quarantine.clone()
            },
            binds,
        }
    }
}
