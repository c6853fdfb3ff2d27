//! The HAProxy router against a real HAProxy: each test has its own, in its own directory, on free ports.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod bench;
mod directives;
mod dynamic;

use std::sync::Arc;
use std::time::Duration;

use bench::{Backend, Bench, eventually, server, server_at, service};
use common::zk::reflector::Freshness;
use synapse::catalog::{Outcome, Seed, outcome};
use synapse::config::{DefaultServer, LocalZone, ZoneConfig, ZonePolicy};
use synapse::desired::Server;
use synapse::health::{Check, Health};
use synapse::watcher::{Candidate, WatcherState};
use tokio::net::TcpListener;

/// The name of a slot that was laid out for this instance.
fn own(backend: &Backend) -> String {
    format!("{}_{}", backend.name, backend.address)
}

fn weighing(backend: &Backend, weight: u16) -> Server {
    Server {
        weight: Some(weight),
        ..server(backend)
    }
}

#[tokio::test]
async fn members_come_and_go_without_a_reload() {
    let (one, two) = (Backend::start("one").await, Backend::start("two").await);
    let mut bench = Bench::new(&["web_1"]).await;
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
        (slot.name, slot.instance.as_str()),
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
    let mut bench = Bench::new(&["web_1"]).await;
    bench.start().await;
    bench.want(&[("web_1", backends.iter().map(server).collect())]);
    bench.in_sync().await;
    assert_eq!(bench.names("web_1", 10).await, ["a", "b", "c", "d", "e"]);
    bench.want(&[("web_1", vec![server(&backends[1]), server(&backends[3])])]);
    bench.in_sync().await;
    let state = bench.ask("show servers state web_1").await;
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
    let mut bench = Bench::new(&["web_1"]).await;
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
    let state = bench.ask("show servers state web_1").await;
    for server in &many {
        let name = format!("{}_{}", server.name, server.address);
        assert!(
            state.contains(&format!(" {name} {} 2 0 1 ", server.address.ip())),
            "{name}: {state}"
        );
    }
}

#[tokio::test]
async fn weights_change_without_a_reload_except_where_haproxy_refuses() {
    let (one, two) = (Backend::start("one").await, Backend::start("two").await);
    let mut bench = Bench::new(&["web_1", "fixed_2"]).await;
    bench.services[1].backend.push("balance static-rr".into());
    bench.start().await;
    bench.want(&[
        ("web_1", vec![weighing(&one, 10), server(&two)]),
        ("fixed_2", vec![server(&two)]),
    ]);
    bench.in_sync().await;
    bench.want(&[("web_1", vec![weighing(&one, 200), server(&two)])]);
    bench.in_sync().await;
    let state = bench.ask("show servers state web_1").await;
    assert!(state.contains(&format!("{} 127.0.0.1 2 0 200 ", own(&one))), "{state}");
    assert_eq!(bench.reloads(), [("first_start", "ok", 1)]);

    bench.want(&[("fixed_2", vec![weighing(&two, 7)])]);
    bench.in_sync().await;
    let state = bench.ask("show servers state fixed_2").await;
    assert!(state.contains(&format!("{} 127.0.0.1 2 0 7 ", own(&two))), "{state}");
    assert_eq!(bench.reloads(), [("first_start", "ok", 1), ("static_balance", "ok", 1)]);
    assert_eq!(bench.status().runtime_commands_failed, 1);
}

/// Registered in this zone.
fn in_zone(backend: &Backend, zone: &str) -> Candidate {
    let mut server = server(backend);
    server.labels.insert("zone".to_owned(), zone.to_owned());
    Candidate {
        server,
        czxid: 1,
        unavailable: None,
    }
}

/// A bench whose service prefers zone `a`, and checks its servers every 100 ms.
async fn bench_in_zone_a(policy: ZonePolicy) -> Bench {
    let mut bench = Bench::new(&["web_1"]).await;
    let service = bench.services.first_mut().unwrap();
    service.selection.zone = Some(ZoneConfig {
        local: LocalZone::Known("a".to_owned()),
        label: "zone".to_owned(),
        policy,
    });
    "check inter 100ms rise 1 fall 1".clone_into(&mut service.server_options);
    service.backend.push("option allbackups".to_owned());
    bench
}

/// What the catalog makes of them.
fn want(bench: &Bench, candidates: &[&Candidate], health: &Health) {
    let state = WatcherState {
        freshness: Freshness::Live,
        candidates: candidates.iter().copied().cloned().collect(),
        ..WatcherState::default()
    };
    let decided = outcome(
        &bench.services,
        &[Arc::new(state)],
        health,
        &Outcome::default(),
        Seed::of("host"),
    );
    let service = decided.desired.services.first().unwrap();
    bench.want(&[("web_1", service.servers.clone().unwrap())]);
}

#[tokio::test]
async fn a_zone_that_goes_leaves_all_to_its_backups_without_a_reload() {
    let near = Backend::start("near").await;
    let (far, farther) = (Backend::start("far").await, Backend::start("farther").await);
    let mut bench = bench_in_zone_a(ZonePolicy::Prefer).await;
    bench.start().await;
    let all = [in_zone(&near, "a"), in_zone(&far, "b"), in_zone(&farther, "c")];
    let [local, far, farther] = &all;
    want(&bench, &[local, far, farther], &Health::default());
    bench.in_sync().await;
    assert_eq!(bench.names("web_1", 6).await, ["near"]);

    want(&bench, &[far, farther], &Health::default());
    bench.in_sync().await;
    assert_eq!(bench.names("web_1", 6).await, ["far", "farther"]);

    want(&bench, &[local, far, farther], &Health::default());
    bench.in_sync().await;
    assert_eq!(bench.names("web_1", 6).await, ["near"]);

    drop(near);
    eventually("HAProxy's check has found the local server dead", async || {
        bench.names("web_1", 6).await == ["far", "farther"]
    })
    .await;
    assert_eq!(bench.reloads(), [("first_start", "ok", 1)]);
}

#[tokio::test]
async fn a_zone_that_is_short_spills_over_by_weight_without_a_reload() {
    let (one, two, far) = (
        Backend::start("one").await,
        Backend::start("two").await,
        Backend::start("far").await,
    );
    let policy = ZonePolicy::SpillOver { local_share: Some(80) };
    let mut bench = bench_in_zone_a(policy).await;
    bench.start().await;
    let all = [in_zone(&one, "a"), in_zone(&two, "a"), in_zone(&far, "b")];
    let all: Vec<&Candidate> = all.iter().collect();
    let weights = |bench: &Bench| [&one, &two, &far].map(|backend| bench.slot_of("web_1", backend).unwrap().weight);
    // Two of three parts cover 83 % of the 80 % that are needed.
    want(&bench, &all, &Health::default());
    bench.in_sync().await;
    assert_eq!(weights(&bench), [256, 256, 105]);
    assert_eq!(bench.names("web_1", 30).await, ["far", "one", "two"]);

    let mut health = Health::default();
    health.insert("web_1", two.address, Check::Failing);
    want(&bench, &all, &health);
    bench.in_sync().await;
    assert_eq!(weights(&bench), [256, 256, 157], "one of two parts covers 62 %");

    bench.services[0].selection.zone.as_mut().unwrap().policy = ZonePolicy::SpillOver { local_share: Some(50) };
    want(&bench, &all, &Health::default());
    bench.in_sync().await;
    assert_eq!(weights(&bench), [256, 256, 1], "what they have is enough: a trace");

    // Nobody here has heard of it, and HAProxy turns to the trace by itself.
    drop((one, two));
    eventually("the other zone answers alone", async || {
        bench.names("web_1", 6).await == ["far"]
    })
    .await;
    assert_eq!(bench.reloads(), [("first_start", "ok", 1)]);
}

#[tokio::test]
async fn the_next_synapse_changes_nothing_that_is_right() {
    let (one, two, three) = (
        Backend::start("one").await,
        Backend::start("two").await,
        Backend::start("three").await,
    );
    let mut bench = Bench::new(&["web_1"]).await;
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
async fn jitter_puts_off_a_new_configuration_and_nothing_else() {
    let (one, two) = (Backend::start("one").await, Backend::start("two").await);
    let mut bench = Bench::new(&["web_1"]).await;
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
        servers.filter(|server| server.state == "active").count() == 2 && status.pending.contains("the sections differ")
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
async fn the_last_file_serves_while_a_watcher_has_not_answered() {
    let one = Backend::start("one").await;
    let mut bench = Bench::new(&["web_1", "api_2"]).await;
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
async fn a_service_that_nobody_knows_holds_up_no_other() {
    let one = Backend::start("one").await;
    let mut bench = Bench::new(&["web_1", "api_2"]).await;
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
async fn a_service_that_nobody_knows_starts_with_its_default_servers() {
    let (spare, one) = (Backend::start("spare").await, Backend::start("one").await);
    let mut bench = Bench::new(&["web_1"]).await;
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
async fn changes_by_hand_are_put_right() {
    let (one, two) = (Backend::start("one").await, Backend::start("two").await);
    let mut bench = Bench::new(&["web_1"]).await;
    bench.start().await;
    bench.want(&[("web_1", vec![server(&one)])]);
    bench.in_sync().await;
    let name = own(&one);
    bench.ask(&format!("set server web_1/{name} state maint")).await;
    bench.ask(&format!("set server web_1/{name} weight 99")).await;
    bench
        .ask(&format!(
            "set server web_1/slot_2 addr 127.0.0.1 port {}",
            two.address.port()
        ))
        .await;
    bench.ask("set server web_1/slot_2 state ready").await;
    eventually("it is repaired", async || bench.status().drift_repairs >= 2).await;
    bench.in_sync().await;
    assert_eq!(bench.names("web_1", 4).await, ["one"]);
    let state = bench.ask("show servers state web_1").await;
    assert!(state.contains(&format!("{name} 127.0.0.1 2 0 1 ")), "{state}");
    assert_eq!(bench.reloads(), [("first_start", "ok", 1)]);
}

#[tokio::test]
async fn a_foreign_reload_is_noticed_and_a_killed_haproxy_is_started_again() {
    let (one, two) = (Backend::start("one").await, Backend::start("two").await);
    let mut bench = Bench::new(&["web_1"]).await;
    bench.start().await;
    bench.want(&[("web_1", vec![server(&one)])]);
    bench.in_sync().await;
    let pid = bench.status().pid;
    bench.ask_master("reload").await;
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
async fn a_bad_service_is_left_out_with_haproxys_words_while_others_work() {
    let one = Backend::start("one").await;
    let mut bench = Bench::new(&["web_1", "bad_2", "odd_3", "twin_4"]).await;
    bench.services[3].frontend = bench.services[0].frontend.clone();
    bench.services[1].backend.push("nonsense here".into());
    bench.services[2].backend.push("use-server nobody if TRUE".into());
    bench.start().await;
    bench.want(&[
        ("web_1", vec![server(&one)]),
        ("bad_2", vec![server(&one)]),
        ("odd_3", vec![]),
        ("twin_4", vec![]),
    ]);
    eventually("the good one serves", async || {
        bench.get("web_1").await.as_deref() == Some("one")
    })
    .await;
    eventually("it says why", async || bench.status().services[2].quarantined.is_some()).await;
    let status = bench.status();
    assert!(!status.in_sync);
    let words: Vec<_> = status
        .services
        .iter()
        .map(|service| service.quarantined.clone())
        .collect();
    assert_eq!(words[0], None);
    assert!(words[1].as_deref().unwrap().contains("nonsense"), "{words:?}");
    assert!(words[2].as_deref().unwrap().contains("nobody"), "{words:?}");
    assert!(
        words[3].as_deref().unwrap().contains("web_1 listens there"),
        "{words:?}"
    );
    assert_eq!(bench.reloads(), [("first_start", "ok", 1)]);
    assert!(bench.latch_is_gone());
}

#[tokio::test]
async fn hostile_options_are_left_out_and_the_instance_serves() {
    let one = Backend::start("one").await;
    let mut bench = Bench::new(&["web_1", "api_2"]).await;
    bench.services[0].server_options = "check".into();
    bench.start().await;
    let hostile = Server {
        options: "backup\n program evil\n command /bin/true".into(),
        ..server(&one)
    };
    let odd = Server {
        name: "a b\nprogram \u{1f980} ".repeat(40),
        ..server(&one)
    };
    bench.want(&[("web_1", vec![hostile]), ("api_2", vec![odd])]);
    bench.in_sync().await;
    assert_eq!(bench.get("web_1").await.as_deref(), Some("one"));
    assert_eq!(bench.get("api_2").await.as_deref(), Some("one"));
    assert!(!bench.on_disk().contains("program evil"));
    let status = bench.status();
    assert_eq!(status.services[0].servers[0].options, "check");
    assert!(!status.services[0].servers[0].ignored_options.is_empty());
}

#[tokio::test]
async fn a_port_in_use_costs_only_its_service_until_it_is_free() {
    let one = Backend::start("one").await;
    let mut bench = Bench::new(&["web_1", "api_2"]).await;
    let taken = std::net::TcpListener::bind(("127.0.0.1", bench.port("api_2"))).unwrap();
    bench.start().await;
    bench.want(&[("web_1", vec![server(&one)]), ("api_2", vec![server(&one)])]);
    eventually("the good one serves", async || {
        bench.get("web_1").await.as_deref() == Some("one")
    })
    .await;
    eventually("it says why", async || bench.status().services[1].quarantined.is_some()).await;
    let words = bench.status().services[1].quarantined.clone().unwrap();
    assert!(words.contains("in use"), "{words}");
    drop(taken);
    bench.in_sync().await;
    assert_eq!(bench.get("api_2").await.as_deref(), Some("one"));
    assert_eq!(bench.reloads(), [("first_start", "ok", 1), ("quarantine", "ok", 1)]);
}

#[tokio::test]
async fn options_of_one_instance_alone_come_with_a_reload() {
    let (one, two) = (Backend::start("one").await, Backend::start("two").await);
    let mut bench = Bench::new(&["web_1"]).await;
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
async fn a_refused_file_changes_nothing_and_is_told() {
    let (one, two) = (Backend::start("one").await, Backend::start("two").await);
    let mut bench = Bench::new(&["web_1"]).await;
    bench.start().await;
    bench.want(&[("web_1", vec![server(&one)])]);
    bench.in_sync().await;
    let (file, pid) = (bench.on_disk(), bench.status().pid);
    bench.stop().await;
    bench.config.defaults.push("nonsense everywhere".into());
    bench.start().await;
    eventually("it says so", async || bench.status().last_error.contains("nonsense")).await;
    let status = bench.status();
    assert_eq!(
        (status.in_sync, status.pid, bench.on_disk() == file),
        (false, pid, true)
    );
    assert_eq!(bench.get("web_1").await.as_deref(), Some("one"));
    bench.want(&[("web_1", vec![server(&two)])]);
    eventually("membership goes on", async || bench.names("web_1", 2).await == ["two"]).await;
}

#[tokio::test]
async fn ten_reloads_under_load_lose_nothing() {
    let (one, two) = (Backend::start("one").await, Backend::start("two").await);
    let mut bench = Bench::new(&["web_1"]).await;
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
    let mut bench = Bench::new(&["web_1"]).await;
    bench.start().await;
    bench.want(&[("web_1", vec![server(&one)])]);
    bench.in_sync().await;
    let haproxy = bench.handle().clone();
    let (verdict, ()) = tokio::join!(haproxy.reload(), async {
        // The new file is there before the reload begins.
        bench.kill_haproxy().await;
        bench.want(&[("web_1", vec![server(&one), server(&two)])]);
    });
    // Whoever was first, it is said and HAProxy runs.
    drop(verdict);
    bench.in_sync().await;
    assert_eq!(bench.names("web_1", 4).await, ["one", "two"]);
}

#[tokio::test]
async fn someone_else_runs_haproxy_and_a_command_reloads_it() {
    let (one, two) = (Backend::start("one").await, Backend::start("two").await);
    let mut bench = Bench::new(&["web_1"]).await;
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
    let mut bench = Bench::new(&["web_1"]).await;
    bench.stop_on_exit();
    bench.start().await;
    bench.want(&[("web_1", vec![])]);
    bench.in_sync().await;
    bench.stop().await;
    assert!(bench.is_dead());
}

#[tokio::test]
async fn haproxys_word_on_its_servers_is_handed_on() {
    let one = Backend::start("one").await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let dead = server_at("dead", &nobody.to_string());
    let mut bench = Bench::new(&["web_1", "api_2"]).await;
    bench.services[0].server_options = "check inter 100ms fall 1 rise 1".into();
    bench.config.reconcile_interval = Duration::from_hours(1);
    bench.start().await;
    bench.want(&[("web_1", vec![server(&one), dead]), ("api_2", vec![server(&one)])]);
    bench.in_sync().await;
    // Nothing else would make it look again within the hour.
    bench.attention.send_replace(true);
    let says = |service: &str, address| bench.health.borrow().of(service, address);
    eventually("HAProxy has checked them", async || {
        says("web_1", one.address) == Some(Check::Passing) && says("web_1", nobody) == Some(Check::Failing)
    })
    .await;
    assert_eq!(says("api_2", one.address), Some(Check::Unchecked));
    bench.want(&[("web_1", vec![server(&one)])]);
    eventually("who has left is not spoken of", async || {
        says("web_1", nobody).is_none() && says("web_1", one.address) == Some(Check::Passing)
    })
    .await;
}

#[tokio::test]
async fn a_running_haproxy_knows_better_than_what_is_remembered() {
    let (one, two) = (Backend::start("one").await, Backend::start("two").await);
    let mut bench = Bench::new(&["web_1"]).await;
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
    let mut bench = Bench::new(&["web_1"]).await;
    bench.remember(&[("web_1", vec![server(&one)])]);
    bench.start().await;
    bench.in_sync().await;
    assert_eq!(bench.get("web_1").await.as_deref(), Some("one"));
    assert!(bench.latch_is_gone());
}

#[tokio::test]
async fn what_is_missing_is_told_before_anything_starts() {
    let mut bench = Bench::new(&["web_1"]).await;
    bench.start().await;
    let error = bench.build().await.unwrap_err();
    assert!(error.message.contains("another synapse"), "{}", error.message);
    bench.stop().await;
    bench.services[0].server_options = "{{ nonsense".into();
    assert!(bench.build().await.unwrap_err().message.contains("web_1"));
    bench.services = vec![service("web_1", 1)];
    bench.set_program("/nowhere/haproxy");
    assert!(bench.build().await.unwrap_err().message.contains("/nowhere/haproxy"));
    bench.set_program("true");
    assert!(bench.build().await.unwrap_err().message.contains("-v"));
    bench.set_program("haproxy");
    bench.config.config_path = "/nowhere/haproxy.cfg".into();
    assert!(bench.build().await.unwrap_err().message.contains("/nowhere"));
}

#[tokio::test]
async fn a_reload_that_fails_gives_the_old_file_back() {
    let (one, two) = (Backend::start("one").await, Backend::start("two").await);
    let mut bench = Bench::new(&["web_1"]).await;
    bench.start().await;
    bench.want(&[("web_1", vec![server(&one)])]);
    bench.in_sync().await;
    let (pid, file) = (bench.status().pid, bench.on_disk());
    bench.stop().await;
    // `haproxy -c` takes it, and with `interface` it is not ours to try.
    let port = bench.port("web_1");
    bench.services[0]
        .frontend
        .push(format!("bind 203.0.113.1:{port} interface lo"));
    bench.start().await;
    eventually("the reload has failed", async || {
        bench.reloads() == [("structure", "failed", 1)]
    })
    .await;
    let structure = |text: &str| text.lines().find(|line| line.contains("setenv")).map(str::to_owned);
    assert_eq!(bench.status().pid, pid);
    eventually("the old file is back", async || {
        structure(&bench.on_disk()) == structure(&file)
    })
    .await;
    assert_eq!(bench.get("web_1").await.as_deref(), Some("one"));
    bench.want(&[("web_1", vec![server(&two)])]);
    eventually("membership goes on", async || bench.names("web_1", 2).await == ["two"]).await;
    eventually("the file goes with it", async || {
        bench.on_disk() == bench.handle().rendered()
    })
    .await;
    assert!(!bench.on_disk().contains(&format!(" {} ", one.address)));
    bench.kill_haproxy().await;
    eventually("HAProxy serves again", async || {
        bench.names("web_1", 2).await == ["two"]
    })
    .await;
}
