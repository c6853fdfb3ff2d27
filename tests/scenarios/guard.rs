//! What a sick registry takes away stays in rotation while it is alive, and not a moment longer than that or than it may.

use std::time::Duration;

use e2e::eventually::{ensure, eventually};
use e2e::http;
use e2e::instance::Instance;
use e2e::load::Load;
use e2e::site::{BACKEND, PATH, Site, TIMEOUT};
use e2e::zookeeper::ZooKeeper;
use serde_json::Value;
use tokio::time::Instant;

use crate::crowd::Crowd;

/// Waits until so many are held, and returns them as the API shows them.
async fn held(site: &Site, count: usize) -> Vec<Value> {
    let mut held = Vec::new();
    eventually(&format!("{count} are held"), TIMEOUT, async || {
        let reply = site.synapse.get("/v1/holds").await.map_err(|error| error.to_string())?;
        let services: Value = serde_json::from_str(&reply.body).map_err(|error| error.to_string())?;
        held = services
            .pointer("/0/held")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        ensure(held.len() == count, || reply.body)
    })
    .await;
    held
}

async fn metric(site: &Site, sample: &str) -> bool {
    let metrics = site.synapse.get("/metrics").await.unwrap().body;
    metrics.lines().any(|line| line == sample)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_wiped_and_restarted_under_load_costs_no_request() {
    let names = ["one", "two", "three"];
    let mut site = Site::start(&names).await;
    let load = Load::start(site.port());
    for _ in 0..2 {
        site.zookeeper.kill();
        site.zookeeper.wipe();
        site.zookeeper.restart().await;
        let client = site.zookeeper.client().await;
        eventually(
            "all are registered again, and stay in rotation meanwhile",
            TIMEOUT,
            async || {
                let active = site.haproxy.active(BACKEND).await?;
                assert_eq!(active.len(), names.len(), "{active:?}");
                let nodes = client.nodes(PATH).await;
                ensure(nodes.len() == names.len(), || format!("{nodes:?}"))
            },
        )
        .await;
        held(&site, 0).await;
        site.serves_all().await.unwrap();
    }
    load.take().assert_flawless();
    assert_eq!(site.haproxy.master().await.unwrap().reloads, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_deregistered_by_mistake_is_held_and_let_go_on_time() {
    let hold_time = Duration::from_secs(8);
    let mut site = Site::with_keys(ZooKeeper::start().await, "guard: {holdTime: 8s, settle: 1s}");
    site.synapse.start_and_wait().await.unwrap();
    let crowd = Crowd::register(&site, 4).await;
    let load = Load::start(site.port());
    let since = Instant::now();
    crowd.deregister(0..4).await;
    let instances = held(&site, 4).await;
    crowd.are_active(&site, 0..4).await;
    assert!(
        instances.iter().all(|one| one["left_seconds"].as_u64() <= Some(8)),
        "{instances:?}"
    );
    crowd.are_active(&site, 0..4).await;
    // A start that took long makes the source young for a second.
    eventually("the reason is that nobody is left", TIMEOUT, async || {
        let active = metric(&site, r#"synapse_guard_active{service="web",guard="empty"} 1"#).await;
        ensure(active, || "another reason".to_owned())
    })
    .await;
    assert!(metric(&site, r#"synapse_guard_held{service="web"} 4"#).await);
    load.take().assert_flawless();
    drop(load);
    crowd.are_active(&site, 0..0).await;
    let took = since.elapsed();
    println!("let go after {took:?}");
    // Not before, and not much later: a busy machine may take seconds to report it.
    assert!(
        (hold_time..hold_time + Duration::from_secs(7)).contains(&took),
        "let go after {took:?}"
    );
    held(&site, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_keeps_what_is_held_and_lets_it_go() {
    let mut site = Site::with_keys(ZooKeeper::start().await, "guard: {holdTime: 3s, settle: 1s}");
    site.synapse.start_and_wait().await.unwrap();
    let crowd = Crowd::register(&site, 3).await;
    crowd.deregister(0..3).await;
    held(&site, 3).await;
    let kept = site
        .synapse
        .send("POST", "/v1/holds/web_1/keep?for=10m&by=test&why=trial");
    assert_eq!(kept.await.unwrap().status, 200);
    let instances = held(&site, 3).await;
    assert!(
        instances
            .iter()
            .all(|one| one["kept"] == true && one["left_seconds"].as_u64() > Some(500)),
        "{instances:?}"
    );
    crowd.are_active(&site, 0..3).await;
    let released = site.synapse.send("POST", "/v1/holds/web_1/release?by=test");
    assert_eq!(released.await.unwrap().body, "3 instances\n");
    crowd.are_active(&site, 0..0).await;
    let nothing = site.synapse.send("POST", "/v1/holds/web_1/release").await.unwrap();
    assert_eq!(nothing.status, 409);
    let log = site.synapse.log();
    assert!(log.contains(r#"by="test" why="trial""#), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_of_twelve_really_gone_leave_by_their_failing_checks() {
    let keys = "serverOptions: check inter 300ms fall 2 rise 1";
    let mut site = Site::with_keys(ZooKeeper::start().await, keys);
    site.synapse.start_and_wait().await.unwrap();
    let mut crowd = Crowd::register(&site, 12).await;
    let killed = Instant::now();
    for instance in crowd.instances.iter_mut().skip(2) {
        instance.kill();
    }
    crowd.deregister(2..12).await;
    // The hold time is minutes: only the checks can be so quick. Two of them take 0.6 s; the rest is a busy machine.
    crowd.are_active(&site, 0..2).await;
    let took = killed.elapsed();
    println!("out of rotation after {took:?}");
    assert!(took < Duration::from_secs(5), "out of rotation only after {took:?}");
    held(&site, 0).await;
    let load = Load::start(site.port());
    eventually("the two that are left serve", TIMEOUT, async || {
        ensure(load.requests() > 200, || "not yet".to_owned())
    })
    .await;
    load.take().assert_flawless();
    eventually("they have left HAProxy as well", TIMEOUT, async || {
        let status = site.synapse.status().await?;
        let servers = status
            .pointer("/routers/0/haproxy/services/0/servers")
            .and_then(Value::as_array);
        ensure(servers.map(Vec::len) == Some(2), || format!("{servers:?}"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn single_removals_are_live_at_once() {
    // Held instances would stay to the end of the test.
    let mut site = Site::with_keys(ZooKeeper::start().await, "guard: {least: 4, holdTime: 1h, settle: 1s}");
    site.synapse.start_and_wait().await.unwrap();
    let crowd = Crowd::register(&site, 5).await;
    for n in (2..5).rev() {
        crowd.deregister(n..n + 1).await;
        crowd.are_active(&site, 0..n).await;
    }
    held(&site, 0).await;
}

/// How long the first request may take from the start of synapse, and how often that is tried on a busy machine.
const FIRST_REQUEST: Duration = Duration::from_secs(1);
const TRIES: u32 = 5;

/// Starts synapse and returns how long the first answered request took from then.
async fn first_request(site: &mut Site) -> Duration {
    let since = Instant::now();
    site.synapse.start();
    let port = site.port();
    eventually("a request is answered", TIMEOUT, async || {
        let reply = http::send("GET", port, "/", Duration::from_secs(5)).await;
        let reply = reply.map_err(|error| error.to_string())?;
        ensure(reply.status == 200, || format!("{reply:?}"))
    })
    .await;
    since.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cold_start_without_zookeeper_serves_from_the_snapshot() {
    let mut site = Site::new(ZooKeeper::start().await);
    site.synapse.start_and_wait().await.unwrap();
    let crowd = Crowd::register(&site, 2).await;
    assert!(site.synapse.terminate().await.success());
    let snapshot = site.directory().join("haproxy.cfg.snapshot");
    site.zookeeper.kill();
    for has_file in [true, false] {
        let mut best = Duration::MAX;
        for _ in 0..TRIES {
            site.haproxy.kill();
            if !has_file {
                std::fs::remove_file(site.directory().join("haproxy.cfg")).unwrap();
            }
            best = best.min(first_request(&mut site).await);
            crowd.are_active(&site, 0..2).await;
            let status = site.synapse.status().await.unwrap();
            assert_eq!(status["routers"][0]["services"][0]["freshness"]["state"], "snapshot");
            assert!(metric(&site, r#"synapse_guard_active{service="web",guard="snapshot"} 1"#).await);
            assert!(site.synapse.terminate().await.success());
            if best < FIRST_REQUEST {
                break;
            }
        }
        println!("first request after {best:?}, with the file: {has_file}");
        assert!(best < FIRST_REQUEST, "{best:?}, with the file: {has_file}");
    }
    // An invalid snapshot is no obstacle, and the next content of the sources replaces it.
    std::fs::write(&snapshot, "synapse-snapshot 1 0000\n{").unwrap();
    site.synapse.start_and_wait().await.unwrap();
    assert!(site.synapse.log().contains("its checksum is not that of its content"));
    site.zookeeper.restart().await;
    eventually("the snapshot is whole again", TIMEOUT, async || {
        let text = std::fs::read_to_string(&snapshot).map_err(|error| error.to_string())?;
        ensure(text.matches(r#""node":"#).count() == 2, || text.clone())
    })
    .await;
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&snapshot).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn default_servers_help_those_that_are_left_as_long_as_others_are_doubted() {
    let directory = tempfile::tempdir().unwrap();
    let helper = Instance::start("helper", directory.path()).await;
    let keys = format!(
        "guard: {{policy: defaults, holdTime: 6s, settle: 1s}}\ndefaultServers: [{{host: 127.0.0.1, port: {}}}]",
        helper.port()
    );
    let mut site = Site::with_keys(ZooKeeper::start().await, &keys);
    site.synapse.start_and_wait().await.unwrap();
    let crowd = Crowd::register(&site, 5).await;
    let started = site.haproxy.master().await.unwrap();
    let load = Load::start(site.port());

    let since = Instant::now();
    crowd.deregister(1..5).await;
    crowd.are_active_with(&site, 0..1, &[&helper]).await;
    let gone = held(&site, 4).await;
    assert!(
        gone.iter().all(|one| one["left_seconds"].as_u64() <= Some(6)),
        "{gone:?}"
    );
    assert!(metric(&site, r#"synapse_guard_held{service="web"} 4"#).await);
    let before = crowd.requests(1..5).await;
    eventually("the helper answers", TIMEOUT, async || {
        let requests = helper.requests().await;
        ensure(requests > 100, || format!("{requests} requests"))
    })
    .await;
    assert_eq!(crowd.requests(1..5).await, before, "who is gone gets nothing");

    // When the others would be let go, the one that is left has to do.
    crowd.are_active(&site, 0..1).await;
    assert!(since.elapsed() >= Duration::from_secs(6), "after {:?}", since.elapsed());
    held(&site, 0).await;
    load.take().assert_flawless();
    assert_eq!(site.haproxy.master().await.unwrap().reloads, started.reloads);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn default_servers_leave_when_those_that_were_doubted_are_back() {
    let directory = tempfile::tempdir().unwrap();
    let helper = Instance::start("helper", directory.path()).await;
    let keys = format!(
        "guard: {{policy: defaults, holdTime: 1h, settle: 1s}}\ndefaultServers: [{{host: 127.0.0.1, port: {}}}]",
        helper.port()
    );
    let mut site = Site::with_keys(ZooKeeper::start().await, &keys);
    site.synapse.start_and_wait().await.unwrap();
    let crowd = Crowd::register(&site, 4).await;
    let load = Load::start(site.port());
    crowd.deregister(0..4).await;
    crowd.are_active_with(&site, 0..0, &[&helper]).await;
    held(&site, 4).await;
    crowd.register_again(0..4).await;
    crowd.are_active(&site, 0..4).await;
    held(&site, 0).await;
    load.take().assert_flawless();
}
