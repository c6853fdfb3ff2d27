//! Plans the next step for an instance's nodes from the nodes observed, the desired node, and our identity. Pure.
//!
//! Invariants: an ephemeral registration touches only ephemeral nodes, a persistent one those and plain persistent ones,
//! and each only in the version observed; of several nodes one remains; a node in the desired state is not written; a node
//! that a live rival took over is not withdrawn.

use zookeeper_client::Stat;

use super::node::NodeKind;

/// Greatest size of a node's content. ZooKeeper closes the connection on requests of 1 MiB, at every retry.
pub(super) const MAX_CONTENT: usize = 1_000_000;

/// An observed node of the instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    /// Its name, with the sequence number when it has one.
    pub(super) name: String,
    /// `ephemeralOwner`: the owning session, or how the node is kept without one.
    pub(super) owner: i64,
    /// The version of its data, on which every write is conditional.
    pub(super) version: i32,
    /// The transaction that created it.
    pub(super) czxid: i64,
    /// Its data.
    pub(super) data: bytes::Bytes,
}

impl Node {
    pub(super) fn new(name: String, data: bytes::Bytes, stat: &Stat) -> Self {
        Self {
            name,
            owner: stat.ephemeral_owner,
            version: stat.version,
            czxid: stat.czxid,
            data,
        }
    }

    /// Whether a session owns it. ZooKeeper marks containers and nodes with a time to live in the same field.
    pub(super) fn is_ephemeral(&self) -> bool {
        const CONTAINER: i64 = i64::MIN;
        const TTL_MARK: u8 = 0xff;
        let [mark, ..] = self.owner.to_be_bytes();
        self.owner != 0 && self.owner != CONTAINER && mark != TTL_MARK
    }
}

/// The desired node.
#[derive(Debug, Clone, Copy)]
pub(super) struct DesiredNode<'a> {
    /// Its name, up to the sequence number.
    pub(super) base: &'a str,
    /// Its content.
    pub(super) content: &'a [u8],
    /// Whether to write it even if its content is the desired one.
    pub(super) touch: bool,
}

/// The owner of the registration.
#[derive(Debug, Clone, Copy)]
pub(super) struct Identity {
    /// The kind of node that is kept.
    pub(super) kind: NodeKind,
    /// Our session.
    pub(super) session: i64,
    /// The session that took the node from us while we held it.
    pub(super) rival: Option<i64>,
}

impl Identity {
    fn keeps(self, node: &Node) -> bool {
        node.owner == if self.kind.is_persistent() { 0 } else { self.session }
    }

    fn may_touch(self, node: &Node) -> bool {
        node.owner == self.session || node.is_ephemeral() || self.keeps(node)
    }
}

/// The one thing to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a step does nothing until it is carried out"]
pub(super) enum Step {
    /// The desired state is reached.
    Nothing,
    /// Create the node.
    Create,
    /// Write the wanted bytes over this version.
    Set(Target),
    /// Delete this version and create ours, in one transaction.
    TakeOver(Target),
    /// Delete this version.
    Delete(Target),
    /// Nothing may be done.
    Refuse(Refusal),
}

impl Step {
    /// Returns whether the step publishes content, rather than withdrawing it.
    pub(super) fn announces(&self) -> bool {
        matches!(self, Self::Create | Self::Set(_) | Self::TakeOver(_))
    }

    /// Returns the node that the step removes.
    pub(super) fn removes(&self) -> Option<&Target> {
        match self {
            Self::TakeOver(target) | Self::Delete(target) => Some(target),
            Self::Nothing | Self::Create | Self::Set(_) | Self::Refuse(_) => None,
        }
    }
}

/// A node in the version observed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// Its name.
    pub(super) name: String,
    /// Its version.
    pub(super) version: i32,
    /// Its owner.
    pub(super) owner: i64,
}

impl Target {
    fn of(node: &Node) -> Self {
        Self {
            name: node.name.clone(),
            version: node.version,
            owner: node.owner,
        }
    }
}

/// The reason to do nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// The server would close the connection because of the content's size.
    #[error("the content has {0} bytes; ZooKeeper takes at most {MAX_CONTENT}")]
    TooLarge(usize),
    /// A node has no owning session.
    #[error("a node that is not ephemeral is in the way; remove it by hand if it is not needed")]
    NotEphemeral,
    /// A node is neither ephemeral nor plain persistent.
    #[error("a container or a node with a time to live is in the way; remove it by hand if it is not needed")]
    NotPlain,
}

/// Returns the next step. `seen` are the instance's nodes.
pub(super) fn plan(seen: &[Node], desired_node: Option<DesiredNode<'_>>, us: Identity) -> Step {
    if let Some(desired_node) = desired_node
        && desired_node.content.len() > MAX_CONTENT
    {
        return Step::Refuse(Refusal::TooLarge(desired_node.content.len()));
    }
    if !seen.iter().all(|node| us.may_touch(node)) {
        let persistent = us.kind.is_persistent();
        return Step::Refuse(if persistent {
            Refusal::NotPlain
        } else {
            Refusal::NotEphemeral
        });
    }
    let Some(desired_node) = desired_node else {
        let ours = seen.iter().find(|node| us.keeps(node) || us.rival != Some(node.owner));
        return ours.map_or(Step::Nothing, |node| Step::Delete(Target::of(node)));
    };
    let kept = seen
        .iter()
        .filter(|node| us.keeps(node) && us.kind.has_base(&node.name, desired_node.base))
        .min_by_key(|node| (node.data != desired_node.content, node.czxid));
    let Some(kept) = kept else {
        return seen.first().map_or(Step::Create, |old| Step::TakeOver(Target::of(old)));
    };
    match seen.iter().find(|node| node.name != kept.name) {
        Some(double) => Step::Delete(Target::of(double)),
        None if desired_node.touch || kept.data != desired_node.content => Step::Set(Target::of(kept)),
        None => Step::Nothing,
    }
}

#[cfg(test)]
mod tests;
