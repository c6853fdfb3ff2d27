//! Routers: what makes a [`Desired`](crate::desired::Desired) true.

pub mod console;
pub mod haproxy;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tokio::sync::watch;

use crate::catalog::Outcome;

/// A running router, as the API and the metrics see it.
#[derive(Debug, Clone)]
pub struct Router {
    /// Its services, in the file's order.
    pub services: Vec<Service>,
    /// What became of their candidates, in the same order.
    pub outcome: watch::Receiver<Arc<Outcome>>,
    /// By `type`.
    pub kind: Kind,
}

impl Router {
    /// Whether a source has not answered, or what they say is not applied. A console says nothing before they have.
    pub fn is_incomplete(&self) -> bool {
        match &self.kind {
            Kind::Console(_) => false,
            Kind::Haproxy(haproxy) => !haproxy.status().complete,
        }
    }
}

/// What names a service.
#[derive(Debug, Clone)]
pub struct Service {
    /// `<name>_<n>`, unique.
    pub id: String,
    /// As configured; may be another's too.
    pub name: String,
    /// The ensemble it is read from.
    pub ensemble: String,
    /// The path it is read from.
    pub path: String,
}

/// The handle of a router by its type.
#[derive(Debug, Clone)]
pub enum Kind {
    /// The count of failed writes.
    Console(Arc<AtomicU64>),
    /// The HAProxy's own handle.
    Haproxy(haproxy::Haproxy),
}

impl Kind {
    /// The `type` of the configuration.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Console(_) => "console",
            Self::Haproxy(_) => "haproxy",
        }
    }
}
