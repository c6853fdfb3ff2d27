//! `zookeeper`.

use e2e::authority::Authority;
use e2e::zookeeper::ZooKeeper;
use nerve::health::verdict::FailureKind;

use crate::{fails, identity, passes, verifies};

#[tokio::test]
async fn zookeeper_says_that_it_is_well() {
    let mut server = ZooKeeper::start().await;
    let port = server.port();
    passes(port, "type: zookeeper").await;
    let state = |condition: &str| format!("type: zookeeper, expect: {{ zk_server_state: {condition} }}");
    passes(port, &state("'!read-only'")).await;
    passes(port, &state("standalone|leader")).await;
    let leader = state("leader");
    fails(port, &leader, FailureKind::Answer, "zk_server_state is standalone").await;
    server.freeze();
    let hurried = "type: zookeeper, timeoutInMilli: 300";
    fails(port, hurried, FailureKind::Timeout, "300ms").await;
    server.thaw();
    passes(port, "type: zookeeper").await;
    server.kill();
    fails(port, "type: zookeeper", FailureKind::Connection, "refused").await;
}

#[tokio::test]
async fn zookeeper_is_verified_and_verifies_over_tls() {
    let authority = Authority::new();
    let (mut server, port) = ZooKeeper::start_with_tls(&authority).await;
    verifies(port, "type: zookeeper", &authority).await;
    let tls = identity(&authority);
    let state = format!("type: zookeeper, expect: {{ zk_server_state: standalone }}, {tls}");
    passes(port, &state).await;
    // Four letters are not yet a TLS record.
    fails(
        port,
        "type: zookeeper, timeoutInMilli: 300",
        FailureKind::Timeout,
        "300ms",
    )
    .await;
    server.kill();
    fails(port, &state, FailureKind::Connection, "refused").await;
}
