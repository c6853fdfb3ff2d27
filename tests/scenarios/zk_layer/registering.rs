//! One owned node, under any fault.

use std::time::Duration;

use bytes::Bytes;
use common::zk::registration::RegistrationState;
use common::zk::session::SessionState;
use e2e::eventually::{ensure, eventually, throughout};
use e2e::fault_proxy::{FaultProxy, Mode};
use e2e::zookeeper::{Client, Node, ZooKeeper};
use tokio::time::{Instant, timeout};

use crate::party::{Party, SESSION_TIMEOUT, TIMEOUT, registered, state, want};

const DIRECTORY: &str = "/services/web";
const PATH: &str = "/services/web/one";

/// The only node there, when it is as expected.
async fn only_node(client: &Client, data: &str) -> Result<Node, String> {
    let nodes = client.nodes(DIRECTORY).await;
    match nodes.as_slice() {
        [node] if node.data == data => Ok(node.clone()),
        other => Err(format!("{other:?}")),
    }
}

async fn node_appears(client: &Client, data: &str) -> Node {
    eventually("the node is there", TIMEOUT, async || only_node(client, data).await).await
}

#[tokio::test]
async fn a_node_is_made_updated_and_withdrawn() {
    let server = ZooKeeper::start().await;
    let client = server.client().await;
    let mut party = Party::start(&server.address());
    let registration = party.register(PATH);
    want(&registration, "a");
    let (created_by, owner) = registered(&registration).await;
    let node = only_node(&client, "a").await.unwrap();
    assert_eq!((node.created_by, node.owner), (created_by, owner));
    assert_eq!(owner, party.session().await);

    for weight in 0..100 {
        want(&registration, &weight.to_string());
    }
    let node = node_appears(&client, "99").await;
    assert_eq!(
        registered(&registration).await.0,
        node.created_by,
        "it was not made anew"
    );

    let asked = Instant::now();
    registration.want(None);
    state(&registration, |state| *state == RegistrationState::Withdrawn).await;
    eprintln!("withdrawn after {:?}", asked.elapsed());
    assert!(client.nodes(DIRECTORY).await.is_empty());
    want(&registration, "again");
    registered(&registration).await;
    only_node(&client, "again").await.unwrap();
    party.stop().await;
}

#[tokio::test]
async fn what_others_do_to_the_node_is_repaired() {
    let server = ZooKeeper::start().await;
    let client = server.client().await;
    let mut party = Party::start(&server.address());
    let registration = party.register(PATH);
    want(&registration, "a");
    registered(&registration).await;
    for _ in 0..3 {
        let deleted = Instant::now();
        client.delete(PATH).await;
        let node = node_appears(&client, "a").await;
        eprintln!("back {:?} after the deletion", deleted.elapsed());
        eventually("it says so", TIMEOUT, async || {
            let (created_by, _) = registered(&registration).await;
            ensure(created_by == node.created_by, || format!("{created_by} for {node:?}"))
        })
        .await;
        client.put(PATH, "forged").await;
        node_appears(&client, "a").await;
    }
    party.stop().await;
}

#[tokio::test]
async fn an_expired_session_costs_a_moment() {
    let server = ZooKeeper::start().await;
    let client = server.client().await;
    let mut party = Party::start(&server.address());
    let registration = party.register(PATH);
    want(&registration, "a");
    let mut link = party.ensemble.link();
    for _ in 0..3 {
        let (_, session) = registered(&registration).await;
        let known = async {
            let lost = link.wait_for(|link| !matches!(link, SessionState::Connected(now) if now.id() == session));
            timeout(TIMEOUT, lost).await.unwrap().unwrap();
            Instant::now()
        };
        let ((), known) = tokio::join!(server.expire(session), known);
        eventually("a new session has the node", TIMEOUT, async || {
            let node = only_node(&client, "a").await?;
            ensure(node.owner != session, || format!("{node:?}"))
        })
        .await;
        eprintln!("back {:?} after the expiry was known", known.elapsed());
        assert!(known.elapsed() < Duration::from_secs(2), "{:?}", known.elapsed());
        state(
            &registration,
            |state| matches!(state, RegistrationState::Registered { session: now, .. } if *now != session),
        )
        .await;
    }
    party.stop().await;
}

#[tokio::test]
async fn a_create_whose_reply_is_lost_makes_one_node() {
    let server = ZooKeeper::start().await;
    let client = server.client().await;
    let proxy = FaultProxy::start(server.address()).await;
    let mut party = Party::start(&proxy.address());
    let session = party.session().await;
    let registration = party.register(PATH);
    proxy.cut_after_create(PATH);
    want(&registration, "a");
    proxy.tripped(1).await;
    let node = node_appears(&client, "a").await;
    assert_eq!(registered(&registration).await, (node.created_by, session));
    throughout("it stays the one node", SESSION_TIMEOUT * 2, async || {
        let now = only_node(&client, "a").await?;
        ensure(now.created_by == node.created_by, || format!("{now:?}"))
    })
    .await;
    party.stop().await;
}

#[tokio::test]
async fn a_predecessor_that_has_not_expired_is_replaced_without_a_gap() {
    let server = ZooKeeper::start().await;
    let client = server.client().await;
    let proxy = FaultProxy::start(server.address()).await;
    let mut killed = Party::start(&proxy.address());
    let old = killed.register(PATH);
    want(&old, "a");
    let (_, old_session) = registered(&old).await;
    // As after a kill -9: the session lives on at the server without a client.
    proxy.set(Mode::Freeze);

    let mut restarted = Party::start(&server.address());
    let new = restarted.register(PATH);
    let mut watched = restarted.reflect(DIRECTORY);
    watched.wait_for(|snapshot| snapshot.children.len() == 1).await.unwrap();
    let untouched = only_node(&client, "a").await.unwrap();
    assert_eq!(untouched.owner, old_session, "nothing was wanted yet");
    want(&new, "a");
    let (_, new_session) = registered(&new).await;
    throughout("the new node stays", SESSION_TIMEOUT * 2, async || {
        let node = only_node(&client, "a").await?;
        ensure(node.owner == new_session, || format!("{node:?}"))?;
        let seen = watched.borrow_and_update().children.len();
        ensure(seen == 1, || format!("a watcher saw {seen} nodes"))
    })
    .await;
    restarted.stop().await;
}

#[tokio::test]
async fn living_twins_take_turns_slowly_and_say_so() {
    let server = ZooKeeper::start().await;
    let client = server.client().await;
    let (mut first, mut second) = (Party::start(&server.address()), Party::start(&server.address()));
    let (one, two) = (first.register(PATH), second.register(PATH));
    want(&one, "1");
    registered(&one).await;
    let mut owners = Vec::new();
    want(&two, "2");
    registered(&two).await;
    let rival = |state: &RegistrationState| matches!(state, RegistrationState::Pending(reason) if reason == "another process registers the same instance");
    state(&one, rival).await;
    throughout("there is one node", Duration::from_secs(10), async || {
        let nodes = client.nodes(DIRECTORY).await;
        ensure(nodes.len() <= 1, || format!("{nodes:?}"))?;
        owners.extend(nodes.into_iter().map(|node| node.owner));
        Ok(())
    })
    .await;
    owners.dedup();
    eprintln!("{} turns in 10 s", owners.len());
    assert!(owners.len() <= 8, "{owners:x?}");
    // A twin that leaves does not take the node of the other with it.
    second.stop().await;
    registered(&one).await;
    node_appears(&client, "1").await;
    first.stop().await;
}

#[tokio::test]
async fn a_twin_that_withdraws_leaves_the_other_its_node() {
    let server = ZooKeeper::start().await;
    let client = server.client().await;
    let (mut old, mut new) = (Party::start(&server.address()), Party::start(&server.address()));
    let (one, two) = (old.register(PATH), new.register(PATH));
    want(&one, "1");
    registered(&one).await;
    want(&two, "2");
    let (created_by, _) = registered(&two).await;
    state(&one, |state| matches!(state, RegistrationState::Pending(_))).await;
    one.want(None);
    state(&one, |state| *state == RegistrationState::Withdrawn).await;
    assert_eq!(only_node(&client, "2").await.unwrap().created_by, created_by);
    old.stop().await;
    new.stop().await;
}

#[tokio::test]
async fn a_withdrawal_is_owed_through_an_outage() {
    let server = ZooKeeper::start().await;
    let client = server.client().await;
    let proxy = FaultProxy::start(server.address()).await;
    let mut party = Party::start(&proxy.address());
    let registration = party.register(PATH);
    want(&registration, "a");
    registered(&registration).await;
    proxy.set(Mode::Refuse);
    registration.want(None);
    state(&registration, |state| {
        matches!(state, RegistrationState::Withdrawing(_))
    })
    .await;
    only_node(&client, "a").await.unwrap();
    proxy.set(Mode::Forward);
    state(&registration, |state| *state == RegistrationState::Withdrawn).await;
    assert!(client.nodes(DIRECTORY).await.is_empty());

    // A ghost of an earlier process goes as well, when this one says that the instance is down.
    let ghost = server.client().await;
    ghost.put_ephemeral(PATH, "ghost").await;
    let next = party.register(PATH);
    next.want(None);
    state(&next, |state| *state == RegistrationState::Withdrawn).await;
    assert!(client.nodes(DIRECTORY).await.is_empty());
    party.stop().await;
}

#[tokio::test]
async fn the_task_ends_only_after_the_withdrawal_or_a_bounded_effort() {
    let server = ZooKeeper::start().await;
    let client = server.client().await;
    let proxy = FaultProxy::start(server.address()).await;
    let mut party = Party::start(&proxy.address());
    let registration = party.register(PATH);
    want(&registration, "a");
    registered(&registration).await;
    registration.want(None);
    party.stop_users().await;
    assert_eq!(*registration.state().borrow(), RegistrationState::Withdrawn);
    assert!(client.nodes(DIRECTORY).await.is_empty());
    party.stop().await;

    let mut cut_off = Party::start(&proxy.address());
    let registration = cut_off.register(PATH);
    want(&registration, "a");
    registered(&registration).await;
    proxy.set(Mode::Freeze);
    registration.want(None);
    let stopping = Instant::now();
    cut_off.stop().await;
    eprintln!("stopped {:?} after the loss of ZooKeeper", stopping.elapsed());
    assert!(stopping.elapsed() < Duration::from_secs(8));
}

#[tokio::test]
async fn what_must_not_be_touched_or_sent_is_told() {
    let server = ZooKeeper::start().await;
    let client = server.client().await;
    client.put(PATH, "by hand").await;
    let mut party = Party::start(&server.address());
    let registration = party.register(PATH);
    want(&registration, "a");
    let told = |part: &'static str| move |state: &RegistrationState| matches!(state, RegistrationState::Pending(reason) if reason.contains(part));
    state(&registration, told("not ephemeral")).await;
    only_node(&client, "by hand").await.unwrap();
    client.delete(PATH).await;
    registered(&registration).await;

    let session = party.session().await;
    registration.want(Some(Bytes::from(vec![b'x'; 1_000_001])));
    state(&registration, told("at most 1000000")).await;
    only_node(&client, "a").await.unwrap();
    registration.want(Some(Bytes::from(vec![b'x'; 1_000_000])));
    assert_eq!(registered(&registration).await.1, session);
    party.stop().await;
}

#[tokio::test]
async fn parents_and_an_absent_chroot_are_made() {
    let server = ZooKeeper::start().await;
    let client = server.client().await;
    let mut party = Party::start(&format!("{}/env/test", server.address()));
    let mut seen = party.reflect(DIRECTORY);
    let registration = party.register(PATH);
    want(&registration, "a");
    registered(&registration).await;
    assert_eq!(client.nodes("/env/test/services/web").await.len(), 1);
    crate::party::live(&mut seen, &["one=a"]).await;
    party.stop().await;
    assert!(client.nodes("/env/test/services/web").await.is_empty());
}
