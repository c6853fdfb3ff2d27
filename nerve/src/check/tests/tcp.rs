use std::time::Duration;

use tokio::net::TcpSocket;

use super::*;

#[tokio::test]
async fn tcp_passes_when_a_port_accepts_and_fails_otherwise() {
    let mut tasks = JoinSet::new();
    let port = server(&mut tasks, "").await;
    probe(port, "{ type: tcp }").await.expect("accepts");
    probe(port, "{ type: tcp, host: localhost }").await.expect("a name");
    assert_eq!(
        kind(probe(free_port().await, "{ type: tcp }").await),
        FailureKind::Connection
    );
    let unresolved = probe(port, "{ type: tcp, host: no-such-host.invalid, timeoutInMilli: 20000 }").await;
    assert_eq!(kind(unresolved), FailureKind::Unresolved);
}

#[tokio::test]
async fn a_half_open_connection_is_never_seen() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    for _ in 0..50 {
        probe(port, "{ type: tcp }").await.expect("accepts");
    }
    let whole = TcpStream::connect(("127.0.0.1", port)).await.expect("connected");
    let (_, first) = listener.accept().await.expect("a connection");
    assert_eq!(
        first,
        whole.local_addr().expect("an address"),
        "the first that was seen"
    );
    probe(port, "{ type: tcp, mode: connect }").await.expect("accepts");
    let (_, second) = listener.accept().await.expect("a connection");
    assert_ne!(second, first);
}

#[tokio::test]
async fn the_reply_can_be_checked() {
    let mut tasks = JoinSet::new();
    let redis = serving(&mut tasks, |mut stream| async move {
        let mut ping = [0; 6];
        if stream.read_exact(&mut ping).await.is_ok() && &ping == b"PING\r\n" {
            stream.write_all(b"+PO").await.ok();
            stream.flush().await.ok();
            stream.write_all(b"NG\r\n").await.ok();
        }
    })
    .await;
    let said = probe(redis, r#"{ type: tcp, send: "PING\r\n", expect: PONG }"#).await;
    assert_eq!(said, Ok("answers `PONG`".to_owned()));
    let wrong = probe(redis, r#"{ type: tcp, send: "PING\r\n", expect: HELLO }"#).await;
    assert!(detail(wrong).contains("+PONG"), "the answer is shown");
    probe(redis, "{ type: tcp, send: QUIT }").await.expect("it takes that");
    let silent = server(&mut tasks, "").await;
    let late = probe(silent, "{ type: tcp, expect: anything, timeoutInMilli: 100 }").await;
    assert_eq!(kind(late), FailureKind::Timeout);
    let babbling = serving(&mut tasks, |mut stream| async move {
        while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
    })
    .await;
    let endless = probe(babbling, "{ type: tcp, expect: y, timeoutInMilli: 20000 }").await;
    assert_eq!(kind(endless), FailureKind::Answer);
}

#[tokio::test]
async fn a_server_that_no_longer_accepts_is_found_when_its_queue_is_full() {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("bound");
    let listener = socket.listen(1).expect("listening");
    let address = listener.local_addr().expect("an address");
    let mut held = Vec::new();
    while let Ok(stream) = timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
        held.push(stream.expect("connected"));
    }
    for mode in ["half_open", "connect"] {
        let check = format!("{{ type: tcp, mode: {mode}, timeoutInMilli: 200 }}");
        assert_eq!(
            kind(probe(address.port(), &check).await),
            FailureKind::Timeout,
            "{mode}"
        );
    }
}
