//! The registration report: what one instance says of itself in a znode.
//!
//! Source of the format: Go-Nerve's `encoding/json` output (key order, escapes) and Airbnb nerve's JSON. Written is the Go
//! dialect to the byte, so that Go-Synapse and whoever compares bytes sees no difference; on request a [`Dialect`] of
//! others. Read ([`Decoder`]) are these and what else is found in the field, and with patience: what the originals' readers let
//! pass in a field passes here, unless it could do harm further on.

mod decode;
mod decoder;
mod dialect;
mod encode;
pub mod encoded;
mod fields;
mod foreign;

use std::collections::BTreeMap;

pub use decoder::{Decoder, Method};
pub use dialect::{Dialect, address};

/// One instance's word about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// `false` only with `exposeOnUnavailable`: the node is there, the instance takes no traffic. Absent means `true`.
    pub available: bool,
    /// Why it is not available; empty when it is.
    pub unavailable_reason: String,
    /// A literal IP or a DNS name, as registered; never empty.
    pub host: String,
    /// 1 to 65535.
    pub port: u16,
    /// The registered name; not unique across nodes, may be any text without control characters.
    pub name: String,
    /// HAProxy server keywords the instance asks for: hostile until parsed.
    pub haproxy_server_options: String,
    /// 0 to 256; `None` when the report has none (then HAProxy's default, 1, applies). 0 when not available.
    pub weight: Option<u16>,
    /// Free key-value pairs; a value that is not text in the JSON is kept as its JSON text.
    pub labels: BTreeMap<String, String>,
}

/// Why bytes are not a report. One bad znode is skipped with this reason; it never touches another.
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
