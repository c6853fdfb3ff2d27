//! Membership, without a reload where that can be.

use std::time::Duration;

use synapse::desired::Server;
use synapse::health::Check;
use tokio::net::TcpListener;

use crate::bench::{Backend, Fixture, eventually, server, server_at};
use crate::{own, weighing};

#[tokio::test]
async fn members_come_and_go_without_a_reload() {
    let (one, two) = (Backend::start("one").await, Backend::start("two").await);
    let mut bench = Fixture::new(&["web_1"]).await;
    bench.start().await;
    assert_eq!(
        bench.status().pid,
        None,
        "nothing is started before every watcher has answered"
    );
    bench.want(&[("web_1", vec![server(&one)])]);
    bench.in_sync().await;
    assert_eq!(bench.get("web_1").await.as_deref(), Some("one"));
    let first = bench.status();
    assert_eq!(bench.reloads(), [("first_start", "ok", 1)]);
    assert!(bench.latch_is_gone());

    bench.want(&[("web_1", vec![server(&one), server(&two)])]);
    bench.in_sync().await;
    assert_eq!(bench.names("web_1", 4).await, ["one", "two"]);
    assert!(bench.on_disk().contains(&two.address.to_string()));
    let slot = bench.slot_of("web_1", &two).unwrap();
    assert_eq!(
        (slot.name.to_string(), &*slot.instance),
        (format!("slot_{}", slot.slot), "two")
    );

    bench.want(&[("web_1", vec![server(&two)])]);
    bench.in_sync().await;
    assert_eq!(bench.names("web_1", 4).await, ["two"]);
    assert!(!bench.on_disk().contains(&format!(" {} ", one.address)));

    bench.want(&[("web_1", vec![server(&one), server(&two)])]);
    bench.in_sync().await;
    assert_eq!(
        bench.slot_of("web_1", &one).map(|slot| slot.slot),
        Some(1),
        "it has its old slot"
    );
    assert_eq!(bench.names("web_1", 4).await, ["one", "two"]);

    bench.want(&[("web_1", vec![])]);
    bench.in_sync().await;
    assert_eq!(bench.get("web_1").await, None);
    eventually("the slots are free again", async || {
        bench.status().services[0].servers.is_empty()
    })
    .await;
    assert_eq!(bench.status().pid, first.pid);
    assert_eq!(bench.reloads(), [("first_start", "ok", 1)]);
}

#[tokio::test]
async fn three_of_five_removed_in_one_batch() {
    let mut backends = Vec::new();
    for name in ["a", "b", "c", "d", "e"] {
        backends.push(Backend::start(name).await);
    }
    let mut bench = Fixture::new(&["web_1"]).await;
    bench.start().await;
    bench.want(&[("web_1", backends.iter().map(server).collect())]);
    bench.in_sync().await;
    assert_eq!(bench.names("web_1", 10).await, ["a", "b", "c", "d", "e"]);
    bench.want(&[("web_1", vec![server(&backends[1]), server(&backends[3])])]);
    bench.in_sync().await;
    let state = bench.query("show servers state web_1").await;
    for (index, backend) in backends.iter().enumerate() {
        let line = state.lines().find(|line| line.contains(&own(backend))).unwrap();
        let maint = line.split(' ').nth(6).unwrap().parse::<u32>().unwrap() & 1 == 1;
        assert_eq!(maint, ![1, 3].contains(&index), "{line}");
    }
    assert_eq!(bench.names("web_1", 10).await, ["b", "d"]);
    assert_eq!(bench.reloads(), [("first_start", "ok", 1)]);
}

#[tokio::test]
async fn more_than_there_are_slots_is_one_reload_and_all_live() {
    let one = Backend::start("one").await;
    let mut bench = Fixture::new(&["web_1"]).await;
    bench.start().await;
    bench.want(&[("web_1", vec![])]);
    bench.in_sync().await;
    assert_eq!(bench.status().services[0].free_slots, 8);
    let mut many = vec![server(&one)];
    many.extend((1..20).map(|n| server_at(&format!("x{n}"), &format!("127.0.1.{n}:{}", one.address.port()))));
    bench.want(&[("web_1", many.clone())]);
    bench.in_sync().await;
    assert_eq!(
        bench.reloads(),
        [("first_start", "ok", 1), ("slots_exhausted", "ok", 1)]
    );
    assert_eq!(bench.status().services[0].waiting, 0);
    let state = bench.query("show servers state web_1").await;
    for server in &many {
        let name = format!("{}_{}", server.name, server.address);
        assert!(
            state.contains(&format!(" {name} {} 2 0 1 ", server.address.ip())),
            "{name}: {state}"
        );
    }
}

#[tokio::test]
async fn an_instance_that_lacks_a_slot_gets_one_that_drains_before_a_reload_is_due() {
    let one = Backend::start("one").await;
    let mut bench = Fixture::new(&["web_1"]).await;
    bench.start().await;
    bench.want(&[("web_1", vec![])]);
    bench.in_sync().await;
    let fleet = |first: usize| {
        let at = |n: usize| server_at(&format!("x{n}"), &format!("127.0.1.{n}:{}", one.address.port()));
        (first..first + 8).map(at).collect::<Vec<_>>()
    };
    assert_eq!(bench.status().services[0].free_slots, 8);
    for first in [10, 20, 30] {
        bench.want(&[("web_1", fleet(first))]);
        bench.in_sync().await;
        assert_eq!(bench.status().services[0].waiting, 0);
    }
    assert_eq!(bench.reloads(), [("first_start", "ok", 1)]);
}

#[tokio::test]
async fn registrations_that_change_without_end_get_five_reloads_in_a_minute_and_go_behind_others() {
    let (one, two) = (Backend::start("one").await, Backend::start("two").await);
    let with = |backend: &Backend, maxconn: u64| Server {
        options: format!("maxconn {maxconn}"),
        ..server(backend)
    };
    let mut bench = Fixture::new(&["a_1", "b_2"]).await;
    bench.start().await;
    bench.want(&[("a_1", vec![server(&one)]), ("b_2", vec![server(&two)])]);
    bench.in_sync().await;
    for maxconn in 1..=5 {
        bench.want(&[("a_1", vec![with(&one, maxconn)])]);
        let so_many = [("first_start", "ok", 1), ("option_class", "ok", maxconn)];
        eventually("it is loaded", async || bench.reloads() == so_many).await;
    }
    let five = bench.reloads();
    bench.want(&[("a_1", vec![with(&one, 6)])]);
    eventually("it waits", async || bench.status().pending.contains("a_1")).await;
    // Longer than any other reload is gathered for here.
    for _ in 0..10 {
        tokio::time::sleep(bench.config.reload_min_interval).await;
        assert_eq!(bench.reloads(), five);
    }
    bench.want(&[("b_2", vec![with(&two, 1)])]);
    let six = [("first_start", "ok", 1), ("option_class", "ok", 6)];
    eventually("the other is served", async || bench.reloads() == six).await;
    assert!(bench.on_disk().contains("maxconn 6"), "one reload serves all");
}

#[tokio::test]
async fn weights_change_without_a_reload_except_where_haproxy_refuses() {
    let (one, two) = (Backend::start("one").await, Backend::start("two").await);
    let mut bench = Fixture::new(&["web_1", "fixed_2"]).await;
    bench.services[1].backend.push("balance static-rr".into());
    bench.start().await;
    bench.want(&[
        ("web_1", vec![weighing(&one, 10), server(&two)]),
        ("fixed_2", vec![server(&two)]),
    ]);
    bench.in_sync().await;
    bench.want(&[("web_1", vec![weighing(&one, 200), server(&two)])]);
    bench.in_sync().await;
    let state = bench.query("show servers state web_1").await;
    assert!(state.contains(&format!("{} 127.0.0.1 2 0 200 ", own(&one))), "{state}");
    assert_eq!(bench.reloads(), [("first_start", "ok", 1)]);

    bench.want(&[("fixed_2", vec![weighing(&two, 7)])]);
    bench.in_sync().await;
    let state = bench.query("show servers state fixed_2").await;
    assert!(state.contains(&format!("{} 127.0.0.1 2 0 7 ", own(&two))), "{state}");
    assert_eq!(bench.reloads(), [("first_start", "ok", 1), ("static_balance", "ok", 1)]);
    assert_eq!(bench.status().runtime_commands_failed, 1);
}

#[tokio::test]
async fn health_reported_by_haproxy_is_published() {
    let one = Backend::start("one").await;
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let dead = server_at("dead", &unused.to_string());
    let mut bench = Fixture::new(&["web_1", "api_2"]).await;
    bench.services[0].server_options = "check inter 100ms fall 1 rise 1".into();
    bench.config.reconcile_interval = Duration::from_hours(1);
    bench.start().await;
    bench.want(&[("web_1", vec![server(&one), dead]), ("api_2", vec![server(&one)])]);
    bench.in_sync().await;
    // Nothing else would make it look again within the hour.
    bench.attention.send_replace(true);
    let check = |service: &str, address| bench.health.borrow().of(service, address);
    eventually("HAProxy has checked them", async || {
        check("web_1", one.address) == Some(Check::Passing) && check("web_1", unused) == Some(Check::Failing)
    })
    .await;
    assert_eq!(check("api_2", one.address), Some(Check::Unchecked));
    bench.want(&[("web_1", vec![server(&one)])]);
    eventually("a removed instance is not listed", async || {
        check("web_1", unused).is_none() && check("web_1", one.address) == Some(Check::Passing)
    })
    .await;
}
