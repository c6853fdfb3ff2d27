//! The admin API's server: hyper on TCP or a Unix socket, with limits, deadlines and a graceful stop. And its
//! [`client`], for the subcommands that ask a daemon that runs.
//!
//! Handlers are plain functions from [`Request`] to [`Reply`]; what is common to both daemons is in [`common_routes`].

mod access;
mod body;
pub mod client;
mod connection;
mod probes;
mod reload;
mod reply;
mod request;
mod routes;
mod server;
#[cfg(test)]
mod tests;
mod unix;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

pub use access::Refusal;
pub use probes::{BadProbes, ProbesConfig, probes};
pub use reload::reload_route;
pub use reply::{Reply, Stream};
pub use routes::{CommonRoutes, common_routes};
pub use server::{BindError, Bound, Listen, bind};

/// A complete request (its body is at most 64 KiB).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// GET, PUT... HEAD comes as GET and its body is dropped on the way out.
    pub method: Method,
    /// The path's segments, percent-decoded; empty ones (`//`) are dropped.
    pub path: Vec<String>,
    /// The query's pairs, percent-decoded; of a repeated key the last.
    pub query: BTreeMap<String, String>,
    /// The body.
    pub body: bytes::Bytes,
    /// The reason to refuse changes; `None` when they are allowed. The server refuses PUT, POST and DELETE before any
    /// handler; a handler whose GET changes something uses [`Request::refuse_change`].
    pub refusal: Option<Refusal>,
}

/// The methods of the API; the server replies 405 to any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the methods")]
pub enum Method {
    Get,
    Put,
    Post,
    Delete,
}

/// A function from request to reply.
pub type Handler = Arc<dyn Fn(Request) -> Pin<Box<dyn Future<Output = Reply> + Send>> + Send + Sync>;

impl Request {
    /// Returns the path's segments for matching: `["services", name, "status"]`.
    pub fn segments(&self) -> Vec<&str> {
        self.path.iter().map(String::as_str).collect()
    }

    /// Returns the reply to a refused change; `None` when changes are allowed.
    pub fn refuse_change(&self) -> Option<Reply> {
        self.refusal.map(Refusal::reply)
    }

    /// Returns a boolean of the query as Go-Nerve reads it: true when its value starts with `y`, `t` or `1`, any case.
    pub fn flag(&self, key: &str) -> bool {
        self.query
            .get(key)
            .is_some_and(|value| value.starts_with(['y', 'Y', 't', 'T', '1']))
    }
}
