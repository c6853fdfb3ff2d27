//! A service: its handle ([`ServiceHandle`]) for the API and the metrics, and the one task that owns its state.

mod report;
mod task;

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::check::push::Mailbox;
use crate::config::ServiceConfig;
use crate::delivery::ReporterHandle;
use crate::health::history::History;
use crate::lifecycle::Settled;
use crate::lifecycle::machine::LifecycleStatus;
use crate::metrics::Metrics;
use crate::overrides::spool::{Spools, no_spool};
use crate::overrides::{Action, Metadata, Override};
use crate::state_store::StateStore;

pub use task::{ServiceTask, service};

/// The resources that all services share.
#[derive(Debug, Clone)]
pub struct Context {
    /// The counters.
    pub metrics: Metrics,
    /// The state that outlives nerve.
    pub state_store: StateStore,
    /// hacheck's spool.
    pub spool: Spools,
    /// The channel of the services' changes.
    pub changes: broadcast::Sender<Arc<Change>>,
}

impl Context {
    /// The number of changes a client may be behind before it misses some.
    const EVENT_BUFFER: usize = 256;

    /// Returns a context without persistent state and spool.
    pub fn new(metrics: Metrics) -> Self {
        Self {
            metrics,
            state_store: StateStore::in_memory(),
            spool: no_spool(),
            changes: broadcast::Sender::new(Self::EVENT_BUFFER),
        }
    }
}

/// A change of a service's status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The service's name.
    pub name: String,
    /// Its new status.
    pub status: LifecycleStatus,
    /// The start of its phase, milliseconds since the Unix epoch.
    pub since: u64,
}

/// An operator's command.
#[derive(Debug)]
struct Command {
    action: Action,
    metadata: Metadata,
    accepted: oneshot::Sender<Vec<Override>>,
    disabled: oneshot::Sender<Disabled>,
}

/// The end of a disable sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disabled {
    /// It is safe to stop the service.
    Settled(Settled),
    /// The service was enabled meanwhile.
    Cancelled,
}

/// The published state of a service.
#[derive(Debug, Clone)]
pub struct ServiceState {
    /// Its status.
    pub status: LifecycleStatus,
    /// The start of its phase, milliseconds since the Unix epoch.
    pub since: u64,
    /// The overrides in force.
    pub overrides: Vec<Override>,
    /// Its checks, in the file's order.
    pub checks: Vec<CheckResults>,
}

/// The results of one check.
#[derive(Debug, Clone)]
pub struct CheckResults {
    /// After rise and fall; `None` before the first verdict.
    pub up: Option<bool>,
    /// Its last verdicts.
    pub history: History,
}

/// The handle of a service, for the API and the metrics.
#[derive(Debug, Clone)]
pub struct ServiceHandle {
    /// Its configuration.
    pub config: Arc<ServiceConfig>,
    /// Its reporters.
    pub reporters: Vec<ReporterHandle>,
    /// The inputs of its `push` checks.
    pub mailboxes: Vec<Mailbox>,
    commands: mpsc::Sender<Command>,
    state: Arc<ArcSwap<ServiceState>>,
}

impl ServiceHandle {
    /// Returns the last published state.
    pub fn state(&self) -> Arc<ServiceState> {
        self.state.load_full()
    }

    /// Sends a command. The first receiver gets the overrides that keep the service down once the command is in force; the
    /// second, when the action withdraws the service, the end of its disable sequence. Both fail when the service has
    /// stopped.
    pub async fn command(
        &self,
        action: Action,
        metadata: Metadata,
    ) -> (oneshot::Receiver<Vec<Override>>, oneshot::Receiver<Disabled>) {
        let ((accepted, is_accepted), (disabled, is_disabled)) = (oneshot::channel(), oneshot::channel());
        let command = Command {
            action,
            metadata,
            accepted,
            disabled,
        };
        self.commands.send(command).await.ok();
        (is_accepted, is_disabled)
    }
}

#[cfg(test)]
mod tests;
