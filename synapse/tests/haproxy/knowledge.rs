//! What is known at a start, and what is not.

use std::time::Duration;

use synapse::config::DefaultServer;

use crate::bench::{Backend, Fixture, eventually, server};

#[tokio::test]
async fn the_next_synapse_changes_nothing_that_is_right() {
    let (one, two, three) = (
        Backend::start("one").await,
        Backend::start("two").await,
        Backend::start("three").await,
    );
    let mut bench = Fixture::new(&["web_1"]).await;
    bench.start().await;
    bench.want(&[("web_1", vec![server(&one)])]);
    bench.in_sync().await;
    bench.want(&[("web_1", vec![server(&one), server(&two)])]);
    bench.in_sync().await;
    let (pid, file) = (bench.status().pid, bench.on_disk());

    bench.stop().await;
    assert_eq!(bench.names("web_1", 4).await, ["one", "two"], "HAProxy goes on");
    bench.start().await;
    bench.in_sync().await;
    let status = bench.status();
    assert_eq!(
        (status.pid, status.runtime_commands_ok, status.reloads.len()),
        (pid, 0, 0)
    );
    assert_eq!(bench.on_disk(), file);

    bench.stop().await;
    bench.want(&[("web_1", vec![server(&two), server(&three)])]);
    bench.start().await;
    bench.in_sync().await;
    assert_eq!(bench.names("web_1", 6).await, ["three", "two"]);
    let status = bench.status();
    assert_eq!((status.pid, status.reloads.len()), (pid, 0));

    bench.stop().await;
    bench.services[0].backend.push("timeout server 3s".into());
    bench.start().await;
    bench.in_sync().await;
    assert_eq!(bench.reloads(), [("structure", "ok", 1)]);
    assert_eq!(bench.names("web_1", 6).await, ["three", "two"]);
}

#[tokio::test]
async fn the_last_file_serves_while_a_watcher_has_not_answered() {
    let one = Backend::start("one").await;
    let mut bench = Fixture::new(&["web_1", "api_2"]).await;
    bench.start().await;
    bench.want(&[("web_1", vec![server(&one)]), ("api_2", vec![])]);
    bench.in_sync().await;
    bench.stop().await;
    bench.kill_haproxy().await;
    bench.unknown();
    bench.start().await;
    eventually("HAProxy runs again", async || {
        bench.get("web_1").await.as_deref() == Some("one")
    })
    .await;
    bench.want(&[("web_1", vec![server(&one)]), ("api_2", vec![server(&one)])]);
    bench.in_sync().await;
    assert_eq!(bench.get("api_2").await.as_deref(), Some("one"));
    assert_eq!(bench.reloads(), [("first_start", "ok", 1)]);
}

#[tokio::test]
async fn an_unknown_service_delays_no_other() {
    let one = Backend::start("one").await;
    let mut bench = Fixture::new(&["web_1", "api_2"]).await;
    bench.wait_only(Duration::from_millis(200));
    bench.start().await;
    bench.want(&[("web_1", vec![server(&one)])]);
    eventually("the known service is served", async || {
        bench.get("web_1").await.as_deref() == Some("one")
    })
    .await;
    eventually("synapse is ready", async || bench.latch_is_gone()).await;
    bench.want(&[("api_2", vec![server(&one)])]);
    bench.in_sync().await;
    assert_eq!(bench.get("api_2").await.as_deref(), Some("one"));
    assert_eq!(bench.reloads(), [("first_start", "ok", 1)]);
}

#[tokio::test]
async fn an_unknown_service_starts_with_its_default_servers() {
    let (spare, one) = (Backend::start("spare").await, Backend::start("one").await);
    let mut bench = Fixture::new(&["web_1"]).await;
    bench.services[0].selection.default_servers = vec![DefaultServer {
        name: "spare".to_owned(),
        address: spare.address,
        weight: None,
    }];
    bench.wait_only(Duration::from_millis(200));
    bench.start().await;
    eventually("the default server answers", async || {
        bench.get("web_1").await.as_deref() == Some("spare")
    })
    .await;
    bench.want(&[("web_1", vec![server(&one)])]);
    bench.in_sync().await;
    assert_eq!(bench.names("web_1", 4).await, ["one"]);
    assert_eq!(bench.reloads(), [("first_start", "ok", 1)]);
}

#[tokio::test]
async fn a_running_haproxy_knows_better_than_what_is_remembered() {
    let (one, two) = (Backend::start("one").await, Backend::start("two").await);
    let mut bench = Fixture::new(&["web_1"]).await;
    bench.start().await;
    bench.want(&[("web_1", vec![server(&one), server(&two)])]);
    bench.in_sync().await;
    bench.stop().await;
    bench.remember(&[("web_1", vec![server(&one)])]);
    bench.start().await;
    eventually("HAProxy is adopted", async || bench.latch_is_gone()).await;
    assert_eq!(bench.names("web_1", 4).await, ["one", "two"]);
    bench.want(&[("web_1", vec![server(&one)])]);
    bench.in_sync().await;
    assert_eq!(bench.names("web_1", 4).await, ["one"]);
    assert!(bench.reloads().is_empty());
}

#[tokio::test]
async fn what_is_remembered_serves_where_nothing_runs() {
    let one = Backend::start("one").await;
    let mut bench = Fixture::new(&["web_1"]).await;
    bench.remember(&[("web_1", vec![server(&one)])]);
    bench.start().await;
    bench.in_sync().await;
    assert_eq!(bench.get("web_1").await.as_deref(), Some("one"));
    assert!(bench.latch_is_gone());
}

/// `--once` took it for done and exited before the answer of the source was applied.
#[tokio::test]
async fn what_is_only_remembered_is_not_complete() {
    let (one, two) = (Backend::start("one").await, Backend::start("two").await);
    let mut bench = Fixture::new(&["web_1"]).await;
    bench.remember(&[("web_1", vec![server(&one)])]);
    bench.start().await;
    bench.in_sync().await;
    assert!(!bench.status().complete);
    bench.want(&[("web_1", vec![server(&one), server(&two)])]);
    eventually("it is complete", async || bench.status().complete).await;
    assert_eq!(bench.names("web_1", 4).await, ["one", "two"]);
}
