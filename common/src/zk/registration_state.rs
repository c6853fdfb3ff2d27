//! The desired and the observed state of a registration.

use bytes::Bytes;

/// The observed state of the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistrationState {
    /// It should exist and that is not confirmed, for this reason.
    Pending(String),
    /// It exists, is ours, and was read back with the desired content.
    Registered {
        /// The transaction that created it.
        czxid: i64,
        /// The session through which it is kept: an ephemeral node's owner.
        session: i64,
    },
    /// It should not exist, and the server has confirmed that.
    Withdrawn,
    /// It should not exist and its removal is not confirmed, for this reason.
    Withdrawing(String),
}

/// The desired state of the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Desired {
    /// Not set yet: an existing node stays.
    Undecided,
    /// The node should not exist.
    Absent,
    /// The node should have this content.
    Content(Bytes),
}
