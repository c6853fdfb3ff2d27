//! Commands for the runtime API in the order that loses no request, and what a query of idle servers returns. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::haproxy::runtime::command::{Command, Target};

/// Runtime commands in three steps. New instances come before old ones go, so that replacing all of them at once leaves
/// no moment without a server.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Batch {
    /// Moves slots in maintenance to their new addresses, and makes new servers. HAProxy 2.9 and later answer before it
    /// is done: read back before the next step.
    pub(crate) address: Vec<Command>,
    /// Weights, and servers that become ready.
    pub(crate) activate: Vec<Command>,
    /// Servers that leave, drain or are deleted.
    pub(crate) retire: Vec<Command>,
}

impl Batch {
    /// Whether there is nothing to do.
    pub(crate) fn is_empty(&self) -> bool {
        self.commands().next().is_none()
    }

    /// All commands in order.
    pub(crate) fn commands(&self) -> impl Iterator<Item = &Command> {
        self.address.iter().chain(&self.activate).chain(&self.retire)
    }

    /// The servers it touches.
    pub(crate) fn targets(&self) -> BTreeSet<&Target> {
        self.commands().map(|command| &command.target).collect()
    }
}

/// Servers of one backend that nothing is bound to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct IdleServers {
    /// Another instance may have them.
    pub(crate) reusable: BTreeSet<Arc<str>>,
    /// They may be deleted.
    pub(crate) deletable: BTreeSet<Arc<str>>,
}

impl IdleServers {
    /// Keeps those that `other`, which has servers of the same names, has too.
    pub(crate) fn and(&mut self, other: &Self) {
        self.reusable.retain(|name| other.reusable.contains(name));
        self.deletable.retain(|name| other.deletable.contains(name));
    }

    /// Keeps those of which `keep` is true.
    pub(crate) fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.reusable.retain(|name| keep(name));
        self.deletable.retain(|name| keep(name));
    }
}
