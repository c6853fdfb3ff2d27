//! What to do about a registration's node: decided from what was seen of it, what is wanted, and whose session asks.
//!
//! Invariants: only an ephemeral node is ever touched, and only in the version that was seen; what is as wanted is left
//! alone; a node that a living rival took over is not withdrawn from under it.

use zookeeper_client::Stat;

/// The most bytes a node may hold. ZooKeeper cuts the connection of those who send 1 MiB, and would do so at every
/// retry.
pub(super) const MAX_CONTENT: usize = 1_000_000;

/// What was seen at the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    /// `ephemeralOwner`: the owning session, or how the node is kept without one.
    pub(super) owner: i64,
    /// The version of its data, which every act is conditional on.
    pub(super) version: i32,
    /// The transaction that created it.
    pub(super) czxid: i64,
    /// Its data.
    pub(super) data: bytes::Bytes,
}

impl Node {
    pub(super) fn new(data: bytes::Bytes, stat: &Stat) -> Self {
        Self {
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

/// The one thing to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a step does nothing until it is carried out"]
pub(super) enum Step {
    /// All is as wanted.
    Nothing,
    /// Create the node.
    Create,
    /// Write the wanted bytes over this version.
    Set {
        /// The version seen.
        version: i32,
    },
    /// Delete this version, which another session owns, and create ours, in one transaction.
    TakeOver {
        /// The version seen.
        version: i32,
    },
    /// Delete this version.
    Delete {
        /// The version seen.
        version: i32,
    },
    /// Nothing may be done.
    Refuse(Refusal),
}

/// Why nothing may be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// The content would be refused, at the cost of the connection.
    #[error("the content has {0} bytes; ZooKeeper takes at most {MAX_CONTENT}")]
    TooLarge(usize),
    /// The node there is nobody's session's.
    #[error("a node that is not ephemeral is in the way; remove it by hand if it is not needed")]
    NotEphemeral,
}

/// Decides. `session` is ours; `rival` is the session that took the node from us while we held it, if one did.
pub(super) fn plan(seen: Option<&Node>, wanted: Option<&[u8]>, session: i64, rival: Option<i64>) -> Step {
    if let Some(wanted) = wanted
        && wanted.len() > MAX_CONTENT
    {
        return Step::Refuse(Refusal::TooLarge(wanted.len()));
    }
    let Some(node) = seen else {
        return wanted.map_or(Step::Nothing, |_| Step::Create);
    };
    let version = node.version;
    let ours = node.owner == session;
    if !ours && !node.is_ephemeral() {
        return Step::Refuse(Refusal::NotEphemeral);
    }
    match wanted {
        Some(_) if !ours => Step::TakeOver { version },
        Some(wanted) if node.data != wanted => Step::Set { version },
        None if ours || rival != Some(node.owner) => Step::Delete { version },
        Some(_) | None => Step::Nothing,
    }
}

#[cfg(test)]
mod tests;
