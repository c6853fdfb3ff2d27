//! The registration report: an instance's description of itself in a znode.
//!
//! Source of the format: Go-Nerve's `encoding/json` output (key order, escapes) and Airbnb nerve's JSON. The Go dialect is
//! written to the byte, so that Go-Synapse and comparisons of bytes see no difference; other [`Dialect`]s on request. The
//! [`Decoder`] reads these and other formats in use. It accepts in a field what the originals' readers accept, unless that
//! could do harm later.

mod decode;
mod decoder;
mod dialect;
mod encode;
pub mod encoded;
mod fields;
mod foreign;

use std::collections::BTreeMap;

use serde::Serialize;

pub use decoder::{Decoder, Method};
pub use dialect::{Dialect, address};

/// The description of one instance. It serialises to the Go dialect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// `false` only with `exposeOnUnavailable`: the node exists, the instance takes no traffic. Absent means `true`.
    pub available: bool,
    /// The reason for not being available; empty when available.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub unavailable_reason: String,
    /// A literal IP or a DNS name, as registered; never empty.
    pub host: String,
    /// 1 to 65535.
    pub port: u16,
    /// The registered name; not unique across nodes, may be any text without control characters.
    pub name: String,
    /// HAProxy server keywords that the instance requests: untrusted until parsed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub haproxy_server_options: String,
    /// 0 to 256; `None` when the report has none (then HAProxy's default, 1, applies). 0 when not available.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u16>,
    /// Free key-value pairs; a value that is not text in the JSON is kept as its JSON text.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// The reason why bytes are not a report. A bad znode is skipped with this reason and does not affect others.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// More bytes than a report may have.
    #[error("{0} bytes, more than the {limit} a report may have", limit = MAX_BYTES)]
    TooLong(usize),
    /// Not a JSON object.
    #[error("not a JSON object: {0}")]
    NotJson(String),
    /// No JSON object, and neither the data nor the node's name is an address.
    #[error("neither a JSON object nor `host:port`")]
    NotUnderstood,
    /// A field is missing or has a value that no report may have.
    #[error("`{field}` {what}")]
    Field {
        /// The field's name in the JSON.
        field: &'static str,
        /// What is wrong with it.
        what: String,
    },
}

/// Greatest weight of a server in HAProxy.
pub const MAX_WEIGHT: u16 = 256;

/// Weight of a server in HAProxy whose registration has none.
pub const DEFAULT_WEIGHT: u16 = 1;

/// Greatest size of a report, in bytes.
pub const MAX_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests;
