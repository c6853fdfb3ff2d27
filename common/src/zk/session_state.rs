//! The state of a session, and the calls through it.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::time::Instant;
use zookeeper_client::{Client, Error as ClientError, SessionState as ClientState};

use super::error::{CallError, classify};

/// Timeout of a call; a call without a reply by then has an unknown outcome.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Greatest number of concurrent full reads through one session: after a reconnection every reflector starts one, and each
/// request has to be answered within its deadline.
const MAX_FULL_READS: usize = 8;

/// The state of the session, for its users and for `/status`.
#[derive(Debug, Clone)]
pub enum SessionState {
    /// No session yet, or the last one expired.
    Connecting {
        /// Attempts that failed in a row.
        failures: u32,
        /// The last failure, for the operator; empty before the first.
        error: String,
    },
    /// Connected and usable.
    Connected(Session),
    /// The connection is lost since; the session may live on.
    Suspended(Session, Instant),
    /// Closed for good: the daemon stops.
    Closed,
}

/// One live session. Clones keep it open.
#[derive(Debug, Clone)]
pub struct Session {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    client: Client,
    epoch: u64,
    full_read: Semaphore,
    lacks_add_watch: AtomicBool,
}

impl Session {
    pub(super) fn new(client: Client, epoch: u64) -> Self {
        Self {
            shared: Arc::new(Shared {
                client,
                epoch,
                full_read: Semaphore::new(MAX_FULL_READS),
                lacks_add_watch: AtomicBool::new(false),
            }),
        }
    }

    /// The server's session id.
    pub fn id(&self) -> i64 {
        self.shared.client.session_id().0
    }

    /// Counts the clients of this ensemble: +1 for each, resumed or new.
    pub fn epoch(&self) -> u64 {
        self.shared.epoch
    }

    /// The timeout the server granted.
    pub fn negotiated_timeout(&self) -> Duration {
        self.shared.client.session_timeout()
    }

    pub(super) fn is_connected(&self) -> bool {
        self.shared.client.state() == ClientState::SyncConnected
    }

    /// Sends one request and awaits its reply.
    ///
    /// The client sends when its method is called, not when the future is polled, and queues without bound while
    /// disconnected: `request` therefore runs only on a live connection.
    pub(super) async fn call<'a, T, F, Fut>(&'a self, request: F) -> Result<T, CallError>
    where
        F: FnOnce(&'a Client) -> Fut,
        Fut: Future<Output = Result<T, ClientError>>,
    {
        let state = self.shared.client.state();
        if state.is_terminated() {
            return Err(CallError::SessionLost(state.to_string()));
        }
        if state != ClientState::SyncConnected {
            return Err(CallError::NotConnected);
        }
        match tokio::time::timeout(CALL_TIMEOUT, request(&self.shared.client)).await {
            Ok(reply) => reply.map_err(classify),
            Err(_) => Err(CallError::Unknown(format!(
                "no reply within {} s",
                CALL_TIMEOUT.as_secs()
            ))),
        }
    }

    /// Acquires a permit to read a full path; the deadlines of other reads bound the wait.
    pub(super) async fn full_read(&self) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed, so there always is a permit.
        self.shared.full_read.acquire().await.ok()
    }

    /// Returns whether the server has refused persistent watches. Kept per session, because each such request costs the
    /// connection.
    pub(super) fn lacks_add_watch(&self) -> bool {
        self.shared.lacks_add_watch.load(Ordering::Relaxed)
    }

    /// Records that the server refuses persistent watches; false when that was recorded before.
    pub(super) fn note_lack_of_add_watch(&self) -> bool {
        !self.shared.lacks_add_watch.swap(true, Ordering::Relaxed)
    }
}

/// Waits for a usable session; `None` when the ensemble is closed.
pub(super) async fn connected(link: &mut watch::Receiver<SessionState>) -> Option<Session> {
    loop {
        match &*link.borrow_and_update() {
            SessionState::Connected(session) if session.is_connected() => return Some(session.clone()),
            SessionState::Closed => return None,
            // A client that left `Connected` makes the supervisor publish again, so the wait below ends.
            SessionState::Connecting { .. } | SessionState::Connected(_) | SessionState::Suspended(..) => {}
        }
        link.changed().await.ok()?;
    }
}
