//! Four of five instances fail their checks: by the service's rule all five go on, or requests fail at once.

use std::time::Duration;

use e2e::eventually::{ensure, eventually};
use e2e::http;
use e2e::site::{Site, TIMEOUT};
use e2e::zookeeper::ZooKeeper;
use tokio::time::Instant;

use crate::crowd::Crowd;

const COUNT: usize = 5;

async fn site(rule: &str) -> (Site, Crowd) {
    let keys = format!("serverOptions: check inter 200ms fall 2 rise 1\npanic: {rule}");
    let mut site = Site::with_keys(ZooKeeper::start().await, &keys);
    let file = site.directory().join("synapse.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let checked = text.replace(
        "[balance roundrobin]",
        "[balance roundrobin, option httpchk GET /health]",
    );
    assert_ne!(checked, text);
    std::fs::write(&file, checked).unwrap();
    site.synapse.start_and_wait().await.unwrap();
    let crowd = Crowd::register(&site, COUNT).await;
    (site, crowd)
}

async fn feel(crowd: &Crowd, well: bool) {
    for instance in crowd.instances.iter().skip(1) {
        instance.feel(well).await;
    }
}

/// Waits until just so many instances answer.
async fn answer(site: &Site, count: usize) {
    eventually(&format!("{count} instances answer"), TIMEOUT, async || {
        let names = site.answers(COUNT * 4).await?;
        ensure(names.len() == count, || format!("{names:?}"))
    })
    .await;
}

/// Waits until the rule is reported to act, or not to.
async fn acts(site: &Site, active: bool) {
    eventually(&format!("the rule acts: {active}"), TIMEOUT, async || {
        let reply = site
            .synapse
            .get("/v1/services/web_1")
            .await
            .map_err(|error| error.to_string())?;
        let service: serde_json::Value = serde_json::from_str(&reply.body).map_err(|error| error.to_string())?;
        let told = service.get("panic_threshold");
        let is_active = told
            .and_then(|panic| panic.get("active"))
            .and_then(serde_json::Value::as_bool);
        ensure(is_active == Some(active), || format!("{told:?}"))
    })
    .await;
    let metrics = site.synapse.get("/metrics").await.unwrap().body;
    let sample = format!(
        r#"synapse_panic_threshold_active{{service="web_1"}} {}"#,
        u8::from(active)
    );
    assert!(metrics.lines().any(|line| line == sample), "{metrics}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_are_used_while_too_few_are_healthy() {
    let (mut site, crowd) = site("{below: 50%, then: use-all}").await;
    let started = site.haproxy.master().await.unwrap();
    answer(&site, COUNT).await;
    acts(&site, false).await;

    // The first two of four: three of five are enough, so those two get nothing.
    for instance in &crowd.instances[1..3] {
        instance.feel(false).await;
    }
    answer(&site, 3).await;
    acts(&site, false).await;
    feel(&crowd, false).await;
    acts(&site, true).await;
    answer(&site, COUNT).await;

    // It takes no synapse.
    site.synapse.kill();
    feel(&crowd, true).await;
    crowd.instances[0].feel(false).await;
    answer(&site, COUNT - 1).await;
    feel(&crowd, false).await;
    answer(&site, COUNT).await;
    site.synapse.start_and_wait().await.unwrap();
    acts(&site, true).await;

    crowd.instances[0].feel(true).await;
    feel(&crowd, true).await;
    acts(&site, false).await;
    answer(&site, COUNT).await;
    let now = site.haproxy.master().await.unwrap();
    assert_eq!((now.id, now.reloads), (started.id, started.reloads));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_fail_at_once_while_too_few_are_healthy() {
    let (site, crowd) = site("{below: 50%, then: fail-fast}").await;
    answer(&site, COUNT).await;
    acts(&site, false).await;
    feel(&crowd, false).await;
    acts(&site, true).await;
    let healthy = crowd.requests(0..1).await;
    for _ in 0..20 {
        let begun = Instant::now();
        let reply = http::send("GET", site.port(), "/", Duration::from_secs(5))
            .await
            .unwrap();
        assert_eq!(reply.status, 503);
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    }
    assert_eq!(crowd.requests(0..1).await, healthy, "nobody is overrun");
    feel(&crowd, true).await;
    acts(&site, false).await;
    answer(&site, COUNT).await;
}
