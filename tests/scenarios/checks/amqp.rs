//! `amqp`.

use e2e::servers::rabbitmq;
use nerve::health::verdict::FailureKind;

use crate::{fails, follows, passes};

#[tokio::test]
async fn rabbitmq_takes_a_message_and_gives_it_back() {
    let mut broker = rabbitmq();
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
