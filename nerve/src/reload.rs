//! What a reload changes.

use serde::{Serialize, Serializer};

/// Requests reloads and returns the last outcome.
pub type Reloads = common::reload::Reloads<ServiceChanges>;

/// The receiving end of the requests.
pub type Requests = common::reload::Requests<ServiceChanges>;

/// The services of two configurations, by name; each is in exactly one list.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub struct ServiceChanges {
    /// Those that are equal and run on; shown as their number.
    #[serde(serialize_with = "count")]
    pub kept: Vec<String>,
    /// Those that are started.
    pub added: Vec<String>,
    /// Those that are replaced.
    pub changed: Vec<String>,
    /// Those that are disabled and withdrawn.
    pub removed: Vec<String>,
}

impl ServiceChanges {
    /// Whether all services are kept.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }
}

fn count<S: Serializer>(services: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    services.len().serialize(serializer)
}
