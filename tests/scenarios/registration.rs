//! nerve and ZooKeeper: one node while the service is healthy, none when it is not, under any fault between them.

use std::net::Ipv4Addr;
use std::time::Duration;

use common::clock::unix_millis;
use e2e::eventually::{ensure, eventually, throughout};
use e2e::fault_proxy::{FaultProxy, Mode};
use e2e::site::{Member, PATH, SESSION_TIMEOUT, Site, TIMEOUT};
use e2e::zookeeper::{Client, Node, TICK, ZooKeeper};

/// A site with one member whose nerve runs; no synapse.
struct Scene {
    site: Site,
    client: Client,
    member: Member,
}

impl Scene {
    async fn start() -> Self {
        let site = Site::new(ZooKeeper::start().await);
        let address = site.zookeeper.address();
        Self::through(site, &address).await
    }

    /// nerve reaches ZooKeeper at `address`.
    async fn through(site: Site, address: &str) -> Self {
        let client = site.zookeeper.client().await;
        let mut member = site.prepare("one", address).await;
        member.nerve.start();
        Self { site, client, member }
    }

    async fn one_node(&self) -> Node {
        self.one_node_within(TIMEOUT).await
    }

    async fn one_node_within(&self, within: Duration) -> Node {
        Site::one_node(&self.client, &self.member.path(), within)
            .await
            .unwrap_or_else(|late| panic!("{late}"))
    }

    async fn no_node_within(&self, within: Duration) {
        eventually("the node is gone", within, async || {
            let nodes = self.client.nodes(PATH).await;
            ensure(nodes.is_empty(), || format!("{nodes:?}"))
        })
        .await;
    }

    /// Holds that `node`, and no other, stays for `span`.
    async fn stays(&self, node: &Node, span: Duration) {
        throughout("the node stays as it is", span, async || {
            let nodes = self.client.nodes(PATH).await;
            ensure(nodes.as_slice() == [node.clone()], || {
                format!("{nodes:?} instead of {node:?}")
            })
        })
        .await;
    }
}

#[tokio::test]
async fn a_healthy_service_has_a_node_in_go_nerves_format() {
    let scene = Scene::start().await;
    let node = scene.one_node().await;
    let port = scene.member.instance.port();
    let expected = format!(r#"{{"available":true,"host":"127.0.0.1","port":{port},"name":"one","weight":255}}"#);
    assert_eq!(node.data, expected);
    assert_ne!(node.owner, 0, "the node is ephemeral");
}

#[tokio::test]
async fn a_dead_service_loses_its_node_and_a_restarted_one_gets_it_back() {
    let mut scene = Scene::start().await;
    let first = scene.one_node().await;
    scene.member.instance.kill();
    scene.no_node_within(TIMEOUT).await;
    let port = scene.member.instance.port();
    scene.member.instance = e2e::instance::Instance::start_at("one", port, scene.site.directory()).await;
    assert!(scene.one_node().await.created_by > first.created_by);
}

#[tokio::test]
async fn sigterm_removes_the_node_within_a_second_and_ends_well() {
    let mut scene = Scene::start().await;
    scene.one_node().await;
    scene.member.nerve.signal(rustix::process::Signal::TERM);
    scene.no_node_within(Duration::from_secs(1)).await;
    assert!(scene.member.nerve.wait().await.success());
}

#[tokio::test]
async fn zookeeper_restarted_within_the_session_timeout_leaves_the_node_alone() {
    let mut scene = Scene::start().await;
    let before = scene.one_node().await;
    scene.site.zookeeper.kill();
    scene.site.zookeeper.restart().await;
    scene.client = scene.site.zookeeper.client().await;
    scene.stays(&before, SESSION_TIMEOUT * 2).await;
}

#[tokio::test]
async fn zookeeper_back_after_the_session_timeout_has_exactly_one_node_again() {
    let mut scene = Scene::start().await;
    scene.one_node().await;
    scene.site.zookeeper.kill();
    throughout("nerve outlives ZooKeeper", SESSION_TIMEOUT * 2, async || {
        ensure(scene.member.nerve.ended().is_none(), || "it ended".to_owned())
    })
    .await;
    scene.site.zookeeper.restart().await;
    scene.client = scene.site.zookeeper.client().await;
    // The server gives every session it knew a whole timeout more; after that only a living owner's node is there.
    throughout("there are no two nodes", SESSION_TIMEOUT + TICK * 2, async || {
        let nodes = scene.client.nodes(PATH).await;
        ensure(nodes.len() <= 1, || format!("{nodes:?}"))
    })
    .await;
    let node = scene.one_node().await;
    scene.stays(&node, SESSION_TIMEOUT).await;
}

#[tokio::test]
async fn a_wiped_zookeeper_gets_the_node_again() {
    let mut scene = Scene::start().await;
    scene.one_node().await;
    scene.site.zookeeper.kill();
    scene.site.zookeeper.wipe();
    scene.site.zookeeper.restart().await;
    scene.client = scene.site.zookeeper.client().await;
    let node = scene.one_node().await;
    scene.stays(&node, SESSION_TIMEOUT * 2).await;
}

#[tokio::test]
async fn a_session_that_expires_on_the_server_has_its_node_back_within_two_seconds() {
    let scene = Scene::start().await;
    let before = scene.one_node().await;
    scene.site.zookeeper.expire(before.owner).await;
    let expired = unix_millis();
    let again = eventually("the node is back", TIMEOUT, async || {
        let node = scene.client.node(&scene.member.path()).await.ok_or("absent")?;
        ensure(node.created_by != before.created_by, || "still the old one".to_owned())?;
        Ok(node)
    })
    .await;
    let took = again.created_at.cast_unsigned().saturating_sub(expired);
    assert!(took < 2_000, "the node was back only after {took} ms");
    assert_ne!(again.owner, before.owner);
    scene.stays(&again, SESSION_TIMEOUT * 2).await;
}

#[tokio::test]
async fn a_link_cut_right_after_the_create_makes_no_second_node() {
    let site = Site::new(ZooKeeper::start().await);
    let proxy = FaultProxy::start(site.zookeeper.address()).await;
    proxy.cut_after_create("one_127.0.0.1");
    let scene = Scene::through(site, &proxy.address()).await;
    tokio::time::timeout(TIMEOUT, proxy.tripped(1))
        .await
        .expect("nerve creates its node");
    let node = scene.one_node().await;
    scene.stays(&node, SESSION_TIMEOUT * 2).await;
}

#[tokio::test]
async fn a_frozen_link_longer_than_the_session_ends_with_exactly_one_node() {
    let site = Site::new(ZooKeeper::start().await);
    let proxy = FaultProxy::start(site.zookeeper.address()).await;
    let scene = Scene::through(site, &proxy.address()).await;
    scene.one_node().await;
    proxy.set(Mode::Freeze);
    scene.no_node_within(SESSION_TIMEOUT * 2).await;
    proxy.set(Mode::Forward);
    let node = scene.one_node().await;
    scene.stays(&node, SESSION_TIMEOUT * 2).await;
}

#[tokio::test]
async fn nerve_killed_and_restarted_within_a_second_keeps_exactly_one_node() {
    let mut scene = Scene::start().await;
    let before = scene.one_node().await;
    scene.member.nerve.kill();
    scene.member.nerve.start();
    let taken_over = eventually("the new nerve owns the node", TIMEOUT, async || {
        let nodes = scene.client.nodes(PATH).await;
        let [node] = nodes.as_slice() else {
            return Err(format!("{nodes:?}"));
        };
        ensure(node.owner != before.owner, || "the dead nerve still owns it".to_owned())?;
        Ok(node.clone())
    })
    .await;
    scene.stays(&taken_over, SESSION_TIMEOUT * 2).await;
}

#[tokio::test]
async fn nerve_killed_at_any_point_of_its_start_needs_no_hand() {
    let mut scene = Scene::start().await;
    for milliseconds in [1, 5, 10, 15, 20, 30, 40, 80, 160] {
        scene.member.nerve.kill();
        scene.member.nerve.start();
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    }
    let node = eventually("the last nerve owns the node", SESSION_TIMEOUT * 2, async || {
        let status = scene.member.nerve.status().await?;
        let node = scene.one_node().await;
        ensure(status.to_string().contains(r#""State":"reported""#), || {
            status.to_string()
        })?;
        Ok(node)
    })
    .await;
    scene.stays(&node, SESSION_TIMEOUT * 2).await;
}

#[tokio::test]
async fn nerve_started_before_zookeeper_says_so_and_registers_when_it_comes() {
    let mut zookeeper = ZooKeeper::start().await;
    zookeeper.kill();
    let site = Site::new(zookeeper);
    let mut member = site.prepare("one", &site.zookeeper.address()).await;
    member.nerve.start_and_wait().await.unwrap();
    shows_its_reporter(&member, |state, detail| state != "reported" && !detail.is_empty()).await;
    let mut site = site;
    site.zookeeper.restart().await;
    let client = site.zookeeper.client().await;
    Site::one_node(&client, &member.path(), TIMEOUT).await.unwrap();
    shows_its_reporter(&member, |state, _| state == "reported").await;
}

#[tokio::test]
async fn an_ensemble_that_moved_under_its_name_is_found_where_the_name_leads_now() {
    let site = Site::new(ZooKeeper::start().await);
    let hosts = site.directory().join("hosts");
    let lead_to = |address: Ipv4Addr| std::fs::write(&hosts, format!("{address} ensemble.test\n")).unwrap();
    // A port without a listener as yet.
    let second = Ipv4Addr::new(127, 0, 0, 2);
    lead_to(second);
    let name = format!("ensemble.test:{}", site.zookeeper.port());
    let mut member = site.prepare("one", &name).await;
    member.nerve = member.nerve.with_hosts(&hosts);
    member.nerve.start_and_wait().await.unwrap();
    shows_its_reporter(&member, |state, detail| state != "reported" && !detail.is_empty()).await;
    lead_to(Ipv4Addr::LOCALHOST);
    let client = site.zookeeper.client().await;
    let mut scene = Scene { site, client, member };
    let node = scene.one_node().await;
    // With a session in use, the server moves: its next start has the session, and the name leads there.
    scene.site.zookeeper.kill();
    scene.site.zookeeper.move_to(second);
    lead_to(second);
    scene.site.zookeeper.restart().await;
    scene.client = scene.site.zookeeper.client().await;
    scene.stays(&node, SESSION_TIMEOUT * 2).await;
}

/// Waits until nerve's status shows its reporter's state and detail like this.
async fn shows_its_reporter(member: &Member, wanted: impl Fn(&str, &str) -> bool) {
    eventually("nerve's status shows how its reporter is", TIMEOUT, async || {
        let status = member.nerve.status().await?;
        let word = |name: &str| {
            status
                .pointer(&format!("/0/Reporters/0/{name}"))
                .and_then(|word| word.as_str())
        };
        let (state, detail) = word("State").zip(word("Detail")).ok_or_else(|| status.to_string())?;
        ensure(wanted(state, detail), || status.to_string())
    })
    .await;
}
