//! What a reflector publishes.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;
use zookeeper_client::Stat;

/// How far a snapshot can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Nothing was ever read: this is not an empty list.
    Never,
    /// Read whole, and watched since.
    Live,
    /// The connection is away since then: this is the last content known.
    Stale {
        /// Since when.
        since: Instant,
    },
}

/// One child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child {
    /// Its data; empty when it was not read.
    pub data: Bytes,
    /// The transaction that created it: two nodes of one name differ in it. 0 when it was not read.
    pub czxid: i64,
    /// The transaction that last changed it. 0 when it was not read.
    pub mzxid: i64,
    /// Its creation, milliseconds since the Unix epoch by the server's clock. 0 when it was not read.
    pub ctime: i64,
}

impl Child {
    /// A child that was seen and not read.
    pub(super) fn unread() -> Self {
        Self {
            data: Bytes::new(),
            czxid: 0,
            mzxid: 0,
            ctime: 0,
        }
    }

    pub(super) fn new(data: Vec<u8>, stat: &Stat) -> Self {
        Self {
            data: data.into(),
            czxid: stat.czxid,
            mzxid: stat.mzxid,
            ctime: stat.ctime,
        }
    }
}

/// All children of the path at one moment. An absent path has none.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// By node name.
    pub children: Arc<BTreeMap<Arc<str>, Arc<Child>>>,
    /// How far to trust it.
    pub freshness: Freshness,
    /// +1 for each content published.
    pub generation: u64,
    /// The last failure to read, for the operator; empty when there was none since the last success.
    pub error: String,
}
