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
    /// How many services run on untouched.
    pub kept: usize,
    /// The services that were started.
    pub added: Vec<String>,
    /// The services that were replaced.
    pub changed: Vec<String>,
    /// The services that are being disabled and withdrawn.
    pub removed: Vec<String>,
    /// Keys of the root that changed and count from the next start only.
    pub needs_restart: Vec<&'static str>,
    /// Why nothing was changed; empty unless refused.
    pub problems: Vec<String>,
    /// What the file's author should know.
    pub warnings: Vec<String>,
}

impl Reload {
    /// A reload that changed nothing because of `problems`.
    pub fn refused(problems: Vec<String>) -> Self {
        Self {
            at: common::clock::unix_millis(),
            result: ReloadResult::Refused,
            kept: 0,
            added: Vec::new(),
            changed: Vec::new(),
            removed: Vec::new(),
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
