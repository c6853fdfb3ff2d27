//! The session supervisor: one client per ensemble, resumed or rebuilt for ever.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How to reach an ensemble.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnsembleConfig {
    /// `host[:port]`, tried in random order and resolved anew at every attempt; the last may carry a chroot (`/app`).
    pub hosts: Vec<String>,
    /// What the server is asked for; it clamps to 2 to 20 ticks.
    pub session_timeout: Duration,
}

/// The state of the session, for those who wait on it and for `/status`.
#[derive(Debug, Clone)]
pub enum Link {
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
    _private: (),
}

impl Session {
    /// The server's session id.
    pub fn id(&self) -> i64 {
        todo!()
    }
    /// Counts the clients of this ensemble: +1 for each, resumed or new.
    pub fn epoch(&self) -> u64 {
        todo!()
    }
    /// The timeout the server granted.
    pub fn negotiated_timeout(&self) -> Duration {
        todo!()
    }
}

/// A handle to an ensemble's session.
#[derive(Debug, Clone)]
pub struct Ensemble {
    link: watch::Receiver<Link>,
    name: String,
}

/// The supervisor's task.
#[derive(Debug)]
#[must_use = "nothing connects until the task runs"]
pub struct EnsembleTask {
    _private: (),
}

/// A handle and the task behind it. Nothing is connected before the task runs.
pub fn ensemble(config: EnsembleConfig) -> (Ensemble, EnsembleTask) {
    let _ = config;
    todo!()
}

impl Ensemble {
    /// The hosts, sorted and comma-joined: what identifies the ensemble in logs, metrics and `/status`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The session's state as it changes.
    pub fn link(&self) -> watch::Receiver<Link> {
        self.link.clone()
    }
}

impl EnsembleTask {
    /// Keeps the session until `stop`, then closes it (bounded by 2 s).
    pub async fn run(self, stop: CancellationToken) {
        let _ = stop;
        todo!()
    }
}
