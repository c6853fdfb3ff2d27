//! What can go wrong in one call.

/// A call's failure, by what the caller has to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The connection was lost or nothing came back in time: it may have happened or not. Look, then try again.
    #[error("outcome unknown: {0}")]
    Unknown(String),
    /// There is no connection now; nothing was sent.
    #[error("not connected")]
    NotConnected,
    /// This session is over; wait for the next.
    #[error("the session is over: {0}")]
    SessionLost(String),
    /// ZooKeeper's own answer.
    #[error("{0}")]
    Answer(zookeeper_client::Error),
}
