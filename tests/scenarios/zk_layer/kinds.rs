//! The other kinds of nodes: numbered, named by others' rules, persistent; and how often they are written.

use std::time::Duration;

use bytes::Bytes;
use common::zk::node::{NodeConfig, NodeKind, NodeName, WriteBudget};
use common::zk::registration::RegistrationState;
use e2e::eventually::{ensure, eventually, throughout};
use e2e::fault_proxy::{FaultProxy, Mode};
use e2e::zookeeper::{Client, Node, ZooKeeper};
use tokio::time::Instant;

use crate::party::{Party, SESSION_TIMEOUT, TIMEOUT, registered, state, want};

const DIRECTORY: &str = "/services/web";
const TOKEN: &str = "one_10.0.0.4_c_00112233445566778899aabbccddeeff";

fn node(name: NodeName, kind: NodeKind) -> NodeConfig {
    NodeConfig {
        name,
        kind,
        ..NodeConfig::ephemeral(&format!("{DIRECTORY}/x"))
    }
}

fn own(kind: NodeKind) -> NodeConfig {
    node(NodeName::Own(TOKEN.to_owned()), kind)
}

fn airbnb(encoded: bool, port: u16) -> NodeConfig {
    let name = NodeName::Shared {
        prefix: "host7_".to_owned(),
        encoded,
        host: "10.0.0.4".to_owned(),
        port,
    };
    node(name, NodeKind::EphemeralSequential)
}

fn report(port: u16, weight: u16) -> String {
    format!(r#"{{"host":"10.0.0.4","port":{port},"name":"host7","weight":{weight}}}"#)
}

async fn only_node(client: &Client) -> Result<Node, String> {
    match client.nodes(DIRECTORY).await.as_slice() {
        [node] => Ok(node.clone()),
        other => Err(format!("{other:?}")),
    }
}

async fn stays_alone(client: &Client, node: &Node) {
    throughout("it stays the one node", SESSION_TIMEOUT * 2, async || {
        let now = only_node(client).await?;
        ensure(now.created_by == node.created_by, || format!("{now:?}"))
    })
    .await;
}

#[tokio::test]
async fn a_numbered_node_is_made_updated_repaired_and_withdrawn() {
    let server = ZooKeeper::start().await;
    let client = server.client().await;
    let mut party = Party::start(&server.address());
    let registration = party.keep(own(NodeKind::EphemeralSequential));
    want(&registration, "a");
    let (created_by, owner) = registered(&registration).await;
    let first = only_node(&client).await.unwrap();
    assert_eq!(
        (first.name.as_str(), first.owner),
        (format!("{TOKEN}0000000000").as_str(), owner)
    );
    want(&registration, "b");
    eventually("it is updated in place", TIMEOUT, async || {
        let node = only_node(&client).await?;
        ensure(node.data == "b" && node.created_by == created_by, || {
            format!("{node:?}")
        })
    })
    .await;
    client.delete(&format!("{DIRECTORY}/{}", first.name)).await;
    let again = eventually("it is made again", TIMEOUT, async || {
        let node = only_node(&client).await?;
        ensure(node.created_by != created_by, || format!("{node:?}"))?;
        Ok(node)
    })
    .await;
    assert_eq!(
        (again.name.as_str(), again.data.as_str()),
        (format!("{TOKEN}0000000001").as_str(), "b")
    );
    registration.want(None);
    state(&registration, |state| *state == RegistrationState::Withdrawn).await;
    assert!(client.nodes(DIRECTORY).await.is_empty());
    party.stop().await;
}

#[tokio::test]
async fn a_numbered_node_whose_reply_is_lost_is_one_node() {
    for config in [
        own(NodeKind::EphemeralSequential),
        airbnb(false, 80),
        airbnb(true, 80),
        own(NodeKind::PersistentSequential),
    ] {
        let server = ZooKeeper::start().await;
        let client = server.client().await;
        let proxy = FaultProxy::start(server.address()).await;
        let mut party = Party::start(&proxy.address());
        party.session().await;
        let registration = party.keep(config);
        proxy.cut_after_create(DIRECTORY);
        want(&registration, &report(80, 1));
        proxy.tripped(1).await;
        registered(&registration).await;
        let node = only_node(&client).await.unwrap();
        stays_alone(&client, &node).await;
        registration.want(None);
        party.stop().await;
        assert!(client.nodes(DIRECTORY).await.is_empty());
    }
}

#[tokio::test]
async fn a_numbered_predecessor_is_replaced_without_a_gap() {
    for config in [own(NodeKind::EphemeralSequential), airbnb(false, 80), airbnb(true, 80)] {
        let server = ZooKeeper::start().await;
        let client = server.client().await;
        let proxy = FaultProxy::start(server.address()).await;
        let mut killed = Party::start(&proxy.address());
        let old = killed.keep(config.clone());
        want(&old, &report(80, 1));
        registered(&old).await;
        proxy.set(Mode::Freeze);

        let mut restarted = Party::start(&server.address());
        let mut watched = restarted.reflect(DIRECTORY);
        watched.wait_for(|snapshot| snapshot.children.len() == 1).await.unwrap();
        let new = restarted.keep(config);
        want(&new, &report(80, 2));
        let (_, session) = registered(&new).await;
        let node = only_node(&client).await.unwrap();
        assert_eq!((node.owner, node.data), (session, report(80, 2)));
        throughout("the new node stays", SESSION_TIMEOUT * 2, async || {
            let node = only_node(&client).await?;
            ensure(node.owner == session, || format!("{node:?}"))?;
            let seen = watched.borrow_and_update().children.len();
            ensure(seen >= 1, || format!("a watcher saw {seen} nodes"))
        })
        .await;
        restarted.stop().await;
    }
}

#[tokio::test]
async fn instances_that_share_a_name_leave_each_other_alone() {
    let server = ZooKeeper::start().await;
    let client = server.client().await;
    let mut party = Party::start(&server.address());
    for encoded in [false, true] {
        let (one, two) = (party.keep(airbnb(encoded, 80)), party.keep(airbnb(encoded, 81)));
        want(&one, &report(80, 1));
        want(&two, &report(81, 1));
        registered(&one).await;
        registered(&two).await;
        // A weight changes an encoded name: the node is another, and still one.
        for weight in 2..6 {
            want(&one, &report(80, weight));
        }
        eventually("both are there", TIMEOUT, async || {
            let mut data: Vec<_> = client
                .nodes(DIRECTORY)
                .await
                .into_iter()
                .map(|node| node.data)
                .collect();
            data.sort();
            ensure(data == [report(80, 5), report(81, 1)], || format!("{data:?}"))
        })
        .await;
        registered(&one).await;
        let encoded_names = client.nodes(DIRECTORY).await;
        assert!(
            encoded_names
                .iter()
                .all(|node| node.name.starts_with("base64_") == encoded),
            "{encoded_names:?}"
        );
        one.want(None);
        state(&one, |state| *state == RegistrationState::Withdrawn).await;
        assert_eq!(only_node(&client).await.unwrap().data, report(81, 1));
        two.want(None);
        state(&two, |state| *state == RegistrationState::Withdrawn).await;
    }
    party.stop().await;
}

#[tokio::test]
async fn a_report_too_long_for_a_name_has_a_plain_one() {
    let server = ZooKeeper::start().await;
    let client = server.client().await;
    let mut party = Party::start(&server.address());
    let registration = party.keep(airbnb(true, 80));
    let filled = |length: usize| {
        let (begin, end) = (
            r#"{"host":"10.0.0.4","port":80,"name":"host7","haproxy_server_options":""#,
            r#""}"#,
        );
        format!("{begin}{}{end}", "x".repeat(length - begin.len() - end.len()))
    };
    // 3 bytes are 4 letters, of which there may be 65536.
    for (length, begins) in [
        (300, "base64_400_"),
        (49_152, "base64_65536_"),
        (49_153, "host7_"),
        (60_000, "host7_"),
    ] {
        let content = filled(length);
        want(&registration, &content);
        let node = eventually("the one node has it", TIMEOUT, async || {
            let node = only_node(&client).await?;
            ensure(node.data == content, || {
                format!("{} bytes in {:.40}", node.data.len(), node.name)
            })?;
            Ok(node)
        })
        .await;
        assert!(node.name.starts_with(begins), "{length}: {:.40}", node.name);
    }
    registration.want(None);
    state(&registration, |state| *state == RegistrationState::Withdrawn).await;
    assert!(client.nodes(DIRECTORY).await.is_empty());
    party.stop().await;
}

#[tokio::test]
async fn a_persistent_node_outlives_its_session_is_touched_and_found_again() {
    let server = ZooKeeper::start().await;
    let client = server.client().await;
    for kind in [NodeKind::Persistent, NodeKind::PersistentSequential] {
        let config = NodeConfig {
            touch: Some(Duration::from_millis(300)),
            ..own(kind)
        };
        let mut party = Party::start(&server.address());
        let registration = party.keep(config.clone());
        want(&registration, "a");
        let (created_by, session) = registered(&registration).await;
        let node = only_node(&client).await.unwrap();
        assert_eq!((node.owner, node.created_by), (0, created_by));
        eventually("its version grows", TIMEOUT, async || {
            let node = only_node(&client).await?;
            ensure(node.version >= 3 && node.data == "a", || format!("{node:?}"))
        })
        .await;
        // It is left by a crash, as the end of the session without a withdrawal is.
        server.expire(session).await;
        drop(party);
        assert_eq!(only_node(&client).await.unwrap().created_by, created_by);

        let mut next = Party::start(&server.address());
        let registration = next.keep(config);
        want(&registration, "b");
        assert_eq!(registered(&registration).await.0, created_by, "it was not made anew");
        registration.want(None);
        next.stop().await;
        assert!(client.nodes(DIRECTORY).await.is_empty(), "a clean stop takes it away");
    }
}

#[tokio::test]
async fn flapping_costs_the_registry_no_more_than_the_budget() {
    let server = ZooKeeper::start().await;
    let client = server.client().await;
    let mut party = Party::start(&server.address());
    let budget = WriteBudget {
        writes: 6,
        per: Duration::from_secs(3),
    };
    let registration = party.keep(NodeConfig {
        budget,
        ..own(NodeKind::Ephemeral)
    });
    want(&registration, "start");
    registered(&registration).await;
    let mut watched = party.reflect(DIRECTORY);
    let started = Instant::now();
    let mut changes = 0_u32;
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    for round in 0..100_u32 {
        tick.tick().await;
        registration.want(Some(Bytes::from(round.to_string())));
        changes += u32::from(watched.has_changed().unwrap());
        watched.mark_unchanged();
    }
    let spans = u32::try_from(started.elapsed().as_secs() / 3 + 1).unwrap();
    eprintln!("{changes} changes seen of 100 in {:?}", started.elapsed());
    assert!(changes <= 6 * spans + 1, "{changes}");
    let waits =
        |state: &RegistrationState| matches!(state, RegistrationState::Pending(why) if why.contains("write budget"));
    state(&registration, waits).await;
    let asked = Instant::now();
    registration.want(None);
    state(&registration, |state| *state == RegistrationState::Withdrawn).await;
    assert!(
        asked.elapsed() < Duration::from_secs(1),
        "a withdrawal took {:?}",
        asked.elapsed()
    );
    want(&registration, "end");
    registered(&registration).await;
    let node = only_node(&client).await.unwrap();
    assert_eq!(node.data, "end");
    party.stop().await;
}

/// A repair once had to wait for the budget that flapping before it had used up.
#[tokio::test]
async fn a_lost_node_comes_back_whatever_was_spent() {
    let server = ZooKeeper::start().await;
    let client = server.client().await;
    let mut party = Party::start(&server.address());
    let budget = WriteBudget {
        writes: 2,
        per: TIMEOUT * 2,
    };
    let registration = party.keep(NodeConfig {
        budget,
        ..own(NodeKind::Ephemeral)
    });
    want(&registration, "a");
    let (_, session) = registered(&registration).await;
    want(&registration, "b");
    let waits =
        |state: &RegistrationState| matches!(state, RegistrationState::Pending(why) if why.contains("write budget"));
    state(&registration, waits).await;
    server.expire(session).await;
    eventually("the new session has the node", TIMEOUT, async || {
        let node = only_node(&client).await?;
        ensure(node.owner != session && node.data == "b", || format!("{node:?}"))
    })
    .await;
    party.stop().await;
}

#[tokio::test]
async fn an_ensemble_out_of_reach_delays_no_other() {
    let mut away = ZooKeeper::start().await;
    away.kill();
    let server = ZooKeeper::start().await;
    let (mut near, mut far) = (Party::start(&server.address()), Party::start(&away.address()));
    let far_registration = far.keep(own(NodeKind::Ephemeral));
    want(&far_registration, "a");
    let started = Instant::now();
    let registration = near.keep(own(NodeKind::Ephemeral));
    want(&registration, "a");
    registered(&registration).await;
    eprintln!("registered after {:?}", started.elapsed());
    assert!(started.elapsed() < Duration::from_secs(5));
    let told = |state: &RegistrationState| matches!(state, RegistrationState::Pending(why) if why.contains("no host"));
    state(&far_registration, told).await;
    away.restart().await;
    registered(&far_registration).await;
    near.stop().await;
    far.stop().await;
}
