//! How a probe reaches a server: the name resolved anew, a connection of its own, TLS when asked for.

use std::net::SocketAddr;

use common::tls::{TlsClient, TlsOptions};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::Unbuildable;
use crate::config::{CheckConfig, authority};
use crate::health::verdict::{Failure, FailureKind};

/// A connection, plain or not.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// HTTP/1.1, as TLS calls it.
pub(super) const HTTP1: &[&[u8]] = &[b"http/1.1"];
/// HTTP/2, as TLS calls it.
pub(super) const HTTP2: &[&[u8]] = &[b"h2"];

/// A server to connect to.
#[derive(Debug)]
pub(super) struct Dial {
    host: String,
    port: u16,
    prefer_ipv4: bool,
}

impl Dial {
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

    /// The addresses, now; IPv4 first when preferred.
    pub(super) async fn addresses(&self) -> Result<Vec<SocketAddr>, Failure> {
        match tokio::net::lookup_host((self.host.as_str(), self.port)).await {
            Ok(addresses) => {
                let mut addresses: Vec<_> = addresses.collect();
                if self.prefer_ipv4 {
                    addresses.sort_by_key(SocketAddr::is_ipv6);
                }
                Ok(addresses)
            }
            Err(error) => Err(Failure::new(
                FailureKind::Unresolved,
                format!("cannot resolve {}: {error}", self.host),
            )),
        }
    }

    /// A connection to the first address that accepts.
    pub(super) async fn plain(&self) -> Result<TcpStream, Failure> {
        TcpStream::connect(self.addresses().await?.as_slice())
            .await
            .map_err(|error| self.broken("", &error))
    }

    /// A connection, over TLS when there is a client for it.
    pub(super) async fn open(&self, tls: Option<&Tls>) -> Result<Box<dyn Stream>, Failure> {
        let stream = self.plain().await?;
        match tls {
            Some(tls) => tls.over(&self.host, stream).await,
            None => Ok(Box::new(stream)),
        }
    }

    fn broken(&self, what: &str, error: &std::io::Error) -> Failure {
        let authority = authority(&self.host, self.port);
        Failure::new(FailureKind::Connection, format!("{what}{authority}: {error}"))
    }
}

/// TLS as a check wants it.
#[derive(Debug)]
pub(super) struct Tls {
    client: TlsClient,
    alpn: &'static [&'static [u8]],
}

impl Tls {
    /// Reads the files that the options name. `alpn` is what must be spoken, when the protocol has a name for TLS.
    pub(super) fn new(options: &TlsOptions, alpn: &'static [&'static [u8]]) -> Result<Self, Unbuildable> {
        let client = TlsClient::new(options.clone(), alpn)?;
        Ok(Self { client, alpn })
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
