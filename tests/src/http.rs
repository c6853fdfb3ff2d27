//! Two ways to ask over HTTP/1.1. [`Connection`] hides nothing, for the load: one connection, no retries, no redirects.
//! [`send`] is for the APIs of the daemons and instances.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The body, as text.
    pub body: String,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The connection was not accepted.
    #[error("connect: {0}")]
    Connect(#[from] std::io::Error),
    /// The connection ended, or spoke something else than HTTP, before the answer was complete.
    #[error("connection lost: {0}")]
    Lost(#[from] hyper::Error),
    /// The deadline passed.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// [`send`] got no whole answer in time.
    #[error("{}", chain(.0))]
    Unanswered(#[from] reqwest::Error),
}

/// The error with its causes, which reqwest leaves to the caller.
fn chain(error: &reqwest::Error) -> String {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// A connection to a port of 127.0.0.1, closed when dropped.
#[derive(Debug)]
pub struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    _driver: JoinSet<Result<(), hyper::Error>>,
}

impl Connection {
    /// Connects.
    pub async fn open(port: u16) -> Result<Self, Failure> {
        Self::open_at((Ipv4Addr::LOCALHOST, port).into()).await
    }

    /// Connects to another address of loopback.
    pub async fn open_at(address: SocketAddr) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, driver) = handshake(TokioIo::new(stream)).await?;
        Ok(Self {
            sender,
            _driver: JoinSet::from_iter([driver]),
        })
    }

    /// Sends one request and reads its whole answer.
    pub async fn send(&mut self, method: &str, path: &str) -> Result<Reply, Failure> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "127.0.0.1")
            .body(Empty::new())
            .expect("method and path are written in this crate");
        let response = self.sender.send_request(request).await?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await?.to_bytes();
        Ok(Reply {
            status,
            body: String::from_utf8_lossy(&body).into_owned(),
        })
    }

    /// Whether another request can be sent: waits until the previous one is done with, and is false once the server
    /// has closed the connection.
    pub async fn reusable(&mut self) -> bool {
        self.sender.ready().await.is_ok()
    }
}

/// One request on a connection of its own, to a port of 127.0.0.1.
pub async fn send(method: &str, port: u16, path: &str, within: Duration) -> Result<Reply, Failure> {
    send_to(method, (Ipv4Addr::LOCALHOST, port).into(), path, within).await
}

/// The same, to another address of loopback.
pub async fn send_to(method: &str, address: SocketAddr, path: &str, within: Duration) -> Result<Reply, Failure> {
    let method = reqwest::Method::from_bytes(method.as_bytes()).expect("methods are written in this crate");
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        // The APIs speak no TLS; given one, reqwest reads no roots.
        .tls_backend_preconfigured((*common::tls::untrusting()).clone())
        .pool_max_idle_per_host(0)
        .timeout(within)
        .build()?;
    let response = client.request(method, format!("http://{address}{path}")).send().await?;
    let status = response.status().as_u16();
    let body = response.bytes().await?;
    Ok(Reply {
        status,
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}
