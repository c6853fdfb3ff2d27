//! The bench itself: a fault that does not happen would make every scenario pass.

use std::time::Duration;

use e2e::eventually::{ensure, eventually, throughout};
use e2e::fault_proxy::{FaultProxy, Mode};
use e2e::haproxy::Haproxy;
use e2e::instance::Instance;
use e2e::load::Load;
use e2e::zookeeper::{Client, ZooKeeper};

const SOON: Duration = Duration::from_secs(10);

/// What the client under fault must not do for ever.
async fn within<T>(span: Duration, call: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(span, call).await.ok()
}

#[tokio::test]
async fn zookeeper_keeps_its_data_over_a_kill_and_loses_them_when_wiped() {
    let mut zookeeper = ZooKeeper::start().await;
    zookeeper.client().await.put("/a/b", "kept").await;
    zookeeper.kill();
    zookeeper.restart().await;
    assert_eq!(zookeeper.client().await.node("/a/b").await.unwrap().data, "kept");
    zookeeper.stop().await;
    zookeeper.wipe();
    zookeeper.restart().await;
    assert_eq!(zookeeper.client().await.nodes("/a").await, []);
}

#[tokio::test]
async fn a_session_can_be_expired_from_outside() {
    let zookeeper = ZooKeeper::start().await;
    let owner = zookeeper.client().await;
    owner.put_ephemeral("/services/web/one", "data").await;
    let watcher = zookeeper.client().await;
    let node = watcher.node("/services/web/one").await.unwrap();
    zookeeper.expire(node.owner).await;
    eventually("the node is gone with its session", SOON, async || {
        let nodes = watcher.nodes("/services/web").await;
        ensure(nodes.is_empty(), || format!("{nodes:?}"))
    })
    .await;
}

#[tokio::test]
async fn the_proxy_lets_a_create_through_and_cuts_before_its_reply() {
    let zookeeper = ZooKeeper::start().await;
    let proxy = FaultProxy::start(zookeeper.address()).await;
    let witness = zookeeper.client().await;
    witness.put("/services/web/other", "").await;
    let client = Client::connect(&proxy.address()).await;
    proxy.cut_after_create("unlucky");
    client.put("/services/web/lucky", "").await;
    let create = tokio::task::JoinSet::from_iter([async move { client.put("/services/web/unlucky", "").await }]);
    within(SOON, proxy.tripped(1)).await.unwrap();
    drop(create);
    assert!(witness.node("/services/web/unlucky").await.is_some());
}

#[tokio::test]
async fn the_proxy_freezes_refuses_and_swallows_replies() {
    let zookeeper = ZooKeeper::start().await;
    let proxy = FaultProxy::start(zookeeper.address()).await;
    let witness = zookeeper.client().await;
    let client = Client::connect(&proxy.address()).await;
    client.put("/n/first", "").await;

    proxy.set(Mode::Freeze);
    assert!(
        within(Duration::from_millis(300), client.node("/n/first"))
            .await
            .is_none()
    );
    proxy.set(Mode::Forward);
    assert!(within(SOON, client.node("/n/first")).await.flatten().is_some());

    proxy.set(Mode::SwallowReplies);
    let delete = within(Duration::from_millis(300), client.delete("/n/first"));
    assert!(delete.await.is_none());
    assert!(witness.node("/n/first").await.is_none());

    proxy.set(Mode::Refuse);
    throughout("nobody gets through", Duration::from_millis(300), async || {
        let mut stream = tokio::net::TcpStream::connect(proxy.address()).await.unwrap();
        let read = tokio::io::AsyncReadExt::read(&mut stream, &mut [0]).await;
        ensure(matches!(read, Ok(0) | Err(_)), || format!("{read:?}"))
    })
    .await;
}

#[tokio::test]
async fn the_load_counts_answers_and_notices_a_dead_service() {
    let directory = tempfile::tempdir().unwrap();
    let mut instance = Instance::start("one", directory.path()).await;
    assert_eq!(instance.first_request().await, None);
    let load = Load::start(instance.port());
    eventually("the load is answered", SOON, async || {
        ensure(load.requests() > 100, || "few".to_owned())
    })
    .await;
    assert!(instance.first_request().await.unwrap() <= instance.last_request().await.unwrap());
    let tally = load.take();
    tally.assert_flawless();
    assert_eq!(tally.answered.get("one"), Some(&tally.requests));
    assert!(instance.requests().await >= tally.requests);
    instance.kill();
    eventually("the load notices", SOON, async || {
        ensure(!load.take().failures.is_empty(), || "not yet".to_owned())
    })
    .await;
}

#[tokio::test]
async fn haproxy_is_seen_from_outside_and_only_ours_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let settings = format!(
        "global\n stats socket {} level admin\ndefaults\n timeout connect 1s\n timeout client 1s\n timeout server 1s\n\
         backend web_1\n server a 127.0.0.1:1001 weight 7\n server b 127.0.0.1:1002 disabled\n",
        path("haproxy.sock"),
    );
    std::fs::write(path("haproxy.cfg"), settings).unwrap();
    let haproxy = Haproxy::in_directory(directory.path().to_owned());
    let arguments = ["haproxy", "-W", "-S", &path("master.sock"), "-f", &path("haproxy.cfg")].map(str::to_owned);
    let mut running = common::process::Detached::start(&arguments).unwrap();
    let active = eventually("HAProxy answers", SOON, async || haproxy.active("web_1").await).await;
    assert_eq!(active, ["127.0.0.1:1001"]);
    assert_eq!(haproxy.servers("web_1").await.unwrap()[0].weight(), 7);
    let master = haproxy.master().await.unwrap();
    assert_eq!((u32::try_from(master.id).ok(), master.reloads), (running.id(), 0));
    assert_eq!(haproxy.kill(), 2, "the master and its worker");
    running.ended().await;
}
