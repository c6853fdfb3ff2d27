//! One ephemeral node, kept equal to what its owner wants.

use bytes::Bytes;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::session::Ensemble;

/// What is known of the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistrationState {
    /// It should be there and is not known to be: why.
    Pending(String),
    /// It is there, ours, with the wanted bytes: read back, not assumed.
    Registered {
        /// The transaction that created it.
        czxid: i64,
        /// The owning session.
        session: i64,
    },
    /// It should not be there, and the server said it is not.
    Withdrawn,
    /// It should not be there, and is not known to be gone: why.
    Withdrawing(String),
}

/// Steers and reads a registration.
#[derive(Debug)]
pub struct Registration {
    wanted: watch::Sender<Option<Bytes>>,
    state: watch::Receiver<RegistrationState>,
    path: String,
}

/// The registration's task.
#[derive(Debug)]
#[must_use = "nothing is registered until the task runs"]
pub struct RegistrationTask {
    _private: (),
}

/// A registration of the node `path` (absolute, below the chroot; its parents are created as needed, with an open ACL).
/// `path` is fixed per instance: a node left there by an earlier session is replaced in one transaction.
/// Nothing is wanted at first: the node of a predecessor stays until the first [`Registration::want`].
pub fn registration(ensemble: &Ensemble, path: String) -> (Registration, RegistrationTask) {
    let _ = (ensemble, path);
    todo!()
}

impl Registration {
    /// The node should hold these bytes (`Some`), or not be there (`None`). Idempotent; the latest wins.
    pub fn want(&self, content: Option<Bytes>) {
        self.wanted.send_replace(content);
    }

    /// What is known of the node, as it changes.
    pub fn state(&self) -> watch::Receiver<RegistrationState> {
        self.state.clone()
    }

    /// The node's path.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl RegistrationTask {
    /// Keeps the node until `stop`; then makes one bounded effort to bring the last wish about (a wish of `None` that
    /// the server has not confirmed yet) and ends. A node that is wanted at `stop` is left to the session's end.
    pub async fn run(self, stop: CancellationToken) {
        let _ = stop;
        todo!()
    }
}
