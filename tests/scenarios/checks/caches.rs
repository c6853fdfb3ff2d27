//! `redis` and `memcached`.

use e2e::authority::Authority;
use e2e::servers::{PASSWORD, memcached, redis};
use nerve::health::verdict::FailureKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{fails, follows, identity, passes, verifies};

#[tokio::test]
async fn redis_answers_who_knows_its_password() {
    let mut server = redis(None);
    let login = format!("type: redis, password: {PASSWORD}");
    passes(server.port, &login).await;
    passes(server.port, &format!("{login}, username: default")).await;
    fails(server.port, "type: redis", FailureKind::Answer, "NOAUTH").await;
    fails(
        server.port,
        "type: redis, password: wrong",
        FailureKind::Answer,
        "WRONGPASS",
    )
    .await;
    let key = format!("{login}, key: here");
    fails(server.port, &key, FailureKind::Answer, "no key here").await;
    let mut stream = TcpStream::connect(("127.0.0.1", server.port)).await.unwrap();
    let request = format!("AUTH {PASSWORD}\r\nSET here 1\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.read_exact(&mut [0; 10]).await.unwrap();
    passes(server.port, &key).await;
    follows(&mut server, &login).await;
}

#[tokio::test]
async fn memcached_tells_its_version_and_statistics() {
    let mut server = memcached(false, None);
    passes(server.port, "type: memcached").await;
    let expecting = |condition: &str| format!("type: memcached, expect: {{ accepting_conns: {condition} }}");
    passes(server.port, &expecting("\">= 1\"")).await;
    fails(
        server.port,
        &expecting("\"0\""),
        FailureKind::Answer,
        "accepting_conns is 1",
    )
    .await;
    follows(&mut server, "type: memcached").await;
}

#[tokio::test]
async fn memcached_answers_who_knows_its_password() {
    let mut server = memcached(true, None);
    let login = format!("type: memcached, username: me, password: {PASSWORD}");
    passes(server.port, &login).await;
    fails(server.port, "type: memcached", FailureKind::Answer, "unauthenticated").await;
    let wrong = "type: memcached, username: me, password: wrong";
    fails(server.port, wrong, FailureKind::Answer, "refused").await;
    follows(&mut server, &login).await;
}

#[tokio::test]
async fn redis_is_verified_and_verifies_over_tls() {
    let authority = Authority::new();
    let mut server = redis(Some(&authority));
    let login = format!("type: redis, password: {PASSWORD}");
    verifies(server.port, &login, &authority).await;
    let tls = identity(&authority);
    fails(
        server.port,
        &format!("type: redis, {tls}"),
        FailureKind::Answer,
        "NOAUTH",
    )
    .await;
    fails(server.port, &login, FailureKind::Connection, "").await;
    follows(&mut server, &format!("{login}, {tls}")).await;
}

#[tokio::test]
async fn memcached_is_verified_and_verifies_over_tls() {
    let authority = Authority::new();
    let mut server = memcached(true, Some(&authority));
    let login = format!("type: memcached, username: me, password: {PASSWORD}");
    verifies(server.port, &login, &authority).await;
    let tls = identity(&authority);
    fails(
        server.port,
        &format!("type: memcached, {tls}"),
        FailureKind::Answer,
        "unauthenticated",
    )
    .await;
    fails(server.port, &login, FailureKind::Connection, "").await;
    follows(&mut server, &format!("{login}, {tls}")).await;
}
