//! Commands for the runtime API in the order that loses no request. Pure.

use std::collections::BTreeSet;

use crate::haproxy::runtime::command::{Command, Target};

/// Runtime commands in three steps. New instances become ready before old ones leave, so that replacing all of them at
/// once leaves no moment without a server.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Batch {
    /// Moves slots in maintenance to their new addresses, and adds servers. HAProxy 2.9 and later reply before the change
    /// is applied: read it back before the next step.
    pub(crate) address: Vec<Command>,
    /// Sets weights, and makes servers ready.
    pub(crate) activate: Vec<Command>,
    /// Drains servers, puts them into maintenance or deletes them.
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

    /// The servers it changes.
    pub(crate) fn targets(&self) -> BTreeSet<&Target> {
        self.commands().map(|command| &command.target).collect()
    }
}
