//! `amqp`.

use e2e::authority::Authority;
use e2e::servers::rabbitmq;
use nerve::health::verdict::FailureKind;

use crate::{fails, follows, identity, passes, verifies};

#[tokio::test]
async fn rabbitmq_takes_a_message_and_gives_it_back() {
    let mut broker = rabbitmq(None);
    let port = broker.server.port;
    let keys = "type: amqp, timeoutInMilli: 5000";
    passes(port, keys).await;
    passes(port, "type: amqp, queue: ''").await;
    passes(
        port,
        &format!("type: amqp, datasource: 'amqp://guest:guest@127.0.0.1:{port}/'"),
    )
    .await;
    let refused = "type: amqp, password: wrong, timeoutInMilli: 5000";
    fails(port, refused, FailureKind::Answer, "403 ACCESS_REFUSED").await;
    let elsewhere = "type: amqp, vhost: nowhere, timeoutInMilli: 5000";
    fails(port, elsewhere, FailureKind::Answer, "530 NOT_ALLOWED").await;
    // Logging in works, messages do not.
    broker.starve(true);
    fails(port, keys, FailureKind::Answer, "takes no messages: low on memory").await;
    passes(port, "type: amqp, queue: ''").await;
    broker.starve(false);
    passes(port, keys).await;
    follows(&mut broker.server, "type: amqp").await;
}

#[tokio::test]
async fn rabbitmq_is_verified_and_verifies_over_tls() {
    let authority = Authority::new();
    let mut broker = rabbitmq(Some(&authority));
    let port = broker.server.port;
    let keys = "type: amqp, timeoutInMilli: 5000";
    verifies(port, keys, &authority).await;
    let url = format!("{keys}, datasource: 'amqps://guest:guest@127.0.0.1:{port}/'");
    verifies(port, &url, &authority).await;
    let tls = identity(&authority);
    fails(
        port,
        &format!("{keys}, password: wrong, {tls}"),
        FailureKind::Answer,
        "403 ACCESS_REFUSED",
    )
    .await;
    fails(port, keys, FailureKind::Answer, "not AMQP").await;
    follows(&mut broker.server, &format!("type: amqp, {tls}")).await;
}
