//! A service: how it is steered and seen ([`ServiceHandle`]), and the one task that owns its state.

mod task;

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot};

use crate::check::push::Mailbox;
use crate::config::ServiceConfig;
use crate::health::verdict::Verdict;
use crate::lifecycle::Settled;
use crate::lifecycle::machine::Stand;
use crate::reporter::ReporterHandle;

pub use task::{ServiceTask, service};

/// An operator's order. The reply comes when it is carried out.
#[derive(Debug)]
pub enum Order {
    /// Take the service away and wait until it is safe to stop it.
    Disable {
        /// Whether the shutdown command runs.
        shutdown: bool,
        /// What was waited for.
        done: oneshot::Sender<Disabled>,
    },
    /// Give it back.
    Enable {
        /// Whatever the checks say.
        force: bool,
        /// Taken in.
        done: oneshot::Sender<()>,
    },
    /// Set the full weight, 1 to 255.
    Weight {
        /// The weight.
        weight: u8,
        /// Taken in.
        done: oneshot::Sender<()>,
    },
}

/// The end of a disable sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disabled {
    /// It is safe to stop the service.
    Settled(Settled),
    /// The service was enabled meanwhile.
    Cancelled,
}

/// What a service publishes of itself.
#[derive(Debug, Clone)]
pub struct ServiceState {
    /// Where it stands.
    pub stand: Stand,
    /// Since when it is in this phase, milliseconds since the Unix epoch.
    pub since: u64,
    /// Its checks, in the file's order.
    pub checks: Vec<CheckState>,
}

/// One check's word.
#[derive(Debug, Clone)]
pub struct CheckState {
    /// After rise and fall; `None` before the first verdict.
    pub up: Option<bool>,
    /// The last verdict, as it was.
    pub last: Option<Arc<Verdict>>,
}

/// A service as the API and the metrics see it.
#[derive(Debug, Clone)]
pub struct ServiceHandle {
    /// Its configuration.
    pub config: Arc<ServiceConfig>,
    /// Where it is reported.
    pub reporters: Vec<ReporterHandle>,
    /// Where heartbeats of its `push` checks go in.
    pub mailboxes: Vec<Mailbox>,
    orders: mpsc::Sender<Order>,
    state: Arc<ArcSwap<ServiceState>>,
}

impl ServiceHandle {
    /// What it published last.
    pub fn state(&self) -> Arc<ServiceState> {
        self.state.load_full()
    }

    /// Gives an order; `false` when the service has stopped.
    pub async fn order(&self, order: Order) -> bool {
        self.orders.send(order).await.is_ok()
    }
}

#[cfg(test)]
mod tests;
