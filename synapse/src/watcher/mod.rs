//! Where servers come from: each watcher publishes the content of one service's source, with its freshness.
//!
//! ```text
//! zookeeper ─ reflector ─┐
//! file, dns, static ─────┴─Snapshot of nodes─▶ follow: interpret, names ──WatcherState──┬─▶ gather
//!                                                                                multi ─┘
//! ```
//!
//! A source that can't be read leaves the last state in place and marks its age; an entry that makes no sense is left
//! out with its reason and touches no other.

mod dns;
mod file;
pub mod follow;
mod interpret;
mod multi;
mod names;
mod reader;
pub mod sources;

use std::fmt;
use std::sync::Arc;

use common::zk::reflector::Freshness;
use serde::Serialize;

use crate::desired::Server;

#[cfg(any(test, fuzzing))]
#[path = "../../tests/fuzz/nodes.rs"]
pub mod fuzz;
/// What a source is, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Description {
    /// The `type` of the configuration.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// What is read: in ZooKeeper the ensemble and the path.
    pub place: String,
    /// Distinguishes sources that read the same path with different decoders.
    #[serde(skip)]
    pub reading: String,
}

impl Description {
    /// The key of the source in the snapshot; `None` for a fixed list, which is the same at each start and not kept.
    pub fn remembered_as(&self) -> Option<String> {
        (self.kind != "static").then(|| self.identity())
    }

    /// The identity of the source among all sources.
    pub fn identity(&self) -> String {
        match self.reading.as_str() {
            "" => self.to_string(),
            reading => format!("{self} #{reading}"),
        }
    }
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.place)
    }
}

/// The content of one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatcherState {
    /// How far to trust it. `Never`: an empty list of candidates means nothing yet.
    pub freshness: Freshness,
    /// The last failure to read the source; empty when there was none since the last success.
    pub error: String,
    /// The entries that were loaded, by node.
    pub candidates: Vec<Candidate>,
    /// The entries that were not, by node.
    pub skipped: Vec<Skipped>,
    /// Failures since the start.
    pub failures: Failures,
}

/// One registered instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// What it registered, resolved.
    pub server: Server,
    /// The transaction that created its node: of two nodes the one with the greater is the newer. 0 outside of ZooKeeper.
    pub czxid: i64,
    /// Why its registration marks it as unavailable.
    pub unavailable: Option<String>,
}

/// An entry that is left out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Skipped {
    /// Its node.
    pub node: Arc<str>,
    /// Why it is left out.
    pub reason: Reason,
}

/// Why an entry is left out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Reason {
    /// It makes no sense, or its name has no address.
    #[error("{0}")]
    Bad(String),
    /// The first look-up of this name is under way.
    #[error("`{0}` is not resolved yet")]
    Pending(String),
}

/// How often something went wrong, counted on the change to wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Failures {
    /// The source could not be read.
    pub watch: u64,
    /// An entry could not be loaded.
    pub content: u64,
}

impl Default for WatcherState {
    fn default() -> Self {
        Self {
            freshness: Freshness::Never,
            error: String::new(),
            candidates: Vec::new(),
            skipped: Vec::new(),
            failures: Failures::default(),
        }
    }
}
