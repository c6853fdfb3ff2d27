//! Routers: what makes a [`Desired`](crate::desired::Desired) true.

mod applier;
pub mod console;
pub mod file_output;
pub mod haproxy;
mod locks;
mod pace;
mod status;
pub mod template;

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use crate::catalog::Outcome;
use crate::gather::Order;
use crate::guard::Guarded;
use crate::watcher::Description;

pub use applier::{Applier, ApplierTask};
pub use locks::Locks;
pub use status::RouterStatus;

/// A running router, as the API and the metrics see it.
#[derive(Debug, Clone)]
pub struct Router {
    /// Its services, in the file's order.
    pub services: Vec<Service>,
    /// What became of their candidates, in the same order.
    pub outcome: watch::Receiver<Arc<Outcome>>,
    /// What their guards hold, in the same order.
    pub guarded: watch::Receiver<Arc<Vec<Guarded>>>,
    /// Where an operator's word on it goes.
    pub orders: mpsc::Sender<Order>,
    /// By `type`.
    pub kind: Kind,
}

impl Router {
    /// Whether a source has not answered, or what they say is not applied.
    pub fn is_incomplete(&self) -> bool {
        !self.kind.status().complete
    }
}

/// What names a service.
#[derive(Debug, Clone)]
pub struct Service {
    /// `<name>_<n>`, unique.
    pub id: String,
    /// As configured; may be another's too.
    pub name: String,
    /// Where its servers come from.
    pub source: Description,
}

/// The handle of a router by its type.
#[derive(Debug, Clone)]
pub enum Kind {
    /// One that prints or writes, with its `type`.
    Plain(&'static str, Applier),
    /// The HAProxy's own handle.
    Haproxy(haproxy::Haproxy),
}

impl Kind {
    /// The `type` of the configuration.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Plain(name, _) => name,
            Self::Haproxy(_) => "haproxy",
        }
    }

    /// What every type can tell.
    pub fn status(&self) -> Arc<RouterStatus> {
        match self {
            Self::Plain(_, applier) => applier.status(),
            Self::Haproxy(haproxy) => Arc::new(haproxy.status().summary()),
        }
    }
}
