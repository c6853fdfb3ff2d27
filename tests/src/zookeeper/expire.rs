//! Ending somebody else's session on the server, which ZooKeeper has no command for.
//!
//! Whoever knows a session's id and password can continue it and then close it. ZooKeeper derives the password from
//! the id (`ZooKeeperServer.generatePasswd`: a `java.util.Random` seeded with the id xor a constant), so the id, which
//! is every ephemeral node's owner, is enough. Both requests go out in one write, before the owner can come back.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const SUPER_SECRET: i64 = 0xB341_5C00;
const CLOSE_SESSION: i32 = -11;

/// Closes `session` on the server at `port` and returns when it is gone.
pub(super) async fn close_session(port: u16, session: i64) {
    let reply = timeout(Duration::from_secs(5), async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.write_all(&requests(session)).await.unwrap();
        let mut reply = Vec::new();
        // The server hangs up when the session is closed; a reset says the same.
        let _hung_up = stream.read_to_end(&mut reply).await;
        reply
    });
    let reply = reply.await.expect("ZooKeeper closes a session within 5s");
    // Length, protocol version, timeout, then the session: 0 for one it does not know.
    let granted = reply.get(12..20).map(|id| i64::from_be_bytes(id.try_into().unwrap()));
    assert_eq!(
        granted,
        Some(session),
        "ZooKeeper did not let us continue session {session:#x}"
    );
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
