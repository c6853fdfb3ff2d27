//! A service: how it is steered and seen ([`ServiceHandle`]), and the one task that owns its state.

mod task;

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::check::push::Mailbox;
use crate::config::ServiceConfig;
use crate::health::history::History;
use crate::lifecycle::Settled;
use crate::lifecycle::machine::LifecycleStatus;
use crate::metrics::Metrics;
use crate::overrides::spool::{Spools, no_spool};
use crate::overrides::{Metadata, Override};
use crate::reporter::ReporterHandle;
use crate::state_store::StateStore;

pub use task::{ServiceTask, service};

/// What services share.
#[derive(Debug, Clone)]
pub struct Context {
    /// What is counted.
    pub metrics: Metrics,
    /// What outlives nerve.
    pub state_store: StateStore,
    /// What hacheck's spool says.
    pub spool: Spools,
    /// Where changes are told.
    pub changes: broadcast::Sender<Arc<Change>>,
}

impl Context {
    /// How many changes a listener may be behind before it misses some.
    const EVENT_BUFFER: usize = 256;

    /// Without state_store and spool.
    pub fn new(metrics: Metrics) -> Self {
        Self {
            metrics,
            state_store: StateStore::in_memory(),
            spool: no_spool(),
            changes: broadcast::Sender::new(Self::EVENT_BUFFER),
        }
    }
}

/// A service stands differently from before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The service's name.
    pub name: String,
    /// Where it stands.
    pub stand: LifecycleStatus,
    /// Since when it is in its phase, milliseconds since the Unix epoch.
    pub since: u64,
}

/// An operator's order.
#[derive(Debug)]
pub struct Command {
    /// What is ordered.
    pub act: Act,
    /// Who commands it, why, and for how long.
    pub note: Metadata,
    /// CommandRequest once it is in force; what keeps the service away all the same.
    pub taken: oneshot::Sender<Vec<Override>>,
}

/// What is ordered.
#[derive(Debug)]
pub enum Act {
    /// Take the service away.
    Disable {
        /// Whether the shutdown command runs.
        shutdown: bool,
        /// CommandRequest when it is safe to stop the service.
        done: oneshot::Sender<Disabled>,
    },
    /// The service is about to be stopped: take it away as a stop does, until it is enabled or this nerve ends.
    Leave {
        /// CommandRequest when it is safe to stop the service.
        done: oneshot::Sender<Disabled>,
    },
    /// Let the checks decide.
    Enable,
    /// Make it available whatever the checks say.
    Force,
    /// Set the full weight, 1 to 255; `None`: the configured one.
    Weight(Option<u8>),
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
    pub stand: LifecycleStatus,
    /// Since when it is in this phase, milliseconds since the Unix epoch.
    pub since: u64,
    /// What is said of it besides its checks.
    pub overrides: Vec<Override>,
    /// Its checks, in the file's order.
    pub checks: Vec<CheckState>,
}

/// One check's word.
#[derive(Debug, Clone)]
pub struct CheckState {
    /// After rise and fall; `None` before the first verdict.
    pub up: Option<bool>,
    /// Its last verdicts, as they were.
    pub history: History,
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
    commands: mpsc::Sender<Command>,
    state: Arc<ArcSwap<ServiceState>>,
}

impl ServiceHandle {
    /// What it published last.
    pub fn state(&self) -> Arc<ServiceState> {
        self.state.load_full()
    }

    /// Gives an order; `false` when the service has stopped.
    pub async fn order(&self, order: Command) -> bool {
        self.commands.send(order).await.is_ok()
    }
}

#[cfg(test)]
mod tests;
