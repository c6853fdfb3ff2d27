//! One connection of a probe: bytes out, whole replies in, never more than [`CAP`] of them.
//!
//! The protocols' readers are plain functions over the bytes received so far; dropping a connection closes it, so a
//! probe that is late leaves nothing behind.

use std::io;

use common::tls::TlsClient;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::connect::{Connector, Stream};
use super::wire::{CAP, Read};
use crate::health::verdict::{Failure, FailureKind};

pub(super) struct Connection {
    stream: Box<dyn Stream>,
    received: Vec<u8>,
}

impl Connection {
    /// Connects to the first address that accepts; over TLS when there is a client for it.
    pub(super) async fn open(
        (host, port): (&str, u16),
        prefer_ipv4: bool,
        tls: Option<&TlsClient>,
    ) -> Result<Self, Failure> {
        let stream = Connector::to(host, port, prefer_ipv4).plain().await?;
        // Small requests that each wait for their reply.
        stream.set_nodelay(true).map_err(|error| broken(&error))?;
        Ok(Self {
            stream: match tls {
                Some(tls) => Box::new(tls.connect(host, stream).await.map_err(|error| {
                    let what = format!("TLS with {host}: {error}");
                    Failure::new(FailureKind::Connection, what)
                })?),
                None => Box::new(stream),
            },
            received: Vec::new(),
        })
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.stream.write_all(bytes).await.map_err(|error| broken(&error))?;
        self.stream.flush().await.map_err(|error| broken(&error))
    }

    /// Sends and receives.
    pub(super) async fn call<T>(&mut self, request: &[u8], read: impl Fn(&[u8]) -> Read<T>) -> Result<T, Failure> {
        self.send(request).await?;
        self.receive(read).await
    }

    /// The next message.
    pub(super) async fn receive<T>(&mut self, read: impl Fn(&[u8]) -> Read<T>) -> Result<T, Failure> {
        loop {
            match read(&self.received) {
                Ok(Some((message, length))) => {
                    self.received.drain(..length.min(self.received.len()));
                    return Ok(message);
                }
                Ok(None) if self.more().await? => {}
                Ok(None) => {
                    return Err(Failure::new(
                        FailureKind::Connection,
                        "the connection was closed before its answer was whole",
                    ));
                }
                Err(malformed) => return Err(Failure::new(FailureKind::Answer, malformed)),
            }
        }
    }

    /// All that comes until the other side closes, as text.
    pub(super) async fn rest(mut self) -> Result<String, Failure> {
        while self.more().await? {}
        Ok(String::from_utf8_lossy(&self.received).into_owned())
    }

    /// Reads on; `false` when the other side has closed.
    async fn more(&mut self) -> Result<bool, Failure> {
        if self.received.len() >= CAP {
            return Err(Failure::new(
                FailureKind::Answer,
                format!("its answer is longer than {CAP} bytes"),
            ));
        }
        self.received.reserve(1024);
        let length = self
            .stream
            .read_buf(&mut self.received)
            .await
            .map_err(|error| broken(&error))?;
        Ok(length > 0)
    }
}

fn broken(error: &io::Error) -> Failure {
    Failure::new(FailureKind::Connection, error.to_string())
}
