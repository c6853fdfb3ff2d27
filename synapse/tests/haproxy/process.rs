//! Reloads, and HAProxy's life and death.

use std::time::Duration;

use crate::bench::{Backend, Fixture, eventually, server, server_at};
use crate::own;
use synapse::haproxy::ServerPhase;

#[tokio::test]
async fn jitter_puts_off_a_new_configuration_and_nothing_else() {
    let (one, two) = (Backend::start("one").await, Backend::start("two").await);
    let mut bench = Fixture::new(&["web_1"]).await;
    bench.jitter = Duration::from_hours(24);
    bench.start().await;
    bench.want(&[("web_1", vec![server(&one)])]);
    bench.in_sync().await;
    assert_eq!(
        bench.reloads(),
        [("first_start", "ok", 1)],
        "a first start waits for nothing"
    );

    bench.stop().await;
    bench.services[0].backend.push("timeout server 3s".into());
    bench.start().await;
    bench.want(&[("web_1", vec![server(&one), server(&two)])]);
    eventually("the new instance is served", async || {
        let status = bench.status();
        let servers = status.services.iter().flat_map(|service| &service.servers);
        servers.filter(|server| server.state == ServerPhase::Active).count() == 2
            && status.pending.contains("the sections differ")
    })
    .await;
    assert_eq!(bench.names("web_1", 6).await, ["one", "two"]);
    assert!(bench.reloads().is_empty(), "{:?}", bench.reloads());
    assert!(!bench.status().in_sync);

    // More than there are slots: an instance waits for this reload, which loads the new configuration too.
    let mut many = vec![server(&one)];
    many.extend((1..20).map(|n| server_at(&format!("x{n}"), &format!("127.0.1.{n}:{}", one.address.port()))));
    bench.want(&[("web_1", many)]);
    bench.in_sync().await;
    assert_eq!(bench.reloads(), [("slots_exhausted", "ok", 1)]);
    assert!(bench.on_disk().contains("timeout server 3s"));
}

#[tokio::test]
async fn changes_by_hand_are_put_right() {
    let (one, two) = (Backend::start("one").await, Backend::start("two").await);
    let mut bench = Fixture::new(&["web_1"]).await;
    bench.start().await;
    bench.want(&[("web_1", vec![server(&one)])]);
    bench.in_sync().await;
    let name = own(&one);
    bench.query(&format!("set server web_1/{name} state maint")).await;
    bench.query(&format!("set server web_1/{name} weight 99")).await;
    bench
        .query(&format!(
            "set server web_1/slot_2 addr 127.0.0.1 port {}",
            two.address.port()
        ))
        .await;
    bench.query("set server web_1/slot_2 state ready").await;
    eventually("it is repaired", async || bench.status().drift_repairs >= 2).await;
    bench.in_sync().await;
    assert_eq!(bench.names("web_1", 4).await, ["one"]);
    let state = bench.query("show servers state web_1").await;
    assert!(state.contains(&format!("{name} 127.0.0.1 2 0 1 ")), "{state}");
    assert_eq!(bench.reloads(), [("first_start", "ok", 1)]);
}

#[tokio::test]
async fn a_foreign_reload_is_noticed_and_a_killed_haproxy_is_started_again() {
    let (one, two) = (Backend::start("one").await, Backend::start("two").await);
    let mut bench = Fixture::new(&["web_1"]).await;
    bench.start().await;
    bench.want(&[("web_1", vec![server(&one)])]);
    bench.in_sync().await;
    let pid = bench.status().pid;
    bench.query_master("reload").await;
    eventually("a new worker is known", async || {
        bench.status().pid.is_some_and(|now| Some(now) != pid)
    })
    .await;
    bench.want(&[("web_1", vec![server(&one), server(&two)])]);
    bench.in_sync().await;
    assert_eq!(bench.names("web_1", 4).await, ["one", "two"]);

    bench.kill_haproxy().await;
    eventually("it runs again", async || {
        bench.names("web_1", 4).await == ["one", "two"]
    })
    .await;
    bench.in_sync().await;
    // And one that was adopted.
    bench.stop().await;
    bench.start().await;
    bench.in_sync().await;
    bench.kill_haproxy().await;
    eventually("it runs again", async || {
        bench.names("web_1", 4).await == ["one", "two"]
    })
    .await;
}

#[tokio::test]
async fn options_of_one_instance_alone_come_with_a_reload() {
    let (one, two) = (Backend::start("one").await, Backend::start("two").await);
    let mut bench = Fixture::new(&["web_1"]).await;
    bench.services[0].server_options = "cookie {{ .Name }}".into();
    bench.services[0].backend.push("cookie SRV insert".into());
    bench.start().await;
    bench.want(&[("web_1", vec![])]);
    bench.in_sync().await;
    bench.want(&[("web_1", vec![server(&one), server(&two)])]);
    bench.in_sync().await;
    assert_eq!(bench.names("web_1", 4).await, ["one", "two"]);
    assert!(bench.on_disk().contains("enabled cookie two"));
    bench.want(&[("web_1", vec![server(&two)])]);
    bench.in_sync().await;
    bench.want(&[("web_1", vec![server(&one), server(&two)])]);
    bench.in_sync().await;
    assert_eq!(bench.reloads(), [("first_start", "ok", 1), ("option_class", "ok", 1)]);
}

#[tokio::test]
async fn ten_reloads_under_load_lose_nothing() {
    let (one, two) = (Backend::start("one").await, Backend::start("two").await);
    let mut bench = Fixture::new(&["web_1"]).await;
    bench.config.reload_min_interval = Duration::from_millis(10);
    bench.start().await;
    bench.want(&[("web_1", vec![server(&one), server(&two)])]);
    bench.in_sync().await;
    let load = bench.load("web_1", 8);
    for _ in 0..10 {
        bench.handle().reload().await.unwrap();
    }
    let (requests, failed) = load.stop().await;
    assert_eq!(failed, 0, "of {requests}");
    assert!(requests > 200, "{requests}");
    assert_eq!(bench.reloads(), [("first_start", "ok", 1), ("operator", "ok", 10)]);
    bench.in_sync().await;
}

#[tokio::test]
async fn haproxy_killed_in_the_middle_of_a_reload_is_started_again() {
    let (one, two) = (Backend::start("one").await, Backend::start("two").await);
    let mut bench = Fixture::new(&["web_1"]).await;
    bench.start().await;
    bench.want(&[("web_1", vec![server(&one)])]);
    bench.in_sync().await;
    let haproxy = bench.handle().clone();
    let (verdict, ()) = tokio::join!(haproxy.reload(), async {
        // The new file is there before the reload begins.
        bench.kill_haproxy().await;
        bench.want(&[("web_1", vec![server(&one), server(&two)])]);
    });
    // In either order it is reported and HAProxy runs.
    drop(verdict);
    bench.in_sync().await;
    assert_eq!(bench.names("web_1", 4).await, ["one", "two"]);
}

#[tokio::test]
async fn someone_else_runs_haproxy_and_a_command_reloads_it() {
    let (one, two) = (Backend::start("one").await, Backend::start("two").await);
    let mut bench = Fixture::new(&["web_1"]).await;
    bench.external();
    bench.start().await;
    bench.want(&[("web_1", vec![server(&one)])]);
    bench.in_sync().await;
    assert_eq!(bench.get("web_1").await.as_deref(), Some("one"));
    bench.want(&[("web_1", vec![server(&one), server(&two)])]);
    bench.in_sync().await;
    assert_eq!(bench.names("web_1", 4).await, ["one", "two"]);
    bench.handle().reload().await.unwrap();
    assert_eq!(bench.names("web_1", 4).await, ["one", "two"]);
    assert_eq!(bench.reloads(), [("first_start", "ok", 1), ("operator", "ok", 1)]);
}

#[tokio::test]
async fn stop_on_exit_stops_haproxy() {
    let mut bench = Fixture::new(&["web_1"]).await;
    bench.stop_on_exit();
    bench.start().await;
    bench.want(&[("web_1", vec![])]);
    bench.in_sync().await;
    bench.stop().await;
    assert!(bench.is_dead());
}

/// As when a task of synapse's breaks: it is started again, and HAProxy is not to be away meanwhile.
#[tokio::test]
async fn a_detached_router_does_not_stop_haproxy() {
    let one = Backend::start("one").await;
    let mut bench = Fixture::new(&["web_1"]).await;
    bench.stop_on_exit();
    bench.start().await;
    bench.want(&[("web_1", vec![server(&one)])]);
    bench.in_sync().await;
    bench.handle().detach();
    bench.stop().await;
    assert!(!bench.is_dead());
    assert_eq!(bench.get("web_1").await.as_deref(), Some("one"));
}
