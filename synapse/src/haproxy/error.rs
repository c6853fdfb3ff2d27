//! Failures on the way from a candidate to a HAProxy that runs it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use common::file::FileError;
use common::process::SpawnError;

/// Why HAProxy could not be reloaded or started. The text is for the operator.
#[derive(Debug, thiserror::Error)]
pub enum HaproxyError {
    /// The master's command socket failed.
    #[error("the HAProxy master does not answer: {0}")]
    Master(#[source] io::Error),
    /// The master is to be started elsewhere, and was not.
    #[error("no HAProxy master answers; is there a `synapse haproxy` that runs one? ({0})")]
    NoMaster(#[source] io::Error),
    /// The master kept the old file.
    #[error("HAProxy did not load the new file: {0}")]
    NotLoaded(String),
    /// The master was stopped or crashed during its start.
    #[error("HAProxy ended as soon as it was started ({0}); see its own log")]
    Ended(String),
    /// No worker with the new file appeared.
    #[error("no HAProxy with the new file answers within {limit:?}: {last}")]
    Timeout {
        /// The time limit.
        limit: Duration,
        /// The result of the last attempt.
        last: String,
    },
    /// `haproxy -c` refuses lines that belong to no service.
    #[error("HAProxy refuses the file outside of any service, so nothing was changed: {0}")]
    Refused(String),
    /// An address outside of any service can't be bound.
    #[error("an extra section can't listen on {address}: {reason}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why not.
        reason: String,
    },
    /// A program failed: `haproxy -c`, or a command of the operator.
    #[error("`{command}` failed ({how}): {output}")]
    Program {
        /// The command line.
        command: String,
        /// How it ended.
        how: String,
        /// Its output.
        output: String,
    },
    /// A program could not be run.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// A file could not be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The reload was given up.
    #[error("{0}")]
    Aborted(&'static str),
}
