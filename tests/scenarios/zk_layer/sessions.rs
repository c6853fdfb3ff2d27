//! The session's supervisor through restarts, outages and the end.

use std::time::Duration;

use common::zk::node::{NodeConfig, WriteBudget};
use common::zk::registration::RegistrationState;
use common::zk::session::SessionState;
use e2e::eventually::{ensure, eventually, throughout};
use e2e::fault_proxy::{FaultProxy, Mode};
use e2e::zookeeper::ZooKeeper;
use tokio::time::Instant;

use crate::party::{Party, SESSION_TIMEOUT, TIMEOUT, content, live, registered, stale, state, want};

const DIRECTORY: &str = "/services/web";
const PATH: &str = "/services/web/one";

#[tokio::test]
async fn a_server_restart_keeps_session_and_node() {
    let mut server = ZooKeeper::start().await;
    let mut party = Party::start(&server.address());
    let registration = party.register(PATH);
    let mut seen = party.reflect(DIRECTORY);
    want(&registration, "a");
    let before = registered(&registration).await;
    live(&mut seen, &["one=a"]).await;
    server.kill();
    stale(&seen).await;
    server.restart().await;
    let restarted = Instant::now();
    live(&mut seen, &["one=a"]).await;
    eprintln!("live {:?} after the server's start", restarted.elapsed());
    assert_eq!(registered(&registration).await, before);
    party.stop().await;
}

#[tokio::test]
async fn a_session_that_the_server_still_holds_is_resumed() {
    let mut server = ZooKeeper::start().await;
    let mut party = Party::start(&server.address());
    let registration = party.register(PATH);
    want(&registration, "a");
    let before = registered(&registration).await;
    server.kill();
    // The client gives its session up by its own clock; the server's clock stands still.
    let mut link = party.ensemble.link();
    let gave_up = link.wait_for(|link| matches!(link, SessionState::Connecting { failures: 1.., .. }));
    tokio::time::timeout(TIMEOUT, gave_up).await.unwrap().unwrap();
    server.restart().await;
    let restarted = Instant::now();
    assert_eq!(party.session().await, before.1);
    assert_eq!(registered(&registration).await, before);
    eprintln!("resumed {:?} after the server's start", restarted.elapsed());
    party.stop().await;
}

#[tokio::test]
async fn a_wiped_server_gets_everything_back() {
    let mut server = ZooKeeper::start().await;
    let mut party = Party::start(&server.address());
    let registration = party.register(PATH);
    let mut seen = party.reflect(DIRECTORY);
    want(&registration, "a");
    let (_, session) = registered(&registration).await;
    live(&mut seen, &["one=a"]).await;
    server.kill();
    server.wipe();
    server.restart().await;
    let client = server.client().await;
    eventually("the node is back", TIMEOUT, async || {
        let nodes = client.nodes(DIRECTORY).await;
        ensure(
            nodes.len() == 1 && nodes.iter().all(|node| node.owner != session),
            || format!("{nodes:?}"),
        )
    })
    .await;
    live(&mut seen, &["one=a"]).await;
    party.stop().await;
}

#[tokio::test]
async fn a_clean_stop_closes_the_session() {
    let server = ZooKeeper::start().await;
    let client = server.client().await;
    let mut party = Party::start(&server.address());
    let registration = party.register(PATH);
    want(&registration, "a");
    registered(&registration).await;
    let stopping = Instant::now();
    party.stop().await;
    eventually("the node goes", Duration::from_secs(1), async || {
        let nodes = client.nodes(DIRECTORY).await;
        ensure(nodes.is_empty(), || format!("{nodes:?}"))
    })
    .await;
    eprintln!("gone {:?} after the stop", stopping.elapsed());
}

#[tokio::test]
async fn a_short_freeze_changes_nothing() {
    let server = ZooKeeper::start().await;
    let client = server.client().await;
    let proxy = FaultProxy::start(server.address()).await;
    let mut party = Party::start(&proxy.address());
    let registration = party.register(PATH);
    want(&registration, "a");
    let (created_by, _) = registered(&registration).await;
    proxy.set(Mode::Freeze);
    let mut link = party.ensemble.link();
    let lost = link.wait_for(|link| matches!(link, SessionState::Suspended(..)));
    tokio::time::timeout(TIMEOUT, lost).await.unwrap().unwrap();
    proxy.cut();
    proxy.set(Mode::Forward);
    throughout("the node stays", SESSION_TIMEOUT, async || {
        let node = client.node(PATH).await.ok_or("gone")?;
        ensure(node.created_by == created_by, || format!("{node:?}"))
    })
    .await;
    assert_eq!(registered(&registration).await.0, created_by);
    party.stop().await;
}

#[tokio::test]
async fn a_partition_longer_than_the_session_is_told_and_repaired() {
    let server = ZooKeeper::start().await;
    let client = server.client().await;
    let proxy = FaultProxy::start(server.address()).await;
    let mut party = Party::start(&proxy.address());
    let registration = party.register(PATH);
    let mut seen = party.reflect(DIRECTORY);
    want(&registration, "a");
    registered(&registration).await;
    live(&mut seen, &["one=a"]).await;
    proxy.set(Mode::Freeze);
    client.gone(PATH).await;
    state(&registration, |state| matches!(state, RegistrationState::Pending(_))).await;
    stale(&seen).await;
    assert_eq!(content(&seen.borrow()), ["one=a"], "the last content stays");
    proxy.cut();
    proxy.set(Mode::Forward);
    let repaired = Instant::now();
    registered(&registration).await;
    live(&mut seen, &["one=a"]).await;
    eprintln!("back {:?} after a partition", repaired.elapsed());
    assert_eq!(client.nodes(DIRECTORY).await.len(), 1);
    party.stop().await;
}

#[tokio::test]
async fn a_storm_of_faults_ends_in_the_truth() {
    let storm = fastrand::u64(..);
    eprintln!("storm {storm}");
    let mut chance = fastrand::Rng::with_seed(storm);
    let server = ZooKeeper::start().await;
    let client = server.client().await;
    let proxy = FaultProxy::start(server.address()).await;
    let mut party = Party::start(&proxy.address());
    // The storm is longer than the patience of a budget.
    let registration = party.keep(NodeConfig {
        budget: WriteBudget {
            writes: 10_000,
            ..WriteBudget::DEFAULT
        },
        ..NodeConfig::ephemeral(PATH)
    });
    let mut seen = party.reflect(DIRECTORY);
    for round in 0..40 {
        match chance.u8(0..6) {
            0 => proxy.set(Mode::Refuse),
            1 => proxy.set(Mode::SwallowReplies),
            2 => proxy.cut_after_create(PATH),
            3 => server.expire(party.session().await).await,
            _ => proxy.cut(),
        }
        let wanted = chance.u8(0..4) > 0;
        registration.want(wanted.then(|| round.to_string().into()));
        client.put(&format!("{DIRECTORY}/other"), round.to_string()).await;
        let settled = chance.bool();
        proxy.cut();
        proxy.set(Mode::Forward);
        if !settled {
            continue;
        }
        let other = format!("other={round}");
        let mut expected = vec![other.clone()];
        if wanted {
            registered(&registration).await;
            expected = vec![format!("one={round}"), other];
            expected.sort();
        } else {
            state(&registration, |state| *state == RegistrationState::Withdrawn).await;
        }
        live(&mut seen, &expected.iter().map(String::as_str).collect::<Vec<_>>()).await;
        assert_eq!(client.nodes(DIRECTORY).await.len(), expected.len());
    }
    party.stop().await;
}

#[tokio::test]
async fn hosts_that_cannot_be_reached_are_told_and_survived() {
    let party = Party::start("127.0.0.1:1,no such host:2181");
    let mut link = party.ensemble.link();
    let failing =
        link.wait_for(|link| matches!(link, SessionState::Connecting { failures: 2.., error } if !error.is_empty()));
    tokio::time::timeout(TIMEOUT, failing).await.unwrap().unwrap();
    let stopping = Instant::now();
    party.stop().await;
    assert!(stopping.elapsed() < Duration::from_secs(1));
    assert!(matches!(*link.borrow(), SessionState::Closed));
}
