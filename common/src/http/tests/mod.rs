//! The server over real sockets, spoken to in plain bytes.

mod probes;
mod routes;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::connection::Limits;
use super::*;
use crate::ready::Readiness;
use crate::telemetry::log;
use crate::telemetry::metrics::{self, Build};

/// No test waits longer than this for anything.
const TIMEOUT: Duration = Duration::from_secs(20);

struct Server {
    address: String,
    stop: CancellationToken,
    task: JoinSet<()>,
}

impl Server {
    async fn start(listen: Listen, limits: Limits, handler: Handler) -> Self {
        let bound = bind(&listen).await.unwrap();
        let (address, stop) = (bound.address(), CancellationToken::new());
        let mut task = JoinSet::new();
        task.spawn(bound.serve_within(limits, handler, TIMEOUT, stop.clone()));
        Self { address, stop, task }
    }

    /// On a free port, with a handler that returns the request.
    async fn echo() -> Self {
        Self::start(any_port(), Limits::default(), echo()).await
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(&self.address).await.unwrap()
    }

    /// The status and all of the answer to one request on a connection of its own.
    async fn request(&self, request: impl AsRef<[u8]>) -> (u16, String) {
        let mut stream = self.connect().await;
        stream.write_all(request.as_ref()).await.unwrap();
        let answer = head_and(&mut stream, usize::MAX).await;
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer)
    }

    async fn stopped(&mut self) {
        timeout(TIMEOUT, self.task.join_next()).await.unwrap().unwrap().unwrap();
    }
}

fn any_port() -> Listen {
    Listen::Tcp("127.0.0.1:0".parse().unwrap())
}

fn handler<F, Fut>(answer: F) -> Handler
where
    F: Fn(Request) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Reply> + Send + 'static,
{
    Arc::new(move |request| Box::pin(answer(request)))
}

fn echo() -> Handler {
    handler(async |request| {
        let Request {
            method,
            path,
            query,
            body,
            refusal,
        } = request;
        Reply::text(200, format!("{method:?} {path:?} {query:?} {} {refusal:?}", body.len()))
    })
}

/// Reads a head and what follows until there are `body` bytes of it or the connection ends.
async fn head_and(stream: &mut (impl AsyncRead + Unpin), body: usize) -> String {
    let mut answer = Vec::new();
    let complete = async {
        loop {
            let text = String::from_utf8_lossy(&answer);
            if let Some((_, got)) = text.split_once("\r\n\r\n")
                && got.len() >= body
            {
                break;
            }
            // An end or a reset after the answer are the same to us.
            if !matches!(stream.read_buf(&mut answer).await, Ok(1..)) {
                break;
            }
        }
    };
    timeout(TIMEOUT, complete).await.unwrap();
    String::from_utf8(answer).unwrap()
}

/// Whether the server ends the connection within the tests' patience.
async fn is_cut(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> bool {
    let mut rest = Vec::new();
    timeout(TIMEOUT, stream.read_to_end(&mut rest)).await.is_ok()
}

const CLOSE: &str = "Connection: close\r\n\r\n";

/// Waits until the server has let go of the connection, which takes nothing from it.
async fn is_let_go(stream: &mut (impl AsyncWrite + Unpin)) {
    let written = async {
        while stream.write_all(b"\r\n").await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(TIMEOUT, written).await.unwrap();
}

#[tokio::test]
async fn requests_come_decoded_and_replies_go_out_whole() {
    let server = Server::echo().await;
    let put = format!("PUT //services/a%20b?force=yes HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n{CLOSE}abc");
    let (status, answer) = server.request(put).await;
    assert_eq!(status, 200);
    assert!(
        answer.contains("content-type: text/plain; charset=utf-8\r\n"),
        "{answer}"
    );
    assert!(
        answer.ends_with("\r\n\r\nPut [\"services\", \"a b\"] {\"force\": \"yes\"} 3 None"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_connection_carries_several_requests() {
    let server = Server::echo().await;
    let mut stream = server.connect().await;
    for path in ["one", "two"] {
        let get = format!("GET /{path} HTTP/1.1\r\n\r\n");
        stream.write_all(get.as_bytes()).await.unwrap();
        let expected = format!("Get [\"{path}\"] {{}} 0 None");
        let answer = head_and(&mut stream, expected.len()).await;
        assert!(answer.ends_with(&expected), "{answer}");
    }
}

#[tokio::test]
async fn head_is_get_without_its_body() {
    let server = Server::echo().await;
    let (_, get) = server.request(format!("GET /x HTTP/1.1\r\n{CLOSE}")).await;
    let (status, head) = server.request(format!("HEAD /x HTTP/1.1\r\n{CLOSE}")).await;
    assert_eq!(status, 200);
    let (head_of_get, body) = get.split_once("\r\n\r\n").unwrap();
    assert!(
        head_of_get.contains(&format!("content-length: {}\r\n", body.len())),
        "{get}"
    );
    let length = |text: &str| {
        text.lines()
            .find(|line| line.starts_with("content-length"))
            .map(str::to_owned)
    };
    assert_eq!(length(&head), length(&get));
    assert!(head.ends_with("\r\n\r\n"), "{head}");
}

#[tokio::test]
async fn unknown_methods_are_405_and_bad_encodings_400() {
    let server = Server::echo().await;
    let (status, answer) = server.request(format!("BREW /x HTTP/1.1\r\n{CLOSE}")).await;
    assert_eq!(status, 405);
    assert!(answer.contains("allow: GET, HEAD, PUT, POST, DELETE\r\n"), "{answer}");
    assert_eq!(server.request(format!("GET /%zz HTTP/1.1\r\n{CLOSE}")).await.0, 400);
    assert_eq!(server.request(format!("GET /?%ff HTTP/1.1\r\n{CLOSE}")).await.0, 400);
    assert_eq!(server.request("no http at all\r\n\r\n").await.0, 400);
}

#[tokio::test]
async fn a_body_has_its_limits() {
    let server = Server::echo().await;
    let announced = format!("PUT / HTTP/1.1\r\nContent-Length: 65537\r\n{CLOSE}");
    assert_eq!(server.request(announced).await.0, 413);
    let chunks = format!(
        "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n{CLOSE}11000\r\n{}\r\n0\r\n\r\n",
        "x".repeat(0x11000)
    );
    assert_eq!(server.request(chunks).await.0, 413);
    let just = format!(
        "PUT / HTTP/1.1\r\nContent-Length: 65536\r\n{CLOSE}{}",
        "x".repeat(65536)
    );
    let (status, answer) = server.request(just).await;
    assert_eq!(status, 200);
    assert!(answer.ends_with("65536 None"), "{answer}");
}

#[tokio::test]
async fn changes_are_refused_to_web_pages() {
    let server = Server::echo().await;
    for method in ["PUT", "POST", "DELETE"] {
        let with = |header: &str| format!("{method} /x HTTP/1.1\r\n{header}\r\n{CLOSE}");
        assert_eq!(server.request(with("Host: evil.example:3454")).await.0, 421);
        assert_eq!(server.request(with("Origin: http://localhost")).await.0, 403);
        assert_eq!(server.request(with("Host: localhost:3454")).await.0, 200);
    }
    let get = format!("GET /x HTTP/1.1\r\nHost: nerve.example\r\nOrigin: http://evil.example\r\n{CLOSE}");
    let (status, answer) = server.request(get).await;
    assert_eq!(status, 200);
    assert!(
        answer.ends_with("Some(Origin)"),
        "a handler receives the refusal: {answer}"
    );
}

#[tokio::test]
async fn a_peer_that_dawdles_is_cut() {
    let short = Duration::from_millis(100);
    let limits = Limits {
        head: short,
        body: short,
        reply: short,
    };
    let server = Server::start(any_port(), limits, echo()).await;

    let mut half_a_head = server.connect().await;
    half_a_head.write_all(b"GET / HT").await.unwrap();
    assert!(is_cut(&mut half_a_head).await);

    let mut idle_after_a_reply = server.connect().await;
    idle_after_a_reply.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert!(is_cut(&mut idle_after_a_reply).await);

    let half_a_body = format!("PUT / HTTP/1.1\r\nContent-Length: 9\r\n{CLOSE}half");
    assert_eq!(server.request(half_a_body).await.0, 408);
}

#[tokio::test]
async fn a_peer_that_takes_no_reply_is_cut() {
    let limits = Limits {
        reply: Duration::from_millis(100),
        ..Limits::default()
    };
    // More than the sockets' buffers hold.
    let server = Server::start(
        any_port(),
        limits,
        handler(async |_| Reply::text(200, "x".repeat(64 << 20))),
    )
    .await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    is_let_go(&mut stream).await;
}

#[tokio::test]
async fn a_handler_may_take_longer_than_any_peer() {
    let limits = Limits {
        reply: Duration::from_millis(50),
        ..Limits::default()
    };
    let slow = handler(move |request| async move {
        if request.path == ["slow"] {
            tokio::time::sleep(5 * limits.reply).await;
        }
        Reply::text(200, request.path.concat())
    });
    let server = Server::start(any_port(), limits, slow).await;
    let two = format!("GET /quick HTTP/1.1\r\n\r\nGET /slow HTTP/1.1\r\n{CLOSE}");
    let (_, answers) = server.request(two).await;
    assert!(answers.contains("quick") && answers.ends_with("slow"), "{answers}");
}

#[tokio::test]
async fn a_handler_that_panics_is_a_500_and_no_more() {
    let server = Server::start(
        any_port(),
        Limits::default(),
        handler(async |request| {
            assert!(request.path.is_empty(), "a request for more than the root");
            Reply::text(200, "root")
        }),
    )
    .await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET /boom HTTP/1.1\r\n\r\n").await.unwrap();
    let answer = head_and(&mut stream, 1).await;
    assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
    assert_eq!(server.request(format!("GET / HTTP/1.1\r\n{CLOSE}")).await.0, 200);
}

#[tokio::test]
async fn a_stop_lets_the_request_in_flight_end() {
    let (asked, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (in_handler, wait) = (Arc::clone(&asked), Arc::clone(&go));
    let slow = handler(move |_| {
        let (asked, go) = (Arc::clone(&in_handler), Arc::clone(&wait));
        async move {
            asked.notify_one();
            go.notified().await;
            Reply::text(200, "at last")
        }
    });
    // No timeout ends what the stop should end.
    let limits = Limits {
        head: 10 * TIMEOUT,
        ..Limits::default()
    };
    let mut server = Server::start(any_port(), limits, slow).await;
    let mut idle = server.connect().await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    asked.notified().await;
    server.stop.cancel();
    // The idle connection is closed first; by then the server does not listen any more.
    assert!(is_cut(&mut idle).await);
    assert!(TcpStream::connect(&server.address).await.is_err());
    go.notify_one();
    assert!(head_and(&mut stream, 7).await.ends_with("at last"));
    server.stopped().await;
}

/// Sends `line` once, then at each notification of `again`.
fn ticker(again: &Arc<Notify>) -> Handler {
    let again = Arc::clone(again);
    handler(move |_| {
        let again = Arc::clone(&again);
        async move {
            let feed = async move |sender: tokio::sync::mpsc::Sender<bytes::Bytes>| {
                while sender.send("line\n".into()).await.is_ok() {
                    again.notified().await;
                }
            };
            Reply::stream("text/event-stream", Stream::new(feed))
        }
    })
}

#[tokio::test]
async fn a_stream_is_sent_as_it_comes_and_ends_with_the_server() {
    let again = Arc::new(Notify::new());
    let mut server = Server::start(any_port(), Limits::default(), ticker(&again)).await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let answer = head_and(&mut stream, 10).await;
    assert!(answer.contains("transfer-encoding: chunked"), "{answer}");
    assert!(answer.ends_with("5\r\nline\n\r\n"), "{answer}");
    again.notify_one();
    let mut more = [0; 10];
    timeout(TIMEOUT, stream.read_exact(&mut more)).await.unwrap().unwrap();
    assert_eq!(&more, b"5\r\nline\n\r\n");
    server.stop.cancel();
    let mut rest = String::new();
    timeout(TIMEOUT, stream.read_to_string(&mut rest))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(rest, "0\r\n\r\n");
    server.stopped().await;
}

#[tokio::test]
async fn a_stream_ends_when_its_feed_does() {
    let feed = async |sender: tokio::sync::mpsc::Sender<bytes::Bytes>| {
        for chunk in ["a", "b"] {
            sender.send(chunk.into()).await.unwrap();
        }
    };
    let two = handler(move |_| async move { Reply::stream("text/plain", Stream::new(feed)) });
    let server = Server::start(any_port(), Limits::default(), two).await;
    let (_, answer) = server.request(format!("GET / HTTP/1.1\r\n{CLOSE}")).await;
    assert!(answer.ends_with("1\r\na\r\n1\r\nb\r\n0\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn a_quiet_stream_continues_and_an_unread_one_is_cut() {
    let limits = Limits {
        reply: Duration::from_millis(50),
        ..Limits::default()
    };
    let again = Arc::new(Notify::new());
    let server = Server::start(any_port(), limits, ticker(&again)).await;
    let mut quiet = server.connect().await;
    quiet.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    head_and(&mut quiet, 10).await;
    let mut byte = [0];
    assert!(
        timeout(4 * limits.reply, quiet.read(&mut byte)).await.is_err(),
        "it is not cut"
    );

    let flood = handler(async |_| {
        let feed = async |sender: tokio::sync::mpsc::Sender<bytes::Bytes>| {
            while sender.send(vec![b'x'; 1 << 20].into()).await.is_ok() {}
        };
        Reply::stream("text/plain", Stream::new(feed))
    });
    let server = Server::start(any_port(), limits, flood).await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    is_let_go(&mut stream).await;
}

#[tokio::test]
async fn a_drain_ends_at_its_deadline() {
    let asked = Arc::new(Notify::new());
    let in_handler = Arc::clone(&asked);
    let stuck = handler(move |_| {
        in_handler.notify_one();
        std::future::pending()
    });
    let bound = bind(&any_port()).await.unwrap();
    let address = bound.address();
    let stop = CancellationToken::new();
    let mut task = JoinSet::new();
    task.spawn(bound.serve(stuck, Duration::from_millis(50), stop.clone()));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    asked.notified().await;
    stop.cancel();
    timeout(TIMEOUT, task.join_next()).await.unwrap();
    assert!(is_cut(&mut stream).await);
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_a_place() {
    let server = Server::echo().await;
    let mut idle = Vec::new();
    for _ in 0..80 {
        idle.push(server.connect().await);
    }
    let mut late = server.connect().await;
    late.write_all(format!("GET / HTTP/1.1\r\n{CLOSE}").as_bytes())
        .await
        .unwrap();
    // The server has had time for all of them, and took no more than it may.
    assert!(timeout(Duration::from_millis(100), late.readable()).await.is_err());
    drop(idle);
    assert!(head_and(&mut late, usize::MAX).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_taken_port_is_an_error_that_names_it() {
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = other.local_addr().unwrap();
    let error = bind(&Listen::Tcp(address)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("cannot listen on {address}: Address already in use (os error 98)")
    );
}

#[tokio::test]
async fn a_unix_socket_is_ours_alone_and_goes_with_us() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("api.sock");
    let mut server = Server::start(Listen::Unix(path.clone()), Limits::default(), echo()).await;
    assert_eq!(server.address, path.display().to_string());
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let mut stream = UnixStream::connect(&path).await.unwrap();
    stream
        .write_all(format!("PUT /x HTTP/1.1\r\nHost: nerve\r\n{CLOSE}").as_bytes())
        .await
        .unwrap();
    assert!(
        head_and(&mut stream, usize::MAX)
            .await
            .ends_with("Put [\"x\"] {} 0 None")
    );

    let error = bind(&Listen::Unix(path.clone())).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("cannot listen on {}: another process serves there", path.display())
    );

    server.stop.cancel();
    server.stopped().await;
    assert!(!path.exists());
}

#[tokio::test]
async fn a_dead_socket_is_replaced_and_nothing_else_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("api.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let first = bind(&Listen::Unix(path.clone())).await.unwrap();

    // Another process's socket at our path is not removed.
    std::fs::remove_file(&path).unwrap();
    let second = bind(&Listen::Unix(path.clone())).await.unwrap();
    drop(first);
    assert!(path.exists());
    drop(second);
    assert!(!path.exists());

    let refused = async |path: &Path| bind(&Listen::Unix(path.to_owned())).await.unwrap_err().source.kind();
    std::fs::write(&path, "precious").unwrap();
    assert_eq!(refused(&path).await, std::io::ErrorKind::AlreadyExists);
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    assert_eq!(refused(&path.join("below")).await, std::io::ErrorKind::NotADirectory);
    assert_eq!(
        refused(&directory.path().join("no/api.sock")).await,
        std::io::ErrorKind::NotFound
    );
}
