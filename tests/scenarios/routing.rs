//! From a health check to a request through localhost, and back out again, without a reload and without a lost request.

use std::time::Duration;

use e2e::eventually::{ensure, eventually};
use e2e::load::Load;
use e2e::site::{BACKEND, Site, TIMEOUT};
use e2e::zookeeper::ZooKeeper;

/// Waits until a HAProxy started from the file alone would send requests to these members and to no other server.
async fn file_has_just_the_members(site: &Site, names: &[&str]) {
    let mut wanted: Vec<String> = names.iter().map(|name| site.member(name).address()).collect();
    wanted.sort();
    eventually("the file is as the running HAProxy", TIMEOUT, async || {
        let file = site.haproxy.configuration();
        let servers = file
            .lines()
            .filter(|line| line.trim_start().starts_with("server ") && !line.contains(" disabled"));
        let mut addresses: Vec<&str> = servers.filter_map(|line| line.split_whitespace().nth(2)).collect();
        addresses.sort_unstable();
        ensure(addresses == wanted, || file.clone())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_healthy_instance_is_registered_and_answers_through_localhost() {
    let site = Site::start(&["one"]).await;
    assert_eq!(
        site.haproxy.master().await.unwrap().reloads,
        0,
        "the first instance came by a reload"
    );
    let ready = site.synapse.get("/ready").await.unwrap();
    assert_eq!((ready.status, ready.body.trim()), (200, "true"));
    file_has_just_the_members(&site, &["one"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_come_and_go_under_load_without_a_reload() {
    let mut site = Site::start(&["one", "two"]).await;
    let load = Load::start(site.port());
    for _ in 0..3 {
        site.add("three").await;
        site.serves_all().await.unwrap();
        let mut leaving = site.members.remove("three").unwrap();
        assert!(leaving.nerve.terminate().await.success());
        site.serves_all().await.unwrap();
        leaving.instance.stop().await;
    }
    load.take().assert_flawless();
    assert_eq!(site.haproxy.master().await.unwrap().reloads, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_instance_costs_no_request_and_leaves() {
    let mut site = Site::start(&["one", "two", "three"]).await;
    let load = Load::start(site.port());
    site.member_mut("two").instance.kill();
    site.serves(&["one", "three"]).await.unwrap();
    load.take().assert_flawless();
    assert_eq!(site.haproxy.master().await.unwrap().reloads, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_instance_gets_nothing_more_and_comes_back() {
    let site = Site::start(&["one", "two"]).await;
    let load = Load::start(site.port());
    let disabled = site
        .member("two")
        .nerve
        .send("PUT", "/services/two/disable")
        .await
        .unwrap();
    assert_eq!(disabled.status, 200, "{disabled:?}");
    site.serves(&["one"]).await.unwrap();
    let enabled = site
        .member("two")
        .nerve
        .send("PUT", "/services/two/enable")
        .await
        .unwrap();
    assert_eq!(enabled.status, 200, "{enabled:?}");
    site.serves_all().await.unwrap();
    load.take().assert_flawless();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_of_five_removed_in_one_batch_all_leave() {
    // The guard would hold them, for they are alive.
    let mut site = Site::start_with_keys(&["a", "b", "c", "d", "e"], "guard: {policy: trust}").await;
    let load = Load::start(site.port());
    let client = site.zookeeper.client().await;
    // No process re-creates a killed nerve's node, so that all three go in one transaction, as in a mass expiry.
    for leaving in ["b", "c", "e"] {
        site.member_mut(leaving).nerve.kill();
    }
    let paths: Vec<String> = ["b", "c", "e"].iter().map(|name| site.member(name).path()).collect();
    client.delete_together(&paths).await;
    site.serves(&["a", "d"]).await.unwrap();
    load.take().assert_flawless();
    assert_eq!(site.haproxy.master().await.unwrap().reloads, 0);
    file_has_just_the_members(&site, &["a", "d"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn synapse_started_before_zookeeper_serves_when_it_comes() {
    let mut zookeeper = ZooKeeper::start().await;
    zookeeper.kill();
    let mut site = Site::new(zookeeper);
    site.synapse.start_and_wait().await.unwrap();
    assert_eq!(site.synapse.get("/ready").await.unwrap().status, 503);
    site.zookeeper.restart().await;
    site.add("one").await;
    site.serves_all().await.unwrap();
    eventually("synapse is ready", TIMEOUT, async || {
        let ready = site.synapse.get("/ready").await.map_err(|error| error.to_string())?;
        ensure(ready.status == 200, || format!("{ready:?}"))
    })
    .await;
}

/// It once spun on a start that was due and could not be done yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_synapse_that_waits_for_its_first_snapshot_does_not_spin() {
    let mut zookeeper = ZooKeeper::start().await;
    zookeeper.kill();
    let mut site = Site::new(zookeeper);
    site.synapse.start_and_wait().await.unwrap();
    let (ticks, since) = (site.synapse.processor_ticks(), tokio::time::Instant::now());
    eventually("several attempts have failed", TIMEOUT, async || {
        let status = site.synapse.status().await?;
        let failures = status
            .pointer("/ensembles/0/failures")
            .and_then(serde_json::Value::as_u64);
        ensure(failures >= Some(5), || format!("{failures:?} attempts"))
    })
    .await;
    let taken = site.synapse.processor_ticks() - ticks;
    // A tick is a hundredth of a second: a loop that spins takes most of them, the attempts and questions a few.
    let passed = since.elapsed().as_millis() / 10;
    assert!(u128::from(taken) * 4 < passed, "{taken} of {passed} ticks");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_without_instances_answers_503_rather_than_refusing() {
    let mut site = Site::new(ZooKeeper::start().await);
    let client = site.zookeeper.client().await;
    client.put(e2e::site::PATH, "").await;
    site.synapse.start_and_wait().await.unwrap();
    eventually("the frontend answers 503", TIMEOUT, async || {
        let reply = e2e::http::send("GET", site.port(), "/", Duration::from_secs(10)).await;
        let reply = reply.map_err(|error| error.to_string())?;
        ensure(reply.status == 503, || format!("{reply:?}"))
    })
    .await;
    assert_eq!(site.haproxy.active(BACKEND).await.unwrap(), Vec::<String>::new());
}
