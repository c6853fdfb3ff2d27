//! Whole snapshots, with their freshness, under any fault.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::zk::reflector::{Freshness, ReflectorTask, Snapshot};
use e2e::eventually::{ensure, eventually, throughout};
use e2e::fault_proxy::{FaultProxy, Mode};
use e2e::zookeeper::{Client, ZooKeeper};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use zookeeper_client::{Acl, Acls, AuthId, CreateMode, Permission};

use crate::party::{Party, TIMEOUT, live, stale};
use crate::recorder::{ADD_WATCH, GET_CHILDREN, GET_DATA, MULTI_READ, Recorder};

const DIRECTORY: &str = "/services/web";

async fn put(client: &Client, name: &str, data: &str) {
    client.put(&format!("{DIRECTORY}/{name}"), data).await;
}

async fn delete(client: &Client, name: &str) {
    client.delete(&format!("{DIRECTORY}/{name}")).await;
}

/// Notes the sizes of all contents published from now on.
fn note_sizes(mut snapshots: watch::Receiver<Snapshot>) -> (Arc<Mutex<BTreeSet<usize>>>, JoinSet<()>) {
    let sizes = Arc::new(Mutex::new(BTreeSet::new()));
    let mut task = JoinSet::new();
    let noted = Arc::clone(&sizes);
    task.spawn(async move {
        while snapshots.changed().await.is_ok() {
            noted
                .lock()
                .unwrap()
                .insert(snapshots.borrow_and_update().children.len());
        }
    });
    (sizes, task)
}

#[tokio::test]
async fn changes_arrive_in_milliseconds() {
    let server = ZooKeeper::start().await;
    let client = server.client().await;
    let mut party = Party::start(&server.address());
    let mut seen = party.reflect(DIRECTORY);
    live(&mut seen, &[]).await;
    put(&client, "a", "0").await;
    live(&mut seen, &["a=0"]).await;
    let mut delays = Vec::new();
    for round in 1..=30 {
        // Events in quick succession are gathered; this is about the first after a quiet spell.
        throughout("it is quiet", Duration::from_millis(30), async || Ok(())).await;
        let asked = Instant::now();
        put(&client, "a", &round.to_string()).await;
        live(&mut seen, &[&format!("a={round}")]).await;
        delays.push(asked.elapsed());
    }
    delays.sort();
    eprintln!("write to snapshot: median {:?}, worst {:?}", delays[15], delays[29]);
    assert!(delays[15] < Duration::from_millis(50), "{delays:?}");
    delete(&client, "a").await;
    live(&mut seen, &[]).await;
    assert_eq!(seen.borrow().error, "");
    party.stop().await;
}

#[tokio::test]
async fn a_reconnection_catches_up_and_never_shows_less() {
    let server = ZooKeeper::start().await;
    let client = server.client().await;
    let proxy = FaultProxy::start(server.address()).await;
    let mut party = Party::start(&proxy.address());
    let mut seen = party.reflect(DIRECTORY);
    for name in ["a", "b", "c"] {
        put(&client, name, "1").await;
    }
    live(&mut seen, &["a=1", "b=1", "c=1"]).await;
    let (sizes, _task) = note_sizes(seen.clone());
    proxy.set(Mode::Refuse);
    stale(&seen).await;
    delete(&client, "a").await;
    put(&client, "b", "2").await;
    put(&client, "d", "1").await;
    assert_eq!(seen.borrow().children.len(), 3);
    proxy.set(Mode::Forward);
    live(&mut seen, &["b=2", "c=1", "d=1"]).await;
    // And it is watched again, more than once.
    for round in 0..5 {
        let cut = Instant::now();
        proxy.cut();
        put(&client, "b", &round.to_string()).await;
        live(&mut seen, &[&format!("b={round}"), "c=1", "d=1"]).await;
        eprintln!("live {:?} after a cut", cut.elapsed());
    }
    assert_eq!(*sizes.lock().unwrap(), BTreeSet::from([3]));
    party.stop().await;
}

#[tokio::test]
async fn an_absent_path_is_empty_and_its_creation_is_seen() {
    let server = ZooKeeper::start().await;
    let client = server.client().await;
    let mut party = Party::start(&server.address());
    let mut seen = party.reflect(DIRECTORY);
    assert_eq!(seen.borrow().freshness, Freshness::Never);
    live(&mut seen, &[]).await;
    for _ in 0..2 {
        put(&client, "a", "1").await;
        live(&mut seen, &["a=1"]).await;
        delete(&client, "a").await;
        client.delete(DIRECTORY).await;
        live(&mut seen, &[]).await;
    }
    // Only children count.
    put(&client, "a", "1").await;
    client.put(&format!("{DIRECTORY}/a/deeper"), "x").await;
    client.put("/services/website", "y").await;
    put(&client, "b", "1").await;
    live(&mut seen, &["a=1", "b=1"]).await;
    party.stop().await;
}

#[tokio::test]
async fn a_thousand_children_cost_three_requests_and_a_change_one() {
    let server = ZooKeeper::start().await;
    let client = server.client().await;
    let names: Vec<String> = (0..1_000).map(|index| format!("instance-{index:04}")).collect();
    for name in &names {
        put(&client, name, "data").await;
    }
    let recorder = Recorder::start(server.address(), &[]).await;
    let mut party = Party::start(&recorder.address());
    party.session().await;
    recorder.take();
    let started = Instant::now();
    let mut seen = party.reflect(DIRECTORY);
    seen.wait_for(|snapshot| snapshot.children.len() == 1_000)
        .await
        .unwrap();
    eprintln!("1,000 children read in {:?}", started.elapsed());
    let mut requests = recorder.take();
    requests.retain(|code| [GET_DATA, GET_CHILDREN, MULTI_READ].contains(code));
    assert_eq!(requests, [GET_CHILDREN, MULTI_READ, MULTI_READ]);

    let asked = Instant::now();
    put(&client, "instance-0500", "changed").await;
    seen.wait_for(|snapshot| snapshot.children["instance-0500"].data == "changed")
        .await
        .unwrap();
    eprintln!("one of 1,000 changed: {:?}", asked.elapsed());
    delete(&client, "instance-0001").await;
    seen.wait_for(|snapshot| snapshot.children.len() == 999).await.unwrap();
    assert_eq!(recorder.take(), [MULTI_READ, MULTI_READ]);

    let gone: Vec<String> = names[500..].iter().map(|name| format!("{DIRECTORY}/{name}")).collect();
    client.delete_together(&gone).await;
    seen.wait_for(|snapshot| snapshot.children.len() == 499).await.unwrap();
    let reads = recorder.take();
    eprintln!("500 deleted at once: {} reads", reads.len());
    assert!(reads.len() <= 5, "{reads:?}");
    party.stop().await;
}

#[tokio::test]
async fn a_child_whose_name_says_it_all_is_not_read() {
    let server = ZooKeeper::start().await;
    let client = server.client().await;
    put(&client, "plain", "data").await;
    for index in 0..20 {
        put(&client, &format!("said-{index:02}"), "never looked at").await;
    }
    for lacking in [&[][..], &[ADD_WATCH, MULTI_READ]] {
        let recorder = Recorder::start(server.address(), lacking).await;
        let mut party = Party::start(&recorder.address());
        let mut seen = party.reflect_as(DIRECTORY, |task| task.skip_data_if(|name| name.starts_with("said-")));
        seen.wait_for(|snapshot| snapshot.children.len() == 21).await.unwrap();
        let snapshot = seen.borrow_and_update().clone();
        assert_eq!(snapshot.children["said-00"].data, "");
        assert_eq!(snapshot.children["plain"].data, "data");
        let reads = recorder.take();
        let reads = reads.iter().filter(|code| [GET_DATA, MULTI_READ].contains(code));
        // The old server's first read of many is refused.
        assert_eq!(reads.count(), 1, "{lacking:?}");

        put(&client, "said-99", "").await;
        seen.wait_for(|snapshot| snapshot.children.contains_key("said-99"))
            .await
            .unwrap();
        delete(&client, "said-99").await;
        seen.wait_for(|snapshot| !snapshot.children.contains_key("said-99"))
            .await
            .unwrap();
        assert_eq!(seen.borrow().freshness, Freshness::Live);
        party.stop().await;
    }
}

#[tokio::test]
async fn a_polled_path_is_read_at_intervals_and_never_watched_or_created() {
    let server = ZooKeeper::start().await;
    let client = server.client().await;
    for lacking in [&[][..], &[ADD_WATCH, MULTI_READ]] {
        let recorder = Recorder::start(server.address(), lacking).await;
        let proxy = FaultProxy::start(recorder.address()).await;
        let mut party = Party::start(&proxy.address());
        let polling = |task: ReflectorTask| task.polling(Duration::from_millis(50));
        let mut seen = party.reflect_as(DIRECTORY, polling);
        live(&mut seen, &[]).await;
        assert!(client.node(DIRECTORY).await.is_none());
        put(&client, "a", "1").await;
        live(&mut seen, &["a=1"]).await;
        proxy.set(Mode::Refuse);
        stale(&seen).await;
        put(&client, "a", "2").await;
        proxy.set(Mode::Forward);
        live(&mut seen, &["a=2"]).await;
        delete(&client, "a").await;
        client.delete(DIRECTORY).await;
        live(&mut seen, &[]).await;
        let requests = recorder.take();
        assert!(!requests.contains(&ADD_WATCH), "{requests:?}");
        party.stop().await;
    }
}

#[tokio::test]
async fn an_old_server_is_followed_with_one_shot_watches() {
    let server = ZooKeeper::start().await;
    let client = server.client().await;
    let old = Recorder::start(server.address(), &[ADD_WATCH, MULTI_READ]).await;
    let proxy = FaultProxy::start(old.address()).await;
    let mut party = Party::start(&proxy.address());
    let mut seen = party.reflect(DIRECTORY);
    let mut other = party.reflect("/services/other");
    live(&mut seen, &[]).await;
    live(&mut other, &[]).await;
    put(&client, "a", "1").await;
    put(&client, "b", "1").await;
    live(&mut seen, &["a=1", "b=1"]).await;
    for round in 2..5 {
        put(&client, "a", &round.to_string()).await;
        live(&mut seen, &[&format!("a={round}"), "b=1"]).await;
    }
    delete(&client, "b").await;
    live(&mut seen, &["a=4"]).await;
    for round in 0..3 {
        proxy.set(Mode::Refuse);
        stale(&seen).await;
        put(&client, "a", &round.to_string()).await;
        proxy.set(Mode::Forward);
        live(&mut seen, &[&format!("a={round}")]).await;
    }
    let refused = old.take().iter().filter(|&&code| code == ADD_WATCH).count();
    assert!((1..=2).contains(&refused), "{refused} watches were tried");
    party.stop().await;
}

#[tokio::test]
async fn a_path_that_may_not_be_read_is_told_and_retried() {
    let server = ZooKeeper::start().await;
    let owner = zookeeper_client::Client::connect(&server.address()).await.unwrap();
    let anyone = CreateMode::Persistent.with_acls(Acls::anyone_all());
    owner.mkdir(DIRECTORY, &anyone).await.unwrap();
    let closed = [Acl::new(
        Permission::WRITE | Permission::CREATE | Permission::ADMIN,
        AuthId::anyone(),
    )];
    owner.set_acl(DIRECTORY, &closed, None).await.unwrap();

    let mut party = Party::start(&server.address());
    let mut seen = party.reflect(DIRECTORY);
    eventually("the error is told", TIMEOUT, async || {
        let snapshot = seen.borrow().clone();
        ensure(
            snapshot.error.contains("not authorized") && snapshot.freshness == Freshness::Never,
            || format!("{snapshot:?}"),
        )
    })
    .await;
    let open = [Acl::new(Permission::ALL, AuthId::anyone())];
    owner.set_acl(DIRECTORY, &open, None).await.unwrap();
    live(&mut seen, &[]).await;
    assert_eq!(seen.borrow().error, "");

    // A child that may not be read does not hide the others.
    let client = server.client().await;
    put(&client, "secret", "1").await;
    owner
        .set_acl(&format!("{DIRECTORY}/secret"), &closed, None)
        .await
        .unwrap();
    put(&client, "plain", "1").await;
    let mut another = party.reflect(DIRECTORY);
    live(&mut another, &["plain=1"]).await;
    party.stop().await;
}
