//! Something for a check to look at, in this process: a port that answers HTTP, and is closed while the target is down.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::ports::free_port;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nwell";

/// A port of 127.0.0.1; it is closed when dropped.
#[derive(Debug)]
pub struct Target {
    port: u16,
    up: watch::Sender<bool>,
    _server: JoinSet<()>,
}

impl Target {
    /// A target that is up.
    pub fn start() -> Self {
        let port = free_port();
        let up = watch::Sender::new(true);
        let server = JoinSet::from_iter([serve(port, up.subscribe())]);
        Self {
            port,
            up,
            _server: server,
        }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Opens or closes it.
    pub fn set(&self, up: bool) {
        self.up.send_replace(up);
    }
}

async fn serve(port: u16, mut up: watch::Receiver<bool>) {
    while up.wait_for(|up| *up).await.is_ok() {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let mut answers = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                    answers.spawn(timeout(Duration::from_secs(5), answer(stream)));
                },
                Some(_) = answers.join_next() => {}
                down = up.wait_for(|up| !*up) => match down {
                    Ok(_) => break,
                    Err(_) => return,
                },
            }
        }
    }
}

/// Answers a request; a connection without one is closed by its client.
async fn answer(mut stream: TcpStream) {
    let mut request = [0; 1024];
    if stream.read(&mut request).await.is_ok_and(|length| length > 0) {
        stream.write_all(ANSWER).await.ok();
    }
}
