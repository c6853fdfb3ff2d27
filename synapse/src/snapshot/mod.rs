//! The last known good of every source, kept over a restart.
//!
//! ```text
//! synapse-snapshot 1 <SHA-1 of all that follows, in hexadecimal>
//! {"sources": {"<source>": {"at": <milliseconds>, "instances": [{"node": …, "address": …}]}}}
//! ```
//!
//! It holds instances as data, never text of a configuration: what was hostile in the registry is still treated so. A
//! file that is torn, of another version or no snapshot at all is refused whole.

#[cfg(any(test, fuzzing))]
#[path = "../../tests/fuzz/snapshot.rs"]
pub mod fuzz;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::hash::sha1_hex;
use common::zk::reflector::Freshness;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::desired::Server;
use crate::watcher::{Candidate, WatcherState};

pub use writer::{Followed, SnapshotWriter, load};

/// The first token of the file.
const MAGIC: &str = "synapse-snapshot";
/// The version that is written, and the only one that is read.
const VERSION: &str = "1";

/// The content of a file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Content {
    /// By the name of the source.
    pub sources: BTreeMap<String, Remembered>,
}

/// The last content of one source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// When it was last known to be true, in milliseconds since the Unix epoch.
    pub at: u64,
    /// The instances that took traffic.
    pub instances: Vec<Instance>,
}

/// One instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    node: Arc<str>,
    name: String,
    address: SocketAddr,
    weight: Option<u16>,
    options: String,
    labels: BTreeMap<String, String>,
    created: i64,
    czxid: i64,
}

/// Why a file is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It begins otherwise.
    #[error("it is no snapshot")]
    Foreign,
    /// Another synapse wrote it.
    #[error("it is of version {0:?}, and this synapse reads {VERSION} only")]
    Version(String),
    /// It was not written to its end, or changed since.
    #[error("its checksum is not that of its content")]
    Torn,
    /// It has the right checksum and makes no sense.
    #[error("{0}")]
    Nonsense(String),
}

/// The file's bytes.
pub fn encode(content: &Content) -> Vec<u8> {
    // Text, numbers and maps with text keys: there is nothing that could fail.
    let body = serde_json::to_vec(content).unwrap_or_default();
    let mut bytes = format!("{MAGIC} {VERSION} {}\n", sha1_hex(&body)).into_bytes();
    bytes.extend(body);
    bytes
}

/// Reads a file's bytes, which may be anything.
pub fn decode(bytes: &[u8]) -> Result<Content, Refused> {
    let mut parts = bytes.splitn(2, |byte| *byte == b'\n');
    let (head, body) = (parts.next().unwrap_or_default(), parts.next().ok_or(Refused::Foreign)?);
    let head = str::from_utf8(head).map_err(|_| Refused::Foreign)?;
    let (version, sum) = match head.split(' ').collect::<Vec<_>>().as_slice() {
        [MAGIC, version, sum] => (*version, *sum),
        _ => return Err(Refused::Foreign),
    };
    if version != VERSION {
        return Err(Refused::Version(version.chars().take(20).collect()));
    }
    if sum != sha1_hex(body) {
        return Err(Refused::Torn);
    }
    serde_json::from_slice(body).map_err(|error| Refused::Nonsense(error.to_string()))
}

impl Remembered {
    /// What is to be remembered of `state`; nothing of a source that never answered.
    fn of(state: &WatcherState, now: Instant, unix_millis: u64) -> Option<Self> {
        let age = match state.freshness {
            Freshness::Never => return None,
            Freshness::Live => Duration::ZERO,
            Freshness::Stale { since } => now.saturating_duration_since(since),
        };
        let available = state
            .candidates
            .iter()
            .filter(|candidate| candidate.unavailable.is_none());
        Some(Self {
            at: unix_millis.saturating_sub(u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
            instances: available.map(Instance::of).collect(),
        })
    }

    /// As a source that was lost when this was last true.
    pub fn state(&self, now: Instant, unix_millis: u64) -> WatcherState {
        let age = Duration::from_millis(unix_millis.saturating_sub(self.at));
        WatcherState {
            freshness: Freshness::Stale {
                since: now.checked_sub(age).unwrap_or(now),
            },
            candidates: self.instances.iter().map(Instance::candidate).collect(),
            ..WatcherState::default()
        }
    }
}

impl Instance {
    fn of(candidate: &Candidate) -> Self {
        let server = &candidate.server;
        Self {
            node: Arc::clone(&server.node),
            name: server.name.clone(),
            address: server.address,
            weight: server.weight,
            options: server.options.clone(),
            labels: server.labels.clone(),
            created: server.created,
            czxid: candidate.czxid,
        }
    }

    fn candidate(&self) -> Candidate {
        Candidate {
            server: Server {
                node: Arc::clone(&self.node),
                name: self.name.clone(),
                address: self.address,
                weight: self.weight,
                options: self.options.clone(),
                labels: self.labels.clone(),
                created: self.created,
                backup: false,
            },
            czxid: self.czxid,
            unavailable: None,
        }
    }
}
