//! The instances behind HAProxy, and how they are registered.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use synapse::desired::Server;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// An instance: an HTTP server that keeps connections and answers with its name, to `/health` by how it feels.
pub(crate) struct Backend {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    well: Arc<AtomicBool>,
    _task: JoinSet<()>,
}

impl Backend {
    pub(crate) async fn start(name: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let body = name.to_owned();
        let well = Arc::new(AtomicBool::new(true));
        let feels = Arc::clone(&well);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(answer(stream, body.clone(), Arc::clone(&feels)));
            }
        });
        Self {
            name: name.into(),
            address,
            well,
            _task: task,
        }
    }

    /// Whether its check passes from now on; it answers requests all the same.
    pub(crate) fn feel(&self, well: bool) {
        self.well.store(well, Ordering::Relaxed);
    }
}

async fn answer(mut stream: TcpStream, body: String, well: Arc<AtomicBool>) {
    let mut seen = Vec::new();
    while stream.read_buf(&mut seen).await.is_ok_and(|read| read > 0) {
        if seen.ends_with(b"\r\n\r\n") {
            let is_sick = seen.starts_with(b"GET /health ") && !well.load(Ordering::Relaxed);
            let status = if is_sick { "500 Sick" } else { "200 OK" };
            seen.clear();
            let reply = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            if stream.write_all(reply.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

/// Its registration.
pub(crate) fn server(backend: &Backend) -> Server {
    server_at(&backend.name, &backend.address.to_string())
}

pub(crate) fn server_at(name: &str, address: &str) -> Server {
    Server {
        node: format!("{name}_c_0000000001").into(),
        name: name.into(),
        address: address.parse().unwrap(),
        weight: None,
        options: String::new(),
        labels: BTreeMap::new(),
        created: 1,
        backup: false,
    }
}
