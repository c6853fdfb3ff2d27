//! Many instances in one process: each listens on a loopback address of its own, `127.1.x.y`, and answers its address.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddrV4};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::ports::free_port;

/// How many addresses of a byte are used: neither 0 nor 255, which mean more than an address.
const PER_BYTE: usize = 250;

/// The instances, all on one port; dropped, they are gone with their connections.
#[derive(Debug)]
pub struct Fleet {
    port: u16,
    open: BTreeMap<usize, JoinSet<()>>,
}

impl Fleet {
    /// No instance yet.
    #[expect(clippy::new_without_default, reason = "it takes a port for itself")]
    pub fn new() -> Self {
        Self {
            port: free_port(),
            open: BTreeMap::new(),
        }
    }

    /// Where the instance of this number is or would be.
    pub fn address(&self, number: usize) -> SocketAddrV4 {
        let byte = |value: usize| u8::try_from(value).expect("a fleet has at most 62,500 instances");
        let host = Ipv4Addr::new(127, 1, byte(number / PER_BYTE), byte(number % PER_BYTE + 1));
        SocketAddrV4::new(host, self.port)
    }

    /// Starts the instance of this number, and serves when it returns.
    pub async fn open(&mut self, number: usize) -> SocketAddrV4 {
        let address = self.address(number);
        let listener = TcpListener::bind(address).await.unwrap();
        let opened = self
            .open
            .insert(number, JoinSet::from_iter([serve(listener, address.to_string())]));
        assert!(opened.is_none(), "instance {number} was there already");
        address
    }

    /// Ends it as a crash would: its pending requests are lost, and its port has no listener any more.
    pub fn close(&mut self, number: usize) {
        self.open.remove(&number).expect("the instance is there");
    }
}

async fn serve(listener: TcpListener, name: String) {
    let name = Bytes::from(name);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let name = name.clone();
                let service = service_fn(move |_: Request<Incoming>| {
                    let answer = Response::new(Full::new(name.clone()));
                    async move { Ok::<_, Infallible>(answer) }
                });
                connections.spawn(async move {
                    // A client that hangs up is no matter of the instance.
                    http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
                });
            }
            Some(_ended) = connections.join_next() => {}
        }
    }
}
