//! A connection: half of one, a whole one, or one that is talked on.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::connect::Connector;
use super::web::{BODY_CAP, Body, BodyLimit};
use crate::config::{CheckConfig, TcpConfig, TcpMode};
use crate::health::verdict::{Failure, FailureKind};

pub(super) async fn probe(check: &CheckConfig, config: &TcpConfig) -> Result<String, Failure> {
    let connector = Connector::of(check);
    match &config.mode {
        TcpMode::HalfOpen => half_open(&connector).await,
        TcpMode::Connect {
            send: None,
            expect: None,
        } => connector.plain().await.map(|_| "accepts connections".to_owned()),
        TcpMode::Connect { send, expect } => talk(connector.plain().await?, send.as_deref(), expect.as_deref()).await,
    }
}

/// Connects to the first address that answers a SYN, without ever finishing the handshake.
async fn half_open(connector: &Connector) -> Result<String, Failure> {
    let mut last = "the name has no address".to_owned();
    for address in connector.addresses().await? {
        match syn(address).await {
            Ok(()) => return Ok("accepts connections".to_owned()),
            Err(error) => last = format!("{address}: {error}"),
        }
    }
    Err(Failure::new(FailureKind::Connection, last))
}

/// SYN, SYN-ACK, RST: with quick acknowledgements off Linux delays the ACK that would finish the handshake, and a close
/// without lingering sends a reset in its place. The listening program never accepts it.
async fn syn(address: SocketAddr) -> std::io::Result<()> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }?;
    // Where there is no such option (another system, a sandbox) it is a whole connection that is reset.
    #[cfg(target_os = "linux")]
    rustix::net::sockopt::set_tcp_quickack(&socket, false).ok();
    socket.set_zero_linger()?;
    socket.connect(address).await.map(drop)
}

/// Sends, then reads until the expected text is there.
async fn talk(mut stream: TcpStream, send: Option<&str>, expect: Option<&str>) -> Result<String, Failure> {
    let broken = |error: std::io::Error| Failure::new(FailureKind::Connection, error.to_string());
    stream
        .write_all(send.unwrap_or_default().as_bytes())
        .await
        .map_err(broken)?;
    let Some(expect) = expect else {
        return Ok("accepts connections and takes what is sent".to_owned());
    };
    let mut heard = Body::new(BodyLimit::Until(expect.as_bytes().to_vec(), BODY_CAP));
    let mut chunk = [0; 4096];
    while !heard.is_enough() {
        let length = stream.read(&mut chunk).await.map_err(broken)?;
        if length == 0 {
            break;
        }
        heard.push(chunk.get(..length).unwrap_or_default());
    }
    if heard.found() {
        return Ok(format!("answers `{expect}`"));
    }
    let heard = String::from_utf8_lossy(heard.bytes());
    let what = format!("the answer lacks `{expect}`: `{}`", heard.escape_debug());
    Err(Failure::new(FailureKind::Answer, what))
}
