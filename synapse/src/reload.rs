//! What a reload changes.

use serde::Serialize;

/// Requests reloads and returns the last outcome.
pub type Reloads = common::reload::Reloads<RouterChanges>;

/// The changes of all routers: those of the new file in its order, then those that are removed.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub struct RouterChanges {
    /// By router.
    pub routers: Vec<RouterChange>,
}

/// What a reload changes in one router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RouterChange {
    /// Its type and what it writes.
    pub router: String,
    /// The change.
    pub act: Change,
    /// How the change gets into HAProxy; absent for other routers and for one that is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<Via>,
    /// The number of equal services.
    pub kept: usize,
    /// The ids of new services.
    pub added: Vec<String>,
    /// The ids of changed services.
    pub changed: Vec<String>,
    /// The ids of removed services.
    pub removed: Vec<String>,
}

/// A change of a router.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// It runs on.
    Kept,
    /// It is replaced by a successor with another configuration.
    Changed,
    /// It starts.
    Added,
    /// It ends; an HAProxy that synapse runs for it is stopped softly.
    Removed,
}

/// How a change gets into HAProxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    /// Through the runtime API, if it affects HAProxy at all.
    Runtime,
    /// By a reload.
    Reload,
}
