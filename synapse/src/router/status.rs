//! The status of a router of any type: plain data, published whole.

use serde::Serialize;

/// The state of one router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Default)]
pub struct RouterStatus {
    /// Everything that is wanted was applied.
    pub in_sync: bool,
    /// And every source has answered by then.
    #[serde(skip)]
    pub complete: bool,
    /// What is waited for, or empty.
    pub pending: String,
    /// What was wrong when it was last tried, or empty.
    pub last_error: String,
    /// When something was last changed, in milliseconds since the Unix epoch.
    pub last_apply: Option<u64>,
    /// How often something was changed since the start.
    pub applies: u64,
    /// How often that could not be done.
    pub failures: u64,
}
