//! The accept loop.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, debug, warn};

use super::Handler;
use super::access::Peer;
use super::connection::{self, Limits, Stream};
use super::unix::{self, SocketFile};

/// Greatest number of concurrent connections; further ones wait in the kernel's queue. None is idle for longer than the
/// header timeout, so the wait is short.
const MAX_CONNECTIONS: usize = 64;

/// Delay after a failed accept, which is mostly a lack of file descriptors.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_secs(1);

/// A listen address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// A TCP address; port 0 takes a free one.
    Tcp(SocketAddr),
    /// A Unix socket, mode 0600; one left behind by a crash is replaced, a live one is an error.
    Unix(PathBuf),
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// The address could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {listen}: {source}")]
pub struct BindError {
    /// The address, as the operator wrote it.
    pub listen: String,
    /// The cause.
    pub source: std::io::Error,
}

/// A listening socket that does not serve yet, so that conflicts are found before the daemon starts.
#[derive(Debug)]
pub struct Bound {
    listener: Listener,
    address: String,
}

#[derive(Debug)]
enum Listener {
    Tcp(TcpListener),
    /// The file is removed with the listener.
    Unix(
        UnixListener,
        #[expect(dead_code, reason = "held for its drop")] SocketFile,
    ),
}

/// Binds the address.
pub async fn bind(listen: &Listen) -> Result<Bound, BindError> {
    let bound = match listen {
        Listen::Tcp(address) => TcpListener::bind(address).await.and_then(|listener| {
            let address = listener.local_addr()?.to_string();
            Ok((Listener::Tcp(listener), address))
        }),
        Listen::Unix(path) => {
            let bound = unix::bind(path).await;
            bound.map(|(listener, file)| (Listener::Unix(listener, file), listen.to_string()))
        }
    };
    let (listener, address) = bound.map_err(|source| BindError {
        listen: listen.to_string(),
        source,
    })?;
    Ok(Bound { listener, address })
}

impl Bound {
    /// Returns the address with its actual port: `127.0.0.1:3454` or the socket's path.
    pub fn address(&self) -> String {
        self.address.clone()
    }

    /// Serves until `stop`, then lets requests in flight end within `drain`.
    pub async fn serve(self, handler: Handler, drain: Duration, stop: CancellationToken) {
        self.serve_within(Limits::default(), handler, drain, stop).await;
    }

    pub(super) async fn serve_within(self, limits: Limits, handler: Handler, drain: Duration, stop: CancellationToken) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(ended) = connections.join_next() => log_panic(ended),
                accepted = self.listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                    Ok((stream, peer)) => {
                        let served = connection::serve(stream, peer, limits, Arc::clone(&handler), stop.clone());
                        connections.spawn(served.instrument(Span::current()));
                    }
                    Err(error) => {
                        warn!(address = self.address, %error, "The API cannot accept a connection.");
                        stop.run_until_cancelled(sleep(ACCEPT_RETRY_DELAY)).await;
                    }
                }
            }
        }
        // New connections are refused from here on.
        drop(self.listener);
        let drained = timeout(drain, async {
            while let Some(ended) = connections.join_next().await {
                log_panic(ended);
            }
        });
        // The remaining ones are dropped with the set.
        if drained.await.is_err() {
            warn!(
                address = self.address,
                connections = connections.len(),
                "The API stops with requests still in flight."
            );
        }
    }
}

impl Listener {
    async fn accept(&self) -> std::io::Result<(Box<dyn Stream>, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, from) = listener.accept().await?;
                // Replies are written at once, so coalescing only delays them. A failure is harmless.
                stream.set_nodelay(true).ok();
                let peer = Peer::at(from.ip());
                Ok((Box::new(stream), peer))
            }
            Self::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                Ok((Box::new(stream), Peer::Unix))
            }
        }
    }
}

/// Logs a panic of a connection, which does not affect others.
fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        debug!(%error, "An API connection broke.");
    }
}
