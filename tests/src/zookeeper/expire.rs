//! Ending another client's session on the server, which ZooKeeper has no command for.
//!
//! A client with a session's id and password can continue it and then close it. ZooKeeper derives the password from
//! the id (`ZooKeeperServer.generatePasswd`: a `java.util.Random` seeded with the id xor a constant), so the id, which
//! is every ephemeral node's owner, is enough. Both requests go out in one write, before the owner can come back.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::eventually::{ensure, eventually};

const SUPER_SECRET: i64 = 0xB341_5C00;
const CLOSE_SESSION: i32 = -11;

/// Closes `session` on the server at `port` and returns when the server does not list it any more.
pub(super) async fn close_session(port: u16, session: i64) {
    eventually("ZooKeeper closes the session", Duration::from_secs(5), async || {
        // Now and then the server hangs up so fast that its reply is lost: ask again.
        let granted = ask_to_continue_and_close(port, session).await;
        ensure(granted == Some(0), || {
            format!("ZooKeeper continued session {granted:x?}")
        })
    })
    .await;
}

/// The session that the server granted: 0 when the requested one does not exist (any more).
async fn ask_to_continue_and_close(port: u16, session: i64) -> Option<i64> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    stream.write_all(&requests(session)).await.ok()?;
    // Length, protocol version, timeout, session.
    let mut reply = [0; 20];
    timeout(Duration::from_secs(2), stream.read_exact(&mut reply))
        .await
        .ok()?
        .ok()?;
    reply.last_chunk().copied().map(i64::from_be_bytes)
}

fn requests(session: i64) -> Vec<u8> {
    let mut connect = Vec::new();
    connect.extend(0_i32.to_be_bytes()); // protocol version
    connect.extend(0_i64.to_be_bytes()); // last transaction seen
    connect.extend(10_000_i32.to_be_bytes()); // session timeout
    connect.extend(session.to_be_bytes());
    connect.extend(16_i32.to_be_bytes());
    connect.extend(password(session));
    connect.push(0); // not read-only
    let mut close = Vec::new();
    close.extend(1_i32.to_be_bytes()); // xid
    close.extend(CLOSE_SESSION.to_be_bytes());
    [framed(&connect), framed(&close)].concat()
}

fn framed(body: &[u8]) -> Vec<u8> {
    let length = i32::try_from(body.len()).unwrap();
    [length.to_be_bytes().as_slice(), body].concat()
}

/// `new java.util.Random(session ^ SUPER_SECRET).nextBytes(new byte[16])`.
fn password(session: i64) -> Vec<u8> {
    const MULTIPLIER: u64 = 0x5_DEEC_E66D;
    const MASK: u64 = (1 << 48) - 1;
    let mut state = ((session ^ SUPER_SECRET).cast_unsigned() ^ MULTIPLIER) & MASK;
    let mut next_word = || {
        state = (state.wrapping_mul(MULTIPLIER) + 0xB) & MASK;
        u32::try_from(state >> 16).unwrap().to_le_bytes()
    };
    (0..4).flat_map(|_| next_word()).collect()
}
