//! Too few healthy servers, as HAProxy sees and decides it.

use std::time::Duration;

use common::ratio::PerMille;
use synapse::config::{Below, PanicThreshold, ServiceConfig, Then};
use synapse::desired::Server;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::bench::{Backend, Fixture, eventually, server};
use crate::weighing;

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

const HALF: Below = Below::Share(PerMille::from_percent(50));

async fn backends() -> Vec<Backend> {
    let mut all = Vec::new();
    for name in NAMES {
        all.push(Backend::start(name).await);
    }
    all
}

/// A service with the rule, whose servers are checked.
fn ruled(service: &mut ServiceConfig, below: Below, then: Then) {
    service.server_options = "check inter 100ms fastinter 50ms fall 1 rise 1".into();
    service.backend.push("option httpchk GET /health".into());
    service.haproxy.panic_threshold = Some(PanicThreshold { below, then });
}

async fn bench(below: Below, then: Then) -> Fixture {
    let mut bench = Fixture::new(&["web_1"]).await;
    for service in &mut bench.services {
        ruled(service, below, then);
    }
    bench.start().await;
    bench
}

fn servers(backends: &[Backend]) -> Vec<Server> {
    backends.iter().map(server).collect()
}

/// Waits until exactly these answer requests.
async fn answer(bench: &Fixture, wanted: &[&str]) {
    eventually(&format!("{wanted:?} answer"), async || {
        bench.names("web_1", wanted.len() * 4).await == wanted
    })
    .await;
}

/// What one request gets: the head of the answer, or nothing when the connection ends without one.
async fn reply(port: u16) -> (String, Duration) {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let exchange = async {
        // A connection that is refused at once may be closed before.
        stream.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").await.ok();
        let mut text = Vec::new();
        while !text.windows(4).any(|end| end == b"\r\n\r\n") {
            if stream.read_buf(&mut text).await.is_ok_and(|read| read > 0) {
                continue;
            }
            break;
        }
        text
    };
    let text = timeout(Duration::from_secs(5), exchange)
        .await
        .expect("an answer or an end");
    (String::from_utf8_lossy(&text).into_owned(), begun.elapsed())
}

#[tokio::test]
async fn with_too_few_healthy_servers_all_are_used_also_without_synapse() {
    let backends = backends().await;
    let mut bench = bench(HALF, Then::UseAll).await;
    bench.want(&[("web_1", servers(&backends))]);
    bench.in_sync().await;
    answer(&bench, &NAMES).await;

    // Three of five are enough: the sick get nothing.
    backends[0].feel(false);
    backends[1].feel(false);
    answer(&bench, &NAMES[2..]).await;
    eventually("the status reports it", async || {
        bench.status().services[0]
            .panic_threshold
            .as_ref()
            .is_some_and(|panic| (panic.healthy, panic.all, panic.active) == (3, 5, false))
    })
    .await;

    backends[2].feel(false);
    answer(&bench, &NAMES).await;
    eventually("the status reports it", async || {
        bench.status().services[0]
            .panic_threshold
            .as_ref()
            .is_some_and(|panic| panic.active && panic.why.contains("2 of 5"))
    })
    .await;

    // HAProxy acts alone.
    bench.stop().await;
    backends[0].feel(true);
    backends[1].feel(true);
    answer(&bench, &["a", "b", "d", "e"]).await;
    for backend in &backends {
        backend.feel(false);
    }
    answer(&bench, &NAMES).await;

    // The next synapse changes nothing of it.
    bench.start().await;
    bench.in_sync().await;
    answer(&bench, &NAMES).await;
    for backend in &backends {
        backend.feel(true);
    }
    eventually("all is well", async || {
        bench.status().services[0]
            .panic_threshold
            .as_ref()
            .is_some_and(|panic| panic.healthy == 5 && !panic.active)
    })
    .await;
    assert!(bench.reloads().is_empty());
}

#[tokio::test]
async fn changes_of_members_need_no_reload() {
    let backends = backends().await;
    let bench = bench(HALF, Then::UseAll).await;
    bench.want(&[("web_1", servers(&backends[..2]))]);
    bench.in_sync().await;
    backends[0].feel(false);
    backends[1].feel(false);
    answer(&bench, &["a", "b"]).await;

    // Three healthy ones come: now they are enough, until two of them drain.
    bench.want(&[("web_1", servers(&backends))]);
    bench.in_sync().await;
    answer(&bench, &NAMES[2..]).await;
    let mut fewer = servers(&backends);
    fewer[2] = weighing(&backends[2], 0);
    fewer[3] = weighing(&backends[3], 0);
    bench.want(&[("web_1", fewer.clone())]);
    bench.in_sync().await;
    // One of three is healthy.
    answer(&bench, &["a", "b", "e"]).await;
    fewer.remove(0);
    bench.want(&[("web_1", fewer)]);
    bench.in_sync().await;
    // One of two is half of them, and not fewer.
    answer(&bench, &["e"]).await;
    assert_eq!(bench.reloads(), [("first_start", "ok", 1)]);
}

#[tokio::test]
async fn a_service_with_a_backup_is_left_to_haproxys_own_rule() {
    let backends = backends().await;
    let bench = bench(HALF, Then::FailFast).await;
    let mut all = servers(&backends);
    all[4].backup = true;
    bench.want(&[("web_1", all)]);
    bench.in_sync().await;
    for backend in &backends[..3] {
        backend.feel(false);
    }
    answer(&bench, &["d"]).await;
    backends[3].feel(false);
    answer(&bench, &["e"]).await;
    let status = bench.status().services[0].panic_threshold.clone().unwrap();
    assert!(!status.active && status.why.contains("there are backups"), "{status:?}");
}

#[tokio::test]
async fn with_too_few_healthy_servers_requests_fail_at_once() {
    let backends = backends().await;
    let mut bench = Fixture::new(&["web_1", "tcp_2"]).await;
    ruled(&mut bench.services[0], Below::Count(3), Then::FailFast);
    ruled(&mut bench.services[1], HALF, Then::FailFast);
    let tcp = bench.port("tcp_2");
    bench.services[1].frontend = vec!["mode tcp".into(), format!("bind 127.0.0.1:{tcp}")];
    bench.services[1].backend = vec!["mode tcp".into(), "option httpchk GET /health".into()];
    bench.start().await;
    bench.want(&[("web_1", servers(&backends)), ("tcp_2", servers(&backends))]);
    bench.in_sync().await;
    answer(&bench, &NAMES).await;
    assert!(reply(tcp).await.0.starts_with("HTTP/1.1 200"));

    for backend in &backends[..3] {
        backend.feel(false);
    }
    let port = bench.port("web_1");
    eventually("requests are refused", async || {
        let (text, took) = reply(port).await;
        let is_refused = text.starts_with("HTTP/1.1 503");
        assert!(!is_refused || took < Duration::from_secs(1), "refused after {took:?}");
        is_refused
    })
    .await;
    eventually("connections are closed", async || {
        let (text, took) = reply(tcp).await;
        assert!(
            !text.is_empty() || took < Duration::from_secs(1),
            "closed after {took:?}"
        );
        text.is_empty()
    })
    .await;
    // Refused, not tried: those that are healthy are there.
    assert_eq!(bench.get("web_1").await, None);

    backends[0].feel(true);
    answer(&bench, &["a", "d", "e"]).await;
    eventually("connections are taken", async || {
        reply(tcp).await.0.starts_with("HTTP/1.1 200")
    })
    .await;

    // Fewer than the number are no panic while all there are are healthy.
    bench.want(&[("web_1", servers(&backends[3..])), ("tcp_2", vec![])]);
    bench.in_sync().await;
    answer(&bench, &["d", "e"]).await;
    assert_eq!(bench.reloads(), [("first_start", "ok", 1)]);
}

#[tokio::test]
async fn members_that_come_and_go_under_load_are_no_panic() {
    let backends = backends().await;
    let bench = bench(Below::Share(PerMille::from_percent(100)), Then::FailFast).await;
    bench.want(&[("web_1", servers(&backends[..1]))]);
    bench.in_sync().await;
    answer(&bench, &["a"]).await;
    let load = bench.load("web_1", 4);
    for _ in 0..20 {
        bench.want(&[("web_1", servers(&backends))]);
        bench.in_sync().await;
        bench.want(&[("web_1", servers(&backends[..1]))]);
        bench.in_sync().await;
    }
    let (requests, failed) = load.stop().await;
    assert!(requests > 100, "{requests}");
    assert_eq!(failed, 0, "of {requests}");
}

#[tokio::test]
async fn a_rule_comes_and_goes_with_one_reload_each() {
    let backends = backends().await;
    let mut bench = Fixture::new(&["web_1"]).await;
    ruled(&mut bench.services[0], HALF, Then::UseAll);
    let rule = bench.services[0].haproxy.panic_threshold.take();
    bench.start().await;
    bench.want(&[("web_1", servers(&backends))]);
    bench.in_sync().await;
    bench.stop().await;
    bench.services[0].haproxy.panic_threshold = rule;
    bench.start().await;
    bench.in_sync().await;
    eventually("HAProxy has the rule", async || {
        bench.on_disk().contains("backend web_1_all")
    })
    .await;
    assert_eq!(bench.reloads(), [("structure", "ok", 1)]);
    for backend in &backends[1..] {
        backend.feel(false);
    }
    answer(&bench, &NAMES).await;
    bench.stop().await;
    bench.services[0].haproxy.panic_threshold = None;
    bench.start().await;
    eventually("the rule is gone", async || !bench.on_disk().contains("web_1_all")).await;
    answer(&bench, &["a"]).await;
    assert_eq!(bench.reloads(), [("structure", "ok", 1)]);
}
