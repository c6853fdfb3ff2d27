//! What HAProxy has, as slots: servers that exist whether or not an instance sits in them.
//!
//! HAProxy 2.6 can change the address, weight and state of a server while it runs, but not its name, id or options.
//! So a slot's name, id and option class are *structure* (a reload), and its [`Assignment`] is not. From 3.0 on servers
//! can be made and deleted while it runs: such a slot is *dynamic*, made for one instance and deleted after it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use crate::name::{BackendName, ServerName};

/// The slots of every service HAProxy has loaded, by service id. A service that is not here has no section.
pub(crate) type Layout = BTreeMap<BackendName, Backend>;

/// The slots of one service, in the file's order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Backend {
    pub(crate) slots: Vec<Slot>,
}

/// One server line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slot {
    /// Unique in the backend; kept as long as the instance stays, for HAProxy hashes and stick tables go by it.
    pub(crate) id: u32,
    /// [`spare_name`], or [`instance_name`] of the instance that had the slot when HAProxy loaded the file, or for which it
    /// was made.
    pub(crate) name: ServerName,
    /// The options at the end of the line. An instance fits only in a slot of exactly its own.
    pub(crate) options: Arc<str>,
    pub(crate) assignment: Assignment,
    /// Deleted once its instance has left, and in the file only as long as it has one. Others wait for the next instance.
    pub(crate) dynamic: bool,
}

/// Who sits in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Assignment {
    /// Nobody; in maintenance.
    Free,
    /// An instance that gets traffic.
    Active { address: SocketAddr, weight: u16 },
    /// An instance that was removed: in maintenance, its last requests may go on. The slot is not given to another
    /// address before HAProxy was seen idle towards this one.
    Draining { address: SocketAddr },
    /// Nobody any more; a dynamic server that HAProxy has seen idle and is about to delete.
    Gone,
}

/// An instance as HAProxy should have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DesiredServer {
    /// What tells two instances of a service apart; unique in a [`DesiredBackend`].
    pub(crate) address: SocketAddr,
    /// 0 to 256.
    pub(crate) weight: u16,
    /// What the slot's class has to be.
    pub(crate) options: Arc<str>,
    /// The operator's part of the options.
    pub(crate) operator_options: Arc<str>,
    /// The registered name, made safe.
    pub(crate) instance: Arc<str>,
    /// The registration's node.
    pub(crate) node: Arc<str>,
    /// The instance's options that were taken.
    pub(crate) instance_options: String,
    /// Those that were not.
    pub(crate) ignored: Vec<String>,
}

/// All instances one service should have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct DesiredBackend {
    /// In the catalog's order.
    pub(crate) servers: Vec<DesiredServer>,
    /// The class of an instance without options of its own; `None` when the operator's options differ from instance to
    /// instance, so that a spare slot would fit nobody.
    pub(crate) spare_options: Option<Arc<str>>,
    /// Instances that HAProxy can't have, as `node: why`.
    pub(crate) skipped: Vec<String>,
}

impl DesiredBackend {
    /// Without the instances' own options: HAProxy refused the section with them.
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

    /// The option classes in use.
    pub(crate) fn option_sets(&self) -> BTreeSet<Arc<str>> {
        self.servers.iter().map(|server| Arc::clone(&server.options)).collect()
    }
}

/// The class of a server that somebody else has made: what options it has HAProxy does not say, so no instance fits.
pub(crate) const UNKNOWN_OPTIONS: &str = "?";

/// Where a slot without an instance points.
pub(crate) const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);

/// The name of a slot that was nobody's when HAProxy loaded the file.
pub(crate) fn spare_name(id: u32) -> String {
    format!("slot_{id}")
}

/// The name of a slot that was laid out for an instance. `instance` is safe; the address makes it unique.
pub(crate) fn instance_name(instance: &str, address: SocketAddr) -> String {
    format!("{instance}_{}:{}", address.ip(), address.port())
}

impl Slot {
    /// Whether the file has a line for it.
    pub(crate) fn is_listed(&self) -> bool {
        !self.dynamic || matches!(self.assignment, Assignment::Active { .. })
    }
}

impl Backend {
    /// Slots of nobody.
    pub(crate) fn free(&self) -> usize {
        self.slots
            .iter()
            .filter(|slot| slot.assignment == Assignment::Free)
            .count()
    }

    /// Whether a removed instance may still have requests.
    pub(crate) fn is_draining(&self) -> bool {
        self.slots
            .iter()
            .any(|slot| matches!(slot.assignment, Assignment::Draining { .. }))
    }
}
