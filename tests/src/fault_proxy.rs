//! A TCP proxy in front of ZooKeeper that fails in the ways networks do.
//!
//! It forwards whole frames of ZooKeeper's protocol (a length of four bytes, then as many), so that it can break a
//! link at an exact request.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// What the proxy does with what it receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Passes it on.
    Forward,
    /// Keeps connections open and passes nothing on, either way, until the mode changes: a network that drops packets.
    Freeze,
    /// Closes every connection, and each new one at once, as a port without a listener.
    Refuse,
    /// Passes requests on and loses the replies.
    SwallowReplies,
}

/// The proxy. Its connections end when it is dropped.
#[derive(Debug)]
pub struct FaultProxy {
    port: u16,
    link: Arc<SessionState>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct SessionState {
    mode: watch::Sender<Mode>,
    cuts: watch::Sender<u64>,
    /// A create of a path that contains this is the last thing its connection does.
    last_create: Mutex<Option<String>>,
    /// How many connections ended that way.
    tripped: watch::Sender<u64>,
}

impl FaultProxy {
    /// Listens on a free port and forwards to `server` (`host:port`).
    pub async fn start(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let link = Arc::new(SessionState {
            mode: watch::Sender::new(Mode::Forward),
            cuts: watch::Sender::new(0),
            last_create: Mutex::new(None),
            tripped: watch::Sender::new(0),
        });
        #[expect(clippy::disallowed_methods, reason = "owned by the proxy, which aborts it")]
        let accepting = tokio::spawn(accept(listener, server, Arc::clone(&link)));
        Self { port, link, accepting }
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Behaves like this from now on.
    pub fn set(&self, mode: Mode) {
        self.link.mode.send_replace(mode);
        if mode == Mode::Refuse {
            self.cut();
        }
    }

    /// Closes every open connection.
    pub fn cut(&self) {
        self.link.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// The next create (alone or in a transaction) of a path that contains `part` reaches the server and is carried
    /// out there; its reply is lost and the connection cut.
    pub fn cut_after_create(&self, part: &str) {
        *self.link.last_create.lock().unwrap() = Some(part.to_owned());
    }

    /// Waits until [`FaultProxy::cut_after_create`] has happened `times` times since the start.
    pub async fn tripped(&self, times: u64) {
        self.link
            .tripped
            .subscribe()
            .wait_for(|tripped| *tripped >= times)
            .await
            .unwrap();
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, server: String, link: Arc<SessionState>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((client, _)) = listener.accept() => {
                connections.spawn(connection(client, server.clone(), Arc::clone(&link)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(client: TcpStream, server: String, link: Arc<SessionState>) {
    let mut cuts = link.cuts.subscribe();
    let mut mode = link.mode.subscribe();
    let relayed = async {
        if *mode.borrow() == Mode::Refuse || mode.wait_for(|mode| *mode != Mode::Freeze).await.is_err() {
            return;
        }
        let Ok(server) = TcpStream::connect(server).await else {
            return;
        };
        client.set_nodelay(true).unwrap();
        server.set_nodelay(true).unwrap();
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        // The request whose reply is to be lost, once it was forwarded.
        let doomed = Mutex::new(None);
        tokio::select! {
            _ = requests(from_client, to_server, &link, &doomed) => {}
            _ = replies(from_server, to_client, &link, &doomed) => {}
        }
    };
    tokio::select! {
        () = relayed => {}
        _ = cuts.changed() => {}
    }
}

type Xid = [u8; 4];

async fn requests(
    mut client: OwnedReadHalf,
    mut server: OwnedWriteHalf,
    link: &SessionState,
    doomed: &Mutex<Option<Xid>>,
) -> Option<()> {
    let mut mode = link.mode.subscribe();
    loop {
        let frame = read_frame(&mut client).await?;
        mode.wait_for(|mode| *mode != Mode::Freeze).await.ok()?;
        let last = link.last_create.lock().unwrap().take_if(|part| creates(&frame, part));
        if last.is_some() {
            *doomed.lock().unwrap() = xid(&frame);
        }
        server.write_all(&frame).await.ok()?;
    }
}

async fn replies(
    mut server: OwnedReadHalf,
    mut client: OwnedWriteHalf,
    link: &SessionState,
    doomed: &Mutex<Option<Xid>>,
) -> Option<()> {
    let mut mode = link.mode.subscribe();
    loop {
        let frame = read_frame(&mut server).await?;
        let mode = *mode.wait_for(|mode| *mode != Mode::Freeze).await.ok()?;
        let doomed = *doomed.lock().unwrap();
        if doomed.is_some() && doomed == xid(&frame) {
            link.tripped.send_modify(|tripped| *tripped += 1);
            return None;
        }
        if mode != Mode::SwallowReplies {
            client.write_all(&frame).await.ok()?;
        }
    }
}

/// One frame with its length in front; `None` at the end of the stream.
async fn read_frame(stream: &mut OwnedReadHalf) -> Option<Vec<u8>> {
    let mut frame = vec![0; 4];
    stream.read_exact(&mut frame).await.ok()?;
    let length = u32::from_be_bytes(frame.first_chunk().copied()?);
    frame.resize(4 + usize::try_from(length).ok()?, 0);
    stream.read_exact(frame.get_mut(4..)?).await.ok()?;
    Some(frame)
}

fn xid(frame: &[u8]) -> Option<Xid> {
    frame.get(4..8)?.try_into().ok()
}

/// Whether a request is a create, create2 or transaction that names a path with `part` in it.
fn creates(frame: &[u8], part: &str) -> bool {
    const CREATE: i32 = 1;
    const MULTI: i32 = 14;
    const CREATE2: i32 = 15;
    let code = frame
        .get(8..12)
        .and_then(|code| code.try_into().ok())
        .map(i32::from_be_bytes);
    matches!(code, Some(CREATE | MULTI | CREATE2))
        && frame
            .get(12..)
            .is_some_and(|body| body.windows(part.len()).any(|window| window == part.as_bytes()))
}
