//! The accept loop.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Handler;

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// A TCP address; port 0 takes a free one.
    Tcp(SocketAddr),
    /// A Unix socket, mode 0600; a dead one left behind by a crash is replaced, a live one is an error.
    Unix(PathBuf),
}

/// The address could not be taken.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {listen}: {source}")]
pub struct BindError {
    /// The address, as the operator wrote it.
    pub listen: String,
    /// The system's word.
    pub source: std::io::Error,
}

/// A listening socket that does not serve yet, so that conflicts show before anything half-runs.
#[derive(Debug)]
pub struct Bound {
    _private: (),
}

/// Takes the address.
pub async fn bind(listen: &Listen) -> Result<Bound, BindError> {
    let _ = listen;
    todo!()
}

impl Bound {
    /// The address with its real port: `127.0.0.1:3454` or the socket's path.
    pub fn address(&self) -> String {
        todo!()
    }

    /// Serves until `stop`, then lets requests in flight end within `drain`.
    pub async fn serve(self, handler: Handler, drain: Duration, stop: CancellationToken) {
        let _ = (handler, drain, stop);
        todo!()
    }
}
