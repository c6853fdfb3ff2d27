//! One node, kept equal to its desired content.
//!
//! [`Registration`] is the handle; [`RegistrationTask`] observes the node, plans, writes, and reports only what the server
//! has confirmed. [`RegistrationTask::run`] describes the end.
//!
//! ```no_run
//! use common::zk::{node::NodeConfig, registration::registration, session::Ensemble};
//! use tokio_util::sync::CancellationToken;
//!
//! # fn start(ensemble: &Ensemble) {
//! let node = NodeConfig::ephemeral("/services/web/i-1");
//! let (handle, task) = registration(ensemble, node);
//! tokio::spawn(task.run(CancellationToken::new()));
//! handle.want(Some("{}".into()));
//! # }
//! ```

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::node::NodeConfig;
use super::reconciler::RegistrationReconciler;
use super::registration_state::Desired;
pub use super::registration_state::RegistrationState;
use super::session::Ensemble;

/// Greatest delay of the task's end by an unconfirmed withdrawal.
const WITHDRAW_TIMEOUT: Duration = Duration::from_secs(2);

/// Handle of a registration.
#[derive(Debug)]
pub struct Registration {
    desired: watch::Sender<Desired>,
    state: watch::Receiver<RegistrationState>,
    path: String,
}

/// The registration's task.
#[derive(Debug)]
#[must_use = "nothing is registered until the task runs"]
pub struct RegistrationTask {
    reconciler: RegistrationReconciler,
}

/// Returns a registration of the node that `config` describes; its parents are created as needed.
/// A node of this instance from an earlier session is replaced in one transaction.
/// The node of a predecessor stays until the first [`Registration::want`].
pub fn registration(ensemble: &Ensemble, config: NodeConfig) -> (Registration, RegistrationTask) {
    let (desired, changes) = watch::channel(Desired::Undecided);
    let (states, state) = watch::channel(RegistrationState::Pending("nothing was decided yet".to_owned()));
    let path = config.path();
    let config = NodeConfig {
        directory: ensemble.full_path(config.directory),
        ..config
    };
    let reconciler = RegistrationReconciler::new(config, ensemble.link(), changes, states);
    (Registration { desired, state, path }, RegistrationTask { reconciler })
}

impl Registration {
    /// Sets the desired content; `None` withdraws the node. Idempotent; the latest call wins.
    pub fn want(&self, content: Option<Bytes>) {
        let desired = content.map_or(Desired::Absent, Desired::Content);
        self.desired.send_if_modified(|now| {
            let news = *now != desired;
            *now = desired;
            news
        });
    }

    /// Returns the observed state of the node.
    pub fn state(&self) -> watch::Receiver<RegistrationState> {
        self.state.clone()
    }

    /// Returns the node's path, without the parts that ZooKeeper or the content add.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl RegistrationTask {
    /// Reconciles until `stop`, then makes one bounded effort to complete an unconfirmed withdrawal. A node that is desired
    /// at `stop` is removed with its session.
    pub async fn run(self, stop: CancellationToken) {
        let mut reconciler = self.reconciler;
        tokio::select! {
            () = stop.cancelled() => {}
            () = reconciler.run() => stop.cancelled().await,
        }
        if reconciler.must_withdraw() {
            tokio::select! {
                () = reconciler.withdraw() => {}
                () = sleep(WITHDRAW_TIMEOUT) => reconciler.give_up(),
            }
        }
    }
}
