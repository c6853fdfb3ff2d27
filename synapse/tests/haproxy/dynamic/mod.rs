//! HAProxy 3.0, where servers are made and deleted while it runs, and what holds of every version and way.

#![expect(clippy::indexing_slicing, reason = "helpers of tests")]

use std::collections::BTreeMap;

use synapse::config::ServersMode;
use synapse::desired::Server;
use synapse::haproxy::Provisioning;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::bench::{Backend, Fixture, Flavour, eventually, server, server_at};
use super::{own, weighing};

const FIRST_START: [(&str, &str, u64); 1] = [("first_start", "ok", 1)];

/// The servers HAProxy has in a backend, by name.
async fn servers(bench: &Fixture, backend: &str) -> BTreeMap<String, BTreeMap<String, String>> {
    let state = bench.query(&format!("show servers state {backend}")).await;
    let mut lines = state.lines().skip_while(|line| !line.starts_with('#'));
    let header: Vec<&str> = lines.next().unwrap().split(' ').skip(1).collect();
    lines
        .filter(|line| !line.is_empty())
        .map(|line| {
            let row: BTreeMap<String, String> = header
                .iter()
                .zip(line.split(' '))
                .map(|(column, value)| ((*column).to_owned(), value.to_owned()))
                .collect();
            (row["srv_name"].clone(), row)
        })
        .collect()
}

async fn names_in(bench: &Fixture, backend: &str) -> Vec<String> {
    servers(bench, backend).await.into_keys().collect()
}

/// Instances come, change weight, leave and come back, as many as there are no slots for at first.
async fn membership(flavour: Flavour) -> Fixture {
    let (one, two) = (Backend::start("one").await, Backend::start("two").await);
    let mut bench = Fixture::of(flavour, &["web_1"]).await;
    bench.start().await;
    bench.want(&[("web_1", vec![server(&one)])]);
    bench.in_sync().await;
    assert_eq!(bench.get("web_1").await.as_deref(), Some("one"));
    let pid = bench.status().pid;

    bench.want(&[("web_1", vec![server(&one), server(&two)])]);
    bench.in_sync().await;
    assert_eq!(bench.names("web_1", 4).await, ["one", "two"]);
    assert!(bench.on_disk().contains(&two.address.to_string()));

    bench.want(&[("web_1", vec![weighing(&one, 7), weighing(&two, 200)])]);
    bench.in_sync().await;
    let found = servers(&bench, "web_1").await;
    let heavy: Vec<_> = found.values().filter(|row| row["srv_uweight"] == "200").collect();
    let port = two.address.port().to_string();
    assert!(heavy.len() == 1 && heavy[0]["srv_port"] == port, "{found:?}");

    bench.want(&[("web_1", vec![server(&two)])]);
    bench.in_sync().await;
    assert_eq!(bench.names("web_1", 4).await, ["two"]);
    assert!(!bench.on_disk().contains(&format!(" {} ", one.address)));

    bench.want(&[("web_1", vec![server(&one), server(&two)])]);
    bench.in_sync().await;
    assert_eq!(bench.names("web_1", 4).await, ["one", "two"]);

    bench.want(&[("web_1", vec![])]);
    bench.in_sync().await;
    assert_eq!(bench.get("web_1").await, None);
    eventually("no server is left", async || {
        bench.status().services[0].servers.is_empty()
    })
    .await;
    bench.want(&[("web_1", vec![server(&one)])]);
    bench.in_sync().await;
    assert_eq!(bench.get("web_1").await.as_deref(), Some("one"));
    assert_eq!((bench.reloads(), bench.status().pid), (FIRST_START.to_vec(), pid));
    assert_eq!(bench.status().runtime_commands_failed, 0);
    bench
}

#[tokio::test]
async fn members_come_and_go_in_the_slots_of_the_machines_own() {
    let bench = membership(Flavour::Packaged).await;
    assert!(bench.on_disk().contains("slot_2 127.0.0.1:1 id 2 weight 1 disabled"));
    assert_eq!(bench.status().servers, Provisioning::Slots);
}

#[tokio::test]
async fn members_come_and_go_in_the_slots_of_3_0() {
    let bench = membership(Flavour::Slots).await;
    assert!(bench.on_disk().contains("slot_2 127.0.0.1:1 id 2 weight 1 disabled"));
    assert_eq!(bench.status().servers, Provisioning::Slots);
}

#[tokio::test]
async fn members_are_made_and_deleted_by_3_0() {
    let bench = membership(Flavour::Dynamic).await;
    assert!(!bench.on_disk().contains("disabled"), "{}", bench.on_disk());
    assert_eq!(bench.status().servers, Provisioning::Dynamic);
    let server = bench.status().services[0].servers[0].clone();
    eventually("the others are deleted", async || {
        names_in(&bench, "web_1").await == [server.name.to_string()]
    })
    .await;
    assert_eq!(*server.name, *format!("one_{}", server.address));
}

#[tokio::test]
async fn growth_takes_no_reload_and_each_has_its_own_name() {
    let one = Backend::start("one").await;
    let mut bench = Fixture::of(Flavour::Dynamic, &["web_1"]).await;
    bench.services[0].server_options = "check inter 100ms fall 1 rise 1".into();
    bench.start().await;
    bench.want(&[("web_1", vec![])]);
    bench.in_sync().await;
    let dead: Vec<Server> = (1..100)
        .map(|n| server_at(&format!("x{n}"), &format!("127.0.1.{n}:1")))
        .collect();
    let mut all = vec![Server {
        options: "backup maxconn 10".to_owned(),
        ..server(&one)
    }];
    all.extend(dead.iter().cloned());
    bench.want(&[("web_1", all.clone())]);
    bench.in_sync().await;
    let found = servers(&bench, "web_1").await;
    assert_eq!(found.len(), 100);
    for server in &all {
        let row = &found[&format!("{}_{}", server.name, server.address)];
        assert_eq!(
            format!("{}:{}", row["srv_addr"], row["srv_port"]),
            server.address.to_string()
        );
    }
    eventually("they are checked: the backup alone is left", async || {
        bench.get("web_1").await.as_deref() == Some("one")
    })
    .await;
    assert_eq!(bench.reloads(), FIRST_START);
    assert!(bench.on_disk().contains("enabled backup maxconn 10 check inter 100ms"));

    // A reload renders the same servers, and a down server stays down.
    let before = servers(&bench, "web_1").await;
    bench.handle().reload().await.unwrap();
    let after = servers(&bench, "web_1").await;
    let identity =
        |row: &BTreeMap<String, String>| ["srv_id", "srv_addr", "srv_port", "srv_uweight"].map(|key| row[key].clone());
    assert_eq!(
        before
            .iter()
            .map(|(name, row)| (name, identity(row)))
            .collect::<Vec<_>>(),
        after
            .iter()
            .map(|(name, row)| (name, identity(row)))
            .collect::<Vec<_>>()
    );
    let down = after.values().filter(|row| row["srv_op_state"] == "0").count();
    assert_eq!(down, 99);
    bench.in_sync().await;
}

#[tokio::test]
async fn a_server_that_leaves_finishes_its_request_and_is_then_deleted() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let slow = server_at("slow", &listener.local_addr().unwrap().to_string());
    let one = Backend::start("one").await;
    let mut bench = Fixture::of(Flavour::Dynamic, &["web_1"]).await;
    bench.start().await;
    bench.want(&[("web_1", vec![slow.clone()])]);
    bench.in_sync().await;
    let mut client = TcpStream::connect(("127.0.0.1", bench.port("web_1"))).await.unwrap();
    client
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let (mut instance, _) = listener.accept().await.unwrap();
    bench.want(&[("web_1", vec![server(&one)])]);
    bench.in_sync().await;
    assert_eq!(bench.names("web_1", 4).await, ["one"]);
    let name = format!("slow_{}", slow.address);
    assert!(
        names_in(&bench, "web_1").await.contains(&name),
        "its request is not done"
    );

    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nslow";
    instance.write_all(answer).await.unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).await.unwrap();
    assert!(text.ends_with("slow"), "{text}");
    eventually("it is deleted", async || {
        !names_in(&bench, "web_1").await.contains(&name)
    })
    .await;
    assert_eq!(bench.reloads(), FIRST_START);
}

#[tokio::test]
async fn what_others_make_and_delete_is_put_right() {
    let (one, two, evil) = (
        Backend::start("one").await,
        Backend::start("two").await,
        Backend::start("evil").await,
    );
    let mut bench = Fixture::of(Flavour::Dynamic, &["web_1"]).await;
    let operators = format!("server theirs {} backup", evil.address);
    bench.services[0].backend.push(operators);
    bench.start().await;
    bench.want(&[("web_1", vec![server(&one)])]);
    bench.in_sync().await;
    bench.want(&[("web_1", vec![server(&one), server(&two)])]);
    bench.in_sync().await;
    let file = bench.on_disk();

    for name in [own(&one), own(&two)] {
        bench.query(&format!("set server web_1/{name} state maint")).await;
        let reply = bench.query(&format!("del server web_1/{name}")).await;
        assert!(reply.contains("deleted"), "{reply}");
    }
    // Another server under the name of one of ours, and a foreign one.
    bench
        .query(&format!("add server web_1/{} {} id 77", own(&two), evil.address))
        .await;
    bench
        .query(&format!("add server web_1/stranger {}", evil.address))
        .await;
    bench.query("set server web_1/stranger state ready").await;
    eventually("it is repaired", async || {
        let names = names_in(&bench, "web_1").await;
        names.len() == 3 && names.contains(&own(&one)) && names.contains(&"theirs".to_owned())
    })
    .await;
    bench.in_sync().await;
    assert_eq!(bench.names("web_1", 6).await, ["one", "two"]);
    assert!(bench.status().drift_repairs >= 1);
    assert_eq!(bench.reloads(), FIRST_START);
    assert!(bench.on_disk().contains(&own(&one)) && file.contains(&own(&one)));
}

#[tokio::test]
async fn the_next_synapse_adopts_what_was_made() {
    let (one, two, three) = (
        Backend::start("one").await,
        Backend::start("two").await,
        Backend::start("three").await,
    );
    let mut bench = Fixture::of(Flavour::Dynamic, &["web_1"]).await;
    bench.start().await;
    bench.want(&[("web_1", vec![server(&one)])]);
    bench.in_sync().await;
    bench.want(&[("web_1", vec![server(&one), server(&two)])]);
    bench.in_sync().await;
    let (pid, file) = (bench.status().pid, bench.on_disk());
    bench.stop().await;
    bench.start().await;
    bench.in_sync().await;
    let status = bench.status();
    assert_eq!(
        (status.pid, status.runtime_commands_ok, status.reloads.len()),
        (pid, 0, 0)
    );
    assert_eq!(bench.on_disk(), file);

    // HAProxy and the file come to differ unobserved, as if synapse had died between the two.
    bench.stop().await;
    bench
        .query(&format!(
            "add server web_1/{} {} id 5 weight 1",
            own(&three),
            three.address
        ))
        .await;
    bench
        .query(&format!("set server web_1/{} state maint", own(&one)))
        .await;
    bench.query(&format!("del server web_1/{}", own(&one))).await;
    bench.want(&[("web_1", vec![server(&one), server(&three)])]);
    bench.start().await;
    bench.in_sync().await;
    assert_eq!(bench.names("web_1", 6).await, ["one", "three"]);
    assert_eq!((bench.status().pid, bench.reloads()), (pid, vec![]));

    // After an external restart it has the same servers and the same structure.
    bench.query_master("reload").await;
    eventually("a new worker is known", async || {
        bench.status().pid.is_some_and(|now| Some(now) != pid)
    })
    .await;
    bench.in_sync().await;
    assert_eq!(bench.names("web_1", 6).await, ["one", "three"]);
    assert_eq!(bench.reloads(), vec![]);
}

#[tokio::test]
async fn no_server_is_removed_before_the_desired_ones_are_known() {
    let (one, two) = (Backend::start("one").await, Backend::start("two").await);
    let mut bench = Fixture::of(Flavour::Dynamic, &["web_1"]).await;
    bench.start().await;
    bench.want(&[("web_1", vec![server(&one)])]);
    bench.in_sync().await;
    bench.stop().await;
    // Made by a synapse that died before it could write it down.
    bench
        .query(&format!("add server web_1/{} {}", own(&two), two.address))
        .await;
    bench
        .query(&format!("set server web_1/{} state ready", own(&two)))
        .await;
    bench.unknown();
    bench.start().await;
    eventually("HAProxy is adopted", async || bench.latch_is_gone()).await;
    assert_eq!(bench.names("web_1", 6).await, ["one", "two"]);
    bench.want(&[("web_1", vec![server(&one)])]);
    eventually("now it is known", async || bench.names("web_1", 6).await == ["one"]).await;
    bench.in_sync().await;
    assert_eq!(bench.reloads(), vec![]);
}

#[tokio::test]
async fn from_slots_to_dynamic_and_back_is_one_reload_each() {
    let (one, two) = (Backend::start("one").await, Backend::start("two").await);
    let mut bench = Fixture::of(Flavour::Slots, &["web_1"]).await;
    bench.start().await;
    bench.want(&[("web_1", vec![server(&one), server(&two)])]);
    bench.in_sync().await;
    for (mode, provisioning) in [
        (ServersMode::Auto, Provisioning::Dynamic),
        (ServersMode::Slots, Provisioning::Slots),
        (ServersMode::Dynamic, Provisioning::Dynamic),
    ] {
        bench.stop().await;
        bench.config.servers = mode;
        bench.start().await;
        eventually("it was reloaded", async || bench.reloads() == [("structure", "ok", 1)]).await;
        bench.in_sync().await;
        assert_eq!(bench.names("web_1", 4).await, ["one", "two"]);
        assert_eq!(bench.status().servers, provisioning);
        assert_eq!(bench.on_disk().contains("slot_3 "), provisioning == Provisioning::Slots);
    }
}

#[tokio::test]
async fn a_balance_that_takes_no_new_servers_has_slots() {
    let (one, two) = (Backend::start("one").await, Backend::start("two").await);
    let mut bench = Fixture::of(Flavour::Dynamic, &["fixed_1", "web_2"]).await;
    bench.services[0].backend.push("balance static-rr".into());
    // The lines do not show it; HAProxy reports it.
    bench.services[1].server_options = "resolvers r".into();
    bench.config.extra_sections = vec![synapse::config::ExtraSection {
        title: "resolvers r".to_owned(),
        lines: vec!["nameserver n 127.0.0.1:1".to_owned()],
    }];
    bench.start().await;
    bench.want(&[("fixed_1", vec![server(&one)]), ("web_2", vec![server(&one)])]);
    bench.in_sync().await;
    bench.want(&[("fixed_1", vec![server(&one), server(&two)])]);
    bench.in_sync().await;
    assert_eq!(bench.names("fixed_1", 4).await, ["one", "two"]);
    assert_eq!(bench.reloads(), FIRST_START);

    bench.want(&[("web_2", vec![server(&one), server(&two)])]);
    bench.in_sync().await;
    assert_eq!(bench.names("web_2", 4).await, ["one", "two"]);
    assert_eq!(bench.reloads().len(), 2, "{:?}", bench.reloads());
    assert_eq!(bench.reloads()[1].1, "ok");
    assert!(bench.on_disk().contains("slot_"), "the next finds a slot");
}

/// Returns the backend that answers each path.
async fn answers_by_path(bench: &Fixture) -> Vec<Option<String>> {
    let mut who = Vec::new();
    for key in 0..100 {
        who.push(bench.get_with("web_1", &format!("/key{key}"), "").await);
    }
    who
}

#[tokio::test]
async fn consistent_hashing_and_cookies_are_a_reloads() {
    let mut backends = Vec::new();
    for name in ["a", "b", "c", "d"] {
        backends.push(Backend::start(name).await);
    }
    let mut bench = Fixture::of(Flavour::Dynamic, &["web_1"]).await;
    let lines = [
        "balance uri",
        "hash-type consistent",
        "default-server inter 3s",
        "cookie SRV insert",
    ];
    bench.services[0].backend.extend(lines.map(str::to_owned));
    bench.services[0].server_options = "cookie {{.Server}}".into();
    bench.start().await;
    bench.want(&[("web_1", backends[..2].iter().map(server).collect())]);
    bench.in_sync().await;
    // One joins, one leaves and is deleted, and another one gets its number.
    bench.want(&[("web_1", backends[..3].iter().map(server).collect())]);
    bench.in_sync().await;
    bench.want(&[("web_1", backends[1..3].iter().map(server).collect())]);
    bench.in_sync().await;
    eventually("it is deleted", async || names_in(&bench, "web_1").await.len() == 2).await;
    bench.want(&[("web_1", backends[1..].iter().map(server).collect())]);
    bench.in_sync().await;
    assert_eq!(bench.reloads(), FIRST_START);
    assert!(
        bench
            .on_disk()
            .contains(&format!("enabled cookie {}", own(&backends[3])))
    );

    let made = answers_by_path(&bench).await;
    for backend in &backends[1..] {
        assert!(made.contains(&Some(backend.name.clone())), "{made:?}");
        let with = format!("cookie: SRV={}\r\n", own(backend));
        assert_eq!(
            bench.get_with("web_1", "/", &with).await.as_deref(),
            Some(backend.name.as_str())
        );
    }
    bench.handle().reload().await.unwrap();
    bench.in_sync().await;
    assert_eq!(
        answers_by_path(&bench).await,
        made,
        "the same keys go to the same instances"
    );
    for backend in &backends[1..] {
        let with = format!("cookie: SRV={}\r\n", own(backend));
        assert_eq!(
            bench.get_with("web_1", "/", &with).await.as_deref(),
            Some(backend.name.as_str())
        );
    }
}

#[tokio::test]
async fn joins_and_leaves_under_load_lose_nothing_and_connections_are_used_again() {
    let (one, two) = (Backend::start("one").await, Backend::start("two").await);
    let mut bench = Fixture::of(Flavour::Dynamic, &["web_1"]).await;
    bench.start().await;
    bench.want(&[("web_1", vec![server(&one)])]);
    bench.in_sync().await;
    let load = bench.load("web_1", 8);
    for _ in 0..15 {
        bench.want(&[("web_1", vec![server(&one), server(&two)])]);
        bench.in_sync().await;
        bench.want(&[("web_1", vec![server(&two)])]);
        bench.in_sync().await;
        bench.want(&[("web_1", vec![server(&one)])]);
        bench.in_sync().await;
    }
    eventually("connections to a server that was made are used again", async || {
        let [made, again] = connections(&bench, &own(&one)).await;
        made > 0 && again > 10 * made
    })
    .await;
    let (requests, failed) = load.stop().await;
    assert_eq!(failed, 0, "of {requests}");
    assert!(requests > 200, "{requests}");
    assert_eq!(bench.reloads(), FIRST_START);
}

/// How many connections HAProxy has made to a server, and how often it has used one again.
async fn connections(bench: &Fixture, name: &str) -> [u64; 2] {
    let stat = bench.query("show stat -1 4 -1").await;
    let header: Vec<&str> = stat
        .lines()
        .next()
        .unwrap()
        .trim_start_matches("# ")
        .split(',')
        .collect();
    let line = stat.lines().find(|line| line.split(',').nth(1) == Some(name));
    let fields: Vec<&str> = line.unwrap_or_default().split(',').collect();
    ["connect", "reuse"].map(|wanted| {
        let column = header.iter().position(|column| *column == wanted).unwrap();
        fields.get(column).and_then(|count| count.parse().ok()).unwrap_or(0)
    })
}

#[tokio::test]
async fn dynamic_is_refused_where_it_can_not_be() {
    let mut bench = Fixture::new(&["web_1"]).await;
    bench.config.servers = ServersMode::Dynamic;
    let error = bench.build().await.unwrap_err();
    assert!(
        error.message.contains("servers: dynamic") && error.message.contains("3.0"),
        "{}",
        error.message
    );
}
