//! All that is known, and what follows from it. Pure.

pub(crate) mod dynamic;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use crate::config::PanicThreshold;
use crate::desired::{Desired, Server};
use crate::health::Health;
use crate::name::{BackendName, ServerName};

use crate::haproxy::cfg::file::{ConfigFile, FileText, apply_live_state};
use crate::haproxy::cfg::render::ConfigTemplate;
use crate::haproxy::plan::desired::desired_backend;
use crate::haproxy::plan::model::{DesiredBackend, Layout};
use crate::haproxy::plan::options::OperatorOptions;
use crate::haproxy::plan::reason::ReloadReason;
use crate::haproxy::plan::slots::{self, DynamicContext, Unassigned, assign};
use crate::haproxy::plan::{Plan, plan};
use crate::haproxy::process::validate::{Candidate, Left, Quarantine};
use crate::haproxy::runtime::client::Worker;
use crate::haproxy::runtime::parse::{IdleServers, Table};
use dynamic::Capabilities;

/// What is known of HAProxy.
#[derive(Debug)]
pub(crate) enum World {
    /// Not asked yet, or it did not answer in a way that could be loaded.
    Unknown,
    /// Nobody listens on the stats socket.
    Absent,
    /// It runs with a structure that the file on disk does not explain.
    Foreign(Worker),
    /// It runs with slots we know.
    Loaded(Box<Loaded>),
}

/// A HAProxy whose slots we know.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// Who should sit where.
    pub(crate) layout: Layout,
    /// The file HAProxy has loaded, with them in it.
    pub(crate) text: Arc<String>,
    /// The same without them.
    file: FileText,
    /// The fingerprint our configuration gives these slots.
    structure: String,
    /// The worker, as of the last look.
    pub(crate) live: Worker,
    /// Its servers, as of the last look.
    pub(crate) table: Table,
    /// What it listens on.
    pub(crate) binds: BTreeSet<SocketAddr>,
}

impl Loaded {
    /// Writes the servers of the layout into the text.
    fn write(&mut self) {
        self.text = Arc::new(self.file.with_servers(&self.layout));
    }
}

/// A service with slots that are draining, and where HAProxy counts what is bound to them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Draining<'s> {
    pub(crate) service: &'s str,
    /// The number of its backend.
    pub(crate) backend: u32,
    /// Number of the shadow backend: requests that a panic rule has sent there keep a slot in use too.
    pub(crate) shadow: Option<u32>,
}

/// What the actor decides on.
#[derive(Debug)]
pub(crate) struct State {
    frame: Arc<ConfigTemplate>,
    capabilities: Capabilities,
    operators: BTreeMap<String, OperatorOptions>,
    /// `defaultServers`, for a service that nothing else is known of.
    defaults: BTreeMap<String, Vec<Server>>,
    servers: BTreeMap<String, Arc<[Server]>>,
    /// By service; one whose watcher has never answered is not here.
    pub(crate) desired: BTreeMap<String, Arc<DesiredBackend>>,
    /// Services whose desired servers changed since the last [`Self::assign`].
    changed: BTreeSet<String>,
    pub(crate) world: World,
    pub(crate) quarantine: Quarantine,
    /// What is left out may be right by now.
    pub(crate) retry_quarantine: bool,
    unassigned: BTreeMap<String, Unassigned>,
    /// Services whose registrations have asked for so many reloads that others go first.
    pub(crate) spent: BTreeSet<String>,
    /// Backends whose weights HAProxy does not change.
    pub(crate) fixed_weights: BTreeSet<BackendName>,
    /// Backends in which HAProxy refused to make a server: they have slots.
    dynamic_disabled: BTreeSet<String>,
    /// Servers that HAProxy refused to delete, by service and name.
    undeletable: BTreeSet<(String, ServerName)>,
    /// What the runtime API could not bring about.
    pub(crate) drift: Option<String>,
    /// Somebody asked for a reload.
    pub(crate) asked: bool,
    patience: Patience,
}

/// Whether a first file waits for services whose watchers have not answered.
#[derive(Debug, PartialEq, Eq)]
enum Patience {
    Waiting,
    Over,
}

impl State {
    /// Nothing is known.
    pub(crate) fn new(
        frame: Arc<ConfigTemplate>,
        capabilities: Capabilities,
        operators: BTreeMap<String, OperatorOptions>,
        defaults: BTreeMap<String, Vec<Server>>,
    ) -> Self {
        Self {
            frame,
            capabilities,
            operators,
            defaults,
            servers: BTreeMap::new(),
            desired: BTreeMap::new(),
            changed: BTreeSet::new(),
            world: World::Unknown,
            quarantine: Quarantine::new(),
            retry_quarantine: false,
            unassigned: BTreeMap::new(),
            spent: BTreeSet::new(),
            fixed_weights: BTreeSet::new(),
            dynamic_disabled: BTreeSet::new(),
            undeletable: BTreeSet::new(),
            drift: None,
            asked: false,
            patience: Patience::Waiting,
        }
    }

    /// Takes the desired servers. A service that is not known (any more) stays as it is: unknown is not empty. What is
    /// only remembered from before the start counts where no HAProxy runs that knows better. `true` if anything changed.
    pub(crate) fn want(&mut self, desired: &Desired) -> bool {
        for service in &desired.services {
            let (Some(servers), Some(operator)) = (&service.servers, self.operators.get_mut(&service.id)) else {
                continue;
            };
            if self.servers.get(&service.id) == Some(servers) {
                continue;
            }
            let known_better = match &self.world {
                World::Unknown => true,
                World::Loaded(loaded) => loaded.layout.contains_key(service.id.as_str()),
                World::Absent | World::Foreign(_) => false,
            };
            if service.remembered && known_better {
                continue;
            }
            let now = Arc::new(desired_backend(servers, operator));
            let before = self.desired.get(&service.id).map(|desired| desired.option_sets());
            // What HAProxy refused with these options it may take with others.
            self.retry_quarantine |=
                self.quarantine.contains_key(&service.id) && before.is_some_and(|before| before != now.option_sets());
            self.servers.insert(service.id.clone(), Arc::clone(servers));
            self.desired.insert(service.id.clone(), now);
            self.changed.insert(service.id.clone());
        }
        !self.changed.is_empty()
    }

    /// Enough was waited: a service whose watcher has not answered keeps the slots it has in HAProxy or in the file
    /// (`disk`), and one that has none there starts with its default servers rather than keep every other from its start.
    pub(crate) fn stop_waiting(&mut self, disk: &ConfigFile) {
        self.patience = Patience::Over;
        let loaded = match &self.world {
            World::Loaded(loaded) => Some(&loaded.layout),
            World::Unknown | World::Absent | World::Foreign(_) => None,
        };
        for (service, operator) in &mut self.operators {
            let has_slots = disk.layout.contains_key(service.as_str())
                || loaded.is_some_and(|slots| slots.contains_key(service.as_str()));
            if !has_slots && !self.desired.contains_key(service) {
                let servers = self.defaults.get(service).map(Vec::as_slice).unwrap_or_default();
                self.desired
                    .insert(service.clone(), Arc::new(desired_backend(servers, operator)));
                self.changed.insert(service.clone());
            }
        }
    }

    /// Takes in what HAProxy says. `disk` is read only when needed.
    pub(crate) fn saw(&mut self, live: Worker, table: Table, disk: impl FnOnce() -> ConfigFile) {
        if let World::Loaded(loaded) = &mut self.world
            && loaded.live.structure == live.structure
            && loaded.live.supports_dynamic_servers == live.supports_dynamic_servers
        {
            // Perhaps another process, but of the same file.
            loaded.live = live;
            loaded.table = table;
            self.sync_with_live();
            return;
        }
        let disk = disk();
        if disk.structure.is_some() && disk.structure == live.structure {
            self.adopt(disk, live, table);
        } else {
            self.world = World::Foreign(live);
        }
    }

    /// HAProxy runs the file that `disk` was read from.
    pub(crate) fn adopt(&mut self, mut disk: ConfigFile, live: Worker, table: Table) {
        apply_live_state(&mut disk.layout, &table);
        self.frame.sync_shadows(&mut disk.layout);
        self.loaded(disk, live, table);
    }

    /// HAProxy runs the file that `disk` was read from, and the same instances should be in it.
    pub(crate) fn loaded(&mut self, disk: ConfigFile, live: Worker, table: Table) {
        let kind = self.capabilities.kind(Some(live.supports_dynamic_servers));
        let mut layout = disk.layout;
        self.undeletable.clear();
        for (service, dynamic) in self.dynamic_backends_of(kind) {
            if let Some(backend) = layout.get_mut(service) {
                slots::make_dynamic(backend, dynamic);
            }
        }
        self.world = World::Loaded(Box::new(Loaded {
            text: Arc::new(disk.text.with_servers(&layout)),
            file: disk.text,
            structure: self.frame.render(&layout, kind).structure,
            layout,
            binds: disk.binds.into_iter().collect(),
            live,
            table,
        }));
        self.unassigned.clear();
        self.changed = self.desired.keys().cloned().collect();
        self.sync_with_live();
    }

    /// Gives the instances of changed services their slots.
    pub(crate) fn assign(&mut self) {
        let changed = std::mem::take(&mut self.changed);
        let kind = self.kind();
        let World::Loaded(loaded) = &mut self.world else {
            self.changed = changed;
            return;
        };
        let dynamic_backends = dynamic::dynamic_backends(&self.frame, kind, &self.dynamic_disabled);
        let mut moved = false;
        for service in changed {
            let (Some(desired), Some(backend)) = (self.desired.get(&service), loaded.layout.get_mut(service.as_str()))
            else {
                continue;
            };
            let room = dynamic_backends.get(service.as_str()).map(|dynamic| DynamicContext {
                dynamic,
                live: loaded.table.get(service.as_str()),
            });
            let (now, unassigned) = if self
                .quarantine
                .get(&service)
                .is_some_and(|known| known.left == Left::Options)
            {
                assign(backend, &desired.plain(), room)
            } else {
                assign(backend, desired, room)
            };
            moved |= now != *backend;
            *backend = now;
            match unassigned {
                Some(why) => self.unassigned.insert(service, why),
                None => self.unassigned.remove(&service),
            };
        }
        if moved {
            self.frame.sync_shadows(&mut loaded.layout);
            loaded.write();
        }
    }

    /// The services with slots that are draining.
    pub(crate) fn draining(&self) -> impl Iterator<Item = Draining<'_>> {
        let loaded = match &self.world {
            World::Loaded(loaded) => Some(loaded),
            World::Unknown | World::Absent | World::Foreign(_) => None,
        };
        loaded.into_iter().flat_map(move |loaded| {
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

    /// Whether an instance waits for a slot of a service that has some draining.
    pub(crate) fn lacks_a_slot(&self) -> bool {
        self.draining()
            .any(|draining| self.unassigned.get(draining.service) == Some(&Unassigned::Exhausted))
    }

    /// Draining slots of `service` that were `idle` become free; who waits for a slot may then have one. Not those that
    /// HAProxy was not seen to have taken out of use yet: a request may still have found its way there.
    pub(crate) fn release(&mut self, service: &str, mut idle: IdleServers) {
        if let World::Loaded(loaded) = &mut self.world
            && let Some(backend) = loaded.layout.get_mut(service)
            && let Some(live) = loaded.table.get(service)
        {
            idle.retain(|name| live.servers.get(name).is_some_and(|server| server.maint));
            slots::release(backend, &idle);
            self.changed.insert(service.to_owned());
        }
    }

    /// What to do next; nothing when HAProxy's slots are not known.
    pub(crate) fn plan(&self) -> Plan {
        let World::Loaded(loaded) = &self.world else {
            return Plan::Nothing;
        };
        let structural = self.structural(loaded).filter(|_| self.can_render());
        let dynamic_backends = self.dynamic_backends();
        plan(
            &loaded.layout,
            &loaded.table,
            &dynamic_backends,
            structural.as_ref(),
            &self.fixed_weights,
        )
    }

    /// Why what is loaded will not do.
    fn structural(&self, loaded: &Loaded) -> Option<ReloadReason> {
        if self.asked {
            return Some(ReloadReason::Operator);
        }
        if let Some(what) = &self.drift {
            return Some(ReloadReason::Drift { what: what.clone() });
        }
        // Before what may be put off: an instance waits for this one.
        if let Some(reason) = self.waiting(false) {
            return Some(reason);
        }
        let kind = self.kind();
        let running = loaded
            .live
            .structure
            .as_deref()
            .and_then(|running| kind.stable_part(running));
        if running != kind.stable_part(&loaded.structure) {
            let what = "the configuration is not the one HAProxy has loaded".to_owned();
            return Some(ReloadReason::Structure { what });
        }
        let missing = self.frame.binds().map(|(service, _)| service).find(|service| {
            !loaded.layout.contains_key(*service)
                && self.desired.contains_key(*service)
                && !self.quarantine.contains_key(*service)
        });
        if let Some(service) = missing {
            let what = format!("{service} is new");
            return Some(ReloadReason::Structure { what });
        }
        if self.retry_quarantine && !self.quarantine.is_empty() {
            return Some(ReloadReason::Quarantine);
        }
        self.waiting(true)
    }

    /// That an instance waits for a reload: of a service that may have one now, or of one that has had too many.
    fn waiting(&self, spent: bool) -> Option<ReloadReason> {
        let (service, why) = self
            .unassigned
            .iter()
            .find(|(service, _)| self.spent.contains(*service) == spent)?;
        let service = service.clone();
        Some(match why {
            Unassigned::Exhausted => ReloadReason::SlotsExhausted { service },
            Unassigned::NoMatchingSlot => ReloadReason::OptionClass { service },
        })
    }

    /// What HAProxy says of the servers it has, as of the last look.
    pub(crate) fn health(&self) -> Health {
        let mut health = Health::default();
        if let World::Loaded(loaded) = &self.world {
            for service in self.services() {
                let servers = loaded.table.get(service).map(|backend| backend.servers.values());
                for server in servers.into_iter().flatten() {
                    if let Some((address, check)) = server.address.zip(server.check) {
                        health.insert(service, address, check);
                    }
                }
            }
        }
        health
    }

    /// What the panic rule of a service takes: its shadow backend and the rule.
    pub(crate) fn shadow(&self, service: &str) -> Option<(&str, PanicThreshold)> {
        self.frame.shadow(service)
    }

    /// The services, in the file's order.
    pub(crate) fn services(&self) -> impl Iterator<Item = &str> {
        self.frame.binds().map(|(service, _)| service)
    }

    /// Whether a file can be made without taking servers from a service that is only unknown.
    pub(crate) fn can_render(&self) -> bool {
        if self.patience == Patience::Over {
            return true;
        }
        let loaded = match &self.world {
            World::Loaded(loaded) => Some(&loaded.layout),
            World::Unknown | World::Absent | World::Foreign(_) => None,
        };
        self.frame.binds().all(|(service, _)| {
            self.desired.contains_key(service) || loaded.is_some_and(|layout| layout.contains_key(service))
        })
    }

    /// What a reload for `reason` should load; `disk` when HAProxy's slots are not known. `ours`: no HAProxy of ours can
    /// listen anywhere when none answers, for nobody else starts it.
    pub(crate) fn candidate(&self, reason: &ReloadReason, disk: &ConfigFile, ours: bool) -> Candidate {
        let (layout, binds) = match &self.world {
            World::Loaded(loaded) => (loaded.layout.clone(), Some(loaded.binds.clone())),
            World::Absent => (disk.layout.clone(), ours.then(BTreeSet::new)),
            World::Foreign(_) | World::Unknown => (disk.layout.clone(), None),
        };
        let anew = self.retry_quarantine
            || matches!(
                reason,
                ReloadReason::Quarantine | ReloadReason::FirstStart | ReloadReason::Operator
            );
        let dynamic_backends = self.dynamic_backends().into_iter();
        Candidate {
            frame: Arc::clone(&self.frame),
            kind: self.kind(),
            dynamic_backends: dynamic_backends
                .map(|(service, dynamic)| (service.to_owned(), dynamic.clone()))
                .collect(),
            layout,
            desired: self.desired.clone(),
            quarantine: if anew {
                Quarantine::new()
            } else {
                self.quarantine.clone()
            },
            binds,
        }
    }
}
