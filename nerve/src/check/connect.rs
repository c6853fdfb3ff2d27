//! How a probe reaches a server: the name resolved again, a connection of its own, TLS if configured.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use common::runtime::BLOCKING_THREADS;
use common::tls::{ClientConfig, TlsClient, TlsOptions};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::BuildError;
use crate::config::{CheckConfig, authority};
use crate::health::verdict::{Failure, FailureKind};

/// A connection, plain or not.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// HTTP/1.1, as TLS calls it.
pub(super) const HTTP1: &[&[u8]] = &[b"http/1.1"];
/// HTTP/2, as TLS calls it.
pub(super) const HTTP2: &[&[u8]] = &[b"h2"];

/// How many names are resolved at a time, by all checks together.
static LOOK_UPS: Semaphore = Semaphore::const_new(BLOCKING_THREADS / 2);

/// A server to connect to.
#[derive(Debug)]
pub(super) struct Connector {
    host: String,
    port: u16,
    prefer_ipv4: bool,
}

impl Connector {
    /// The check's own host and port.
    pub(super) fn of(config: &CheckConfig) -> Self {
        Self::to(&config.host, config.port, config.prefer_ipv4)
    }

    pub(super) fn to(host: &str, port: u16, prefer_ipv4: bool) -> Self {
        Self {
            host: host.to_owned(),
            port,
            prefer_ipv4,
        }
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// The host and the port, as they are shown.
    pub(super) fn authority(&self) -> String {
        authority(&self.host, self.port)
    }

    /// The addresses, now; IPv4 first when preferred.
    pub(super) async fn addresses(&self) -> Result<Vec<SocketAddr>, Failure> {
        let found = match self.host.parse::<IpAddr>() {
            Ok(ip) => Ok(vec![SocketAddr::new(ip, self.port)]),
            Err(_) => look_up(self.host.clone(), self.port).await,
        };
        let mut addresses = found.map_err(|error| {
            let what = format!("cannot resolve {}: {error}", self.host);
            Failure::new(FailureKind::Unresolved, what)
        })?;
        if self.prefer_ipv4 {
            addresses.sort_by_key(SocketAddr::is_ipv6);
        }
        Ok(addresses)
    }

    /// A connection to the first address that accepts.
    pub(super) async fn plain(&self) -> Result<TcpStream, Failure> {
        TcpStream::connect(self.addresses().await?.as_slice())
            .await
            .map_err(|error| Failure::new(FailureKind::Connection, format!("{}: {error}", self.authority())))
    }

    /// A connection, over TLS when there is a client for it.
    pub(super) async fn open(&self, tls: Option<&Tls>) -> Result<Box<dyn Stream>, Failure> {
        let stream = self.plain().await?;
        match tls {
            Some(tls) => tls.over(&self.host, stream).await,
            None => Ok(Box::new(stream)),
        }
    }
}

/// Queries the system's resolver. Its thread can't be cancelled, so it keeps its place among all look-ups until it ends,
/// even when the probe is over: a dead name server takes no thread that files need.
async fn look_up(host: String, port: u16) -> std::io::Result<Vec<SocketAddr>> {
    let place = LOOK_UPS.acquire().await.map_err(std::io::Error::other)?;
    spawn_blocking(move || {
        let _place = place;
        (host.as_str(), port).to_socket_addrs().map(Iterator::collect)
    })
    .await?
}

/// TLS as a check wants it.
#[derive(Debug)]
pub(super) struct Tls {
    client: TlsClient,
    alpn: &'static [&'static [u8]],
}

impl Tls {
    /// Reads the files that the options name. `alpn` is what must be spoken, when the protocol has a name for TLS.
    pub(super) fn new(options: &TlsOptions, alpn: &'static [&'static [u8]]) -> Result<Self, BuildError> {
        let client = TlsClient::new(options.clone(), alpn)?;
        Ok(Self { client, alpn })
    }

    /// As it is now: its files may have been replaced.
    pub(super) fn config(&self) -> Arc<ClientConfig> {
        self.client.config()
    }

    /// The name that the certificate of `host` must have.
    pub(super) fn name<'a>(&'a self, host: &'a str) -> &'a str {
        self.client.name(host)
    }

    /// The handshake with `host` over a connection to it.
    pub(super) async fn over<S: Stream + 'static>(&self, host: &str, stream: S) -> Result<Box<dyn Stream>, Failure> {
        let stream = self
            .client
            .connect(host, stream)
            .await
            .map_err(|error| Failure::new(FailureKind::Connection, format!("TLS with {host}: {error}")))?;
        let spoken = stream.get_ref().1.alpn_protocol();
        if self.alpn == HTTP2 && spoken != HTTP2.first().copied() {
            let what = format!("TLS with {host}: the server does not offer HTTP/2");
            return Err(Failure::new(FailureKind::Connection, what));
        }
        Ok(Box::new(stream))
    }
}
