//! The peers of the checks: one port that answers several protocols by their first bytes, and one for gRPC.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// The beginning of a request, and its answer. `tcp` connects and sends nothing.
const ANSWERS: [(&str, &[u8]); 4] = [
    (
        "GET ",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nwell",
    ),
    ("*1\r\n$4\r\nPING", b"+PONG\r\n"),
    ("version", b"VERSION 1.6.18\r\n"),
    ("ruok", b"imok"),
];

/// A frame with a `HealthCheckResponse` whose status is SERVING.
const SERVING: &[u8] = &[0, 0, 0, 0, 2, 8, 1];

/// No connection of a check lives longer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Two ports of 127.0.0.1, closed when dropped.
#[derive(Debug)]
pub(crate) struct Peers {
    /// Answers HTTP, Redis, memcached and ZooKeeper.
    pub(crate) words: u16,
    /// Answers gRPC.
    pub(crate) grpc: u16,
    _servers: JoinSet<()>,
}

impl Peers {
    pub(crate) async fn start() -> Self {
        let mut servers = JoinSet::new();
        Self {
            words: serve(&mut servers, answer).await,
            grpc: serve(&mut servers, healthy).await,
            _servers: servers,
        }
    }
}

/// Lets `serve` have every connection; returns the port.
async fn serve<F, Fut>(servers: &mut JoinSet<()>, serve: F) -> u16
where
    F: Fn(TcpStream) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    servers.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                    connections.spawn(timeout(TIMEOUT, serve(stream)));
                },
                Some(_) = connections.join_next() => {}
            }
        }
    });
    port
}

async fn answer(mut stream: TcpStream) {
    let mut request = [0; 1024];
    let Ok(length) = stream.read(&mut request).await else {
        return;
    };
    let request = String::from_utf8_lossy(request.get(..length).unwrap_or_default());
    let known = ANSWERS.iter().find(|(start, _)| request.starts_with(start));
    if let Some((_, answer)) = known {
        stream.write_all(answer).await.ok();
    }
}

/// A health server whose every service serves.
async fn healthy(stream: TcpStream) {
    let Ok(mut connection) = h2::server::handshake(stream).await else {
        return;
    };
    while let Some(Ok((_, mut respond))) = connection.accept().await {
        let ok = HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))]);
        if let Ok(mut body) = respond.send_response(Response::new(()), false) {
            body.send_data(Bytes::from_static(SERVING), false).ok();
            body.send_trailers(ok).ok();
        }
    }
}
