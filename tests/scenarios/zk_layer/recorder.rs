//! A proxy that notes the requests of its clients and can play a server that lacks some of them.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

pub(crate) const GET_DATA: i32 = 4;
pub(crate) const GET_CHILDREN: i32 = 8;
pub(crate) const MULTI_READ: i32 = 22;
pub(crate) const ADD_WATCH: i32 = 106;

const PING: i32 = 11;
const UNIMPLEMENTED: i32 = -6;

type Requests = Arc<Mutex<Vec<i32>>>;

pub(crate) struct Recorder {
    port: u16,
    requests: Requests,
    _tasks: JoinSet<()>,
}

impl Recorder {
    /// Forwards to `server`; a request in `lacking` is answered as a server does that does not know it: with an error
    /// and the end of the connection.
    pub(crate) async fn start(server: String, lacking: &'static [i32]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Requests::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, server, lacking, Arc::clone(&requests)));
        Self {
            port,
            requests,
            _tasks: tasks,
        }
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The codes of the requests since the last call, without pings.
    pub(crate) fn take(&self) -> Vec<i32> {
        std::mem::take(&mut self.requests.lock().unwrap())
    }
}

async fn accept(listener: TcpListener, server: String, lacking: &'static [i32], requests: Requests) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let server = TcpStream::connect(&server).await.unwrap();
        connections.spawn(relay(client, server, lacking, Arc::clone(&requests)));
    }
}

async fn relay(client: TcpStream, server: TcpStream, lacking: &'static [i32], requests: Requests) {
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let asked = async {
        // The first frame requests a session and has no code.
        let connect = read_frame(&mut from_client).await?;
        to_server.write_all(&connect).await.ok()?;
        loop {
            let frame = read_frame(&mut from_client).await?;
            let xid: [u8; 4] = frame.get(4..8)?.try_into().ok()?;
            let code = i32::from_be_bytes(frame.get(8..12)?.try_into().ok()?);
            if code != PING {
                requests.lock().unwrap().push(code);
            }
            if lacking.contains(&code) {
                return Some(xid);
            }
            to_server.write_all(&frame).await.ok()?;
        }
    };
    let refused = tokio::select! {
        refused = asked => refused,
        _ = copy(&mut from_server, &mut to_client) => None,
    };
    if let Some(xid) = refused {
        let reply = [
            &16_i32.to_be_bytes()[..],
            &xid,
            &0_i64.to_be_bytes(),
            &UNIMPLEMENTED.to_be_bytes(),
        ];
        // The client may be gone.
        drop(to_client.write_all(&reply.concat()).await);
    }
}

async fn read_frame(stream: &mut OwnedReadHalf) -> Option<Vec<u8>> {
    let mut frame = vec![0; 4];
    stream.read_exact(&mut frame).await.ok()?;
    let length = u32::from_be_bytes(frame.first_chunk().copied()?);
    frame.resize(4 + usize::try_from(length).ok()?, 0);
    stream.read_exact(frame.get_mut(4..)?).await.ok()?;
    Some(frame)
}
