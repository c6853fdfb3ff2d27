//! Slots: servers that HAProxy has whether or not an instance is assigned to them. Pure.
//!
//! HAProxy 2.6 can change the address, weight and state of a server at runtime, but not its name, id or options. So a
//! slot's name, id and options are *structure* (a reload), and its [`Assignment`] is not. From 3.0 on servers can be added
//! and deleted at runtime: such a slot is *dynamic*, added for one instance and deleted after it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use crate::name::{BackendName, ServerName};

/// The slots of every backend that HAProxy has loaded. A service whose backend is missing here has no section.
pub(crate) type Layout = BTreeMap<BackendName, Backend>;

/// The slots of one backend, in the file's order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Backend {
    pub(crate) slots: Vec<Slot>,
}

/// One server line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slot {
    /// Unique in the backend; kept as long as the instance stays, because HAProxy's hashes and stick tables use it.
    pub(crate) id: u32,
    /// [`spare_name`], or [`instance_name`] of the instance that had the slot when HAProxy loaded the file, or for which
    /// it was added.
    pub(crate) name: ServerName,
    /// The options at the end of the line. An instance fits only into a slot with exactly its own options.
    pub(crate) options: Arc<str>,
    pub(crate) assignment: Assignment,
    /// Deleted once its instance has left, and in the file only as long as it has one. Other slots wait for the next
    /// instance.
    pub(crate) dynamic: bool,
}

/// The instance of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Assignment {
    /// None; in maintenance.
    Free,
    /// An instance that gets traffic.
    Active { address: SocketAddr, weight: u16 },
    /// A removed instance: in maintenance, its last requests may go on. The slot is not given to another address before
    /// HAProxy was seen idle towards this one.
    Draining { address: SocketAddr },
    /// None any more; a dynamic server that was seen idle and is about to be deleted.
    Gone,
}

/// An instance as HAProxy should have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DesiredServer {
    /// The identity of an instance, unique in a [`DesiredBackend`].
    pub(crate) address: SocketAddr,
    /// 0 to 256.
    pub(crate) weight: u16,
    /// The options its slot must have.
    pub(crate) options: Arc<str>,
    /// The operator's part of them.
    pub(crate) operator_options: Arc<str>,
    /// The instance's part of them.
    pub(crate) instance_options: String,
    /// Options of the instance that were not taken.
    pub(crate) ignored: Vec<String>,
    /// The registered name, made safe.
    pub(crate) instance: Arc<str>,
    /// The registration's node.
    pub(crate) node: Arc<str>,
}

/// All instances that one service should have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct DesiredBackend {
    /// In the catalog's order.
    pub(crate) servers: Vec<DesiredServer>,
    /// The options of an instance without own options; `None` if the operator's options differ from instance to instance,
    /// so that a spare slot would fit none.
    pub(crate) spare_options: Option<Arc<str>>,
    /// Instances that HAProxy can't have, as `node: reason`.
    pub(crate) skipped: Vec<String>,
}

impl DesiredBackend {
    /// Returns a copy without the instances' own options, for a section that HAProxy refused with them.
    pub(crate) fn plain(&self) -> Self {
        let mut plain = self.clone();
        for server in &mut plain.servers {
            server.options = Arc::clone(&server.operator_options);
            if !server.instance_options.is_empty() {
                server.ignored.push(std::mem::take(&mut server.instance_options));
            }
        }
        plain
    }

    /// The distinct options of all servers.
    pub(crate) fn option_sets(&self) -> BTreeSet<Arc<str>> {
        self.servers.iter().map(|server| Arc::clone(&server.options)).collect()
    }
}

/// The options of a server that synapse did not add: HAProxy does not report them, so no instance fits.
pub(crate) const UNKNOWN_OPTIONS: &str = "?";

/// The address of a slot without an instance.
pub(crate) const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

/// The name of a slot that had no instance when HAProxy loaded the file.
pub(crate) fn spare_name(id: u32) -> String {
    format!("slot_{id}")
}

/// The name of a slot for one instance. `instance` is safe; the address makes it unique.
pub(crate) fn instance_name(instance: &str, address: SocketAddr) -> String {
    format!("{instance}_{}", address_name(address))
}

/// The last part of [`instance_name`].
pub(crate) fn address_name(address: SocketAddr) -> String {
    format!("{}:{}", address.ip(), address.port())
}

impl Slot {
    /// Whether the file has a line for it.
    pub(crate) fn is_listed(&self) -> bool {
        !self.dynamic || matches!(self.assignment, Assignment::Active { .. })
    }

    /// Whether the options contain this keyword.
    pub(crate) fn has_option(&self, keyword: &str) -> bool {
        self.options.split(' ').any(|word| word == keyword)
    }
}

impl Backend {
    /// The number of free slots.
    pub(crate) fn free(&self) -> usize {
        self.count(|assignment| *assignment == Assignment::Free)
    }

    /// Whether a removed instance may still have requests.
    pub(crate) fn is_draining(&self) -> bool {
        self.count(|assignment| matches!(assignment, Assignment::Draining { .. })) > 0
    }

    fn count(&self, predicate: impl Fn(&Assignment) -> bool) -> usize {
        self.slots.iter().filter(|slot| predicate(&slot.assignment)).count()
    }
}
