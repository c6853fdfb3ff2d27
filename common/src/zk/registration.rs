//! One node, kept equal to what its owner wants.
//!
//! [`Registration`] is the handle; [`RegistrationTask`] observes the node, decides what to do about it, does it and
//! believes nothing but the server's own word. See [`RegistrationTask::run`] for what happens at the end.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::node::NodeConfig;
use super::reconciler::RegistrationReconciler;
use super::session::Ensemble;

/// How long the end of the task is held up by a desired that the server has not confirmed.
const LAST_EFFORT: Duration = Duration::from_secs(2);

/// What is known of the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistrationState {
    /// It should be there and is not known to be: why.
    Pending(String),
    /// It is there, ours, with the wanted bytes: read back, not assumed.
    Registered {
        /// The transaction that created it.
        czxid: i64,
        /// The session through which it is kept: an ephemeral node's owner.
        session: i64,
    },
    /// It should not be there, and the server said it is not.
    Withdrawn,
    /// It should not be there, and is not known to be gone: why.
    Withdrawing(String),
}

/// What the owner wants of the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Desired {
    /// Nothing was said yet: leave alone what is there.
    Undecided,
    /// It should not be there.
    Absent,
    /// It should hold these bytes.
    Content(Bytes),
}

/// Steers and reads a registration.
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
    keeper: RegistrationReconciler,
}

/// A registration of the node that `config` describes; its parents are created as needed.
/// A node of this instance that an earlier session left is replaced in one transaction.
/// Nothing is wanted at first: the node of a predecessor stays until the first [`Registration::want`].
pub fn registration(ensemble: &Ensemble, config: NodeConfig) -> (Registration, RegistrationTask) {
    let (desired, wishes) = watch::channel(Desired::Undecided);
    let (states, state) = watch::channel(RegistrationState::Pending("nothing was decided yet".to_owned()));
    let path = config.path();
    let config = NodeConfig {
        directory: ensemble.full_path(config.directory),
        ..config
    };
    let keeper = RegistrationReconciler::new(config, ensemble.link(), wishes, states);
    (Registration { desired, state, path }, RegistrationTask { keeper })
}

impl Registration {
    /// The node should hold these bytes (`Some`), or not be there (`None`). Idempotent; the latest wins.
    pub fn want(&self, content: Option<Bytes>) {
        let desired = content.map_or(Desired::Absent, Desired::Content);
        self.desired.send_if_modified(|now| {
            let news = *now != desired;
            *now = desired;
            news
        });
    }

    /// What is known of the node, as it changes.
    pub fn state(&self) -> watch::Receiver<RegistrationState> {
        self.state.clone()
    }

    /// The node's path, without what ZooKeeper or the content add to it.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl RegistrationTask {
    /// Keeps the node until `stop`; then makes one bounded effort to bring the last desired about (a desired of `None` that
    /// the server has not confirmed yet) and ends. A node that is wanted at `stop` is left to the session's end.
    pub async fn run(self, stop: CancellationToken) {
        let mut keeper = self.keeper;
        tokio::select! {
            () = stop.cancelled() => {}
            () = keeper.keep() => stop.cancelled().await,
        }
        if keeper.owes_a_withdrawal() {
            tokio::select! {
                () = keeper.withdraw() => {}
                () = sleep(LAST_EFFORT) => keeper.give_up(),
            }
        }
    }
}
