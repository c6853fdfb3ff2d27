//! What becomes of a reload of the configuration; `run` carries it out.

use common::http::ReloadOutcome;
pub use common::reload::ReloadResult;
use serde::Serialize;

/// Asks for reloads and knows what became of the last.
pub type Reloads = common::reload::Reloads<Reload>;

/// The requests, for the one who carries them out.
pub type Requests = common::reload::Requests<Reload>;

/// What became of a reload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reload {
    /// When it ended, milliseconds since the Unix epoch.
    pub at: u64,
    /// In a word.
    pub result: ReloadResult,
    /// What it means for each router: those of the new file in its order, then those that are gone.
    pub routers: Vec<RouterReload>,
    /// Keys of the root that changed and count from the next start only.
    pub needs_restart: Vec<&'static str>,
    /// Why nothing was changed; empty unless refused.
    pub problems: Vec<String>,
    /// What the file's author should know.
    pub warnings: Vec<String>,
}

/// What a reload means for one router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RouterReload {
    /// Its type and what it writes.
    pub router: String,
    /// What becomes of it.
    pub act: Act,
    /// How the change gets into HAProxy; absent for other routers and for one that is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<By>,
    /// How many services are as they were.
    pub kept: usize,
    /// The services that are new, by id.
    pub added: Vec<String>,
    /// Those that differ.
    pub changed: Vec<String>,
    /// Those that are gone.
    pub removed: Vec<String>,
}

/// What becomes of a router.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Act {
    /// It runs on untouched.
    Kept,
    /// It goes on with another configuration.
    Changed,
    /// It starts.
    Added,
    /// It ends; an HAProxy that synapse runs for it is stopped softly.
    Removed,
}

/// How a change gets into HAProxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// Through the runtime API, if it touches HAProxy at all.
    Runtime,
    /// By a reload.
    Reload,
}

impl Reload {
    /// A reload that changed nothing because of `problems`.
    pub fn refused(problems: Vec<String>) -> Self {
        Self {
            at: common::clock::unix_millis(),
            result: ReloadResult::Refused,
            routers: Vec::new(),
            needs_restart: Vec::new(),
            problems,
            warnings: Vec::new(),
        }
    }
}

impl ReloadOutcome for Reload {
    fn refused(&self) -> Option<&[String]> {
        (self.result == ReloadResult::Refused).then_some(&self.problems)
    }
}
