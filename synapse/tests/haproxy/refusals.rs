//! What HAProxy or this machine refuses.

use synapse::desired::Server;

use crate::bench::{Backend, Fixture, eventually, server, service};

#[tokio::test]
async fn a_bad_service_is_left_out_with_haproxys_words_while_others_work() {
    let one = Backend::start("one").await;
    let mut bench = Fixture::new(&["web_1", "bad_2", "odd_3", "twin_4"]).await;
    bench.services[3].frontend = bench.services[0].frontend.clone();
    bench.services[1].backend.push("nonsense here".into());
    bench.services[2].backend.push("use-server missing if TRUE".into());
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
    eventually("the reason is reported", async || {
        bench.status().services[2].quarantined.is_some()
    })
    .await;
    let status = bench.status();
    assert!(!status.in_sync);
    let words: Vec<_> = status
        .services
        .iter()
        .map(|service| service.quarantined.clone())
        .collect();
    assert_eq!(words[0], None);
    assert!(words[1].as_deref().unwrap().contains("nonsense"), "{words:?}");
    assert!(words[2].as_deref().unwrap().contains("missing"), "{words:?}");
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
    let mut bench = Fixture::new(&["web_1", "api_2"]).await;
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
    assert_eq!(&*status.services[0].servers[0].options, "check");
    assert!(!status.services[0].servers[0].ignored_options.is_empty());
}

#[tokio::test]
async fn a_port_in_use_costs_only_its_service_until_it_is_free() {
    let one = Backend::start("one").await;
    let mut bench = Fixture::new(&["web_1", "api_2"]).await;
    let taken = std::net::TcpListener::bind(("127.0.0.1", bench.port("api_2"))).unwrap();
    bench.start().await;
    bench.want(&[("web_1", vec![server(&one)]), ("api_2", vec![server(&one)])]);
    eventually("the good one serves", async || {
        bench.get("web_1").await.as_deref() == Some("one")
    })
    .await;
    eventually("the reason is reported", async || {
        bench.status().services[1].quarantined.is_some()
    })
    .await;
    let words = bench.status().services[1].quarantined.clone().unwrap();
    assert!(words.contains("in use"), "{words}");
    drop(taken);
    bench.in_sync().await;
    assert_eq!(bench.get("api_2").await.as_deref(), Some("one"));
    assert_eq!(bench.reloads(), [("first_start", "ok", 1), ("quarantine", "ok", 1)]);
}

#[tokio::test]
async fn a_refused_file_changes_nothing_and_is_reported() {
    let (one, two) = (Backend::start("one").await, Backend::start("two").await);
    let mut bench = Fixture::new(&["web_1"]).await;
    bench.start().await;
    bench.want(&[("web_1", vec![server(&one)])]);
    bench.in_sync().await;
    let (file, pid) = (bench.on_disk(), bench.status().pid);
    bench.stop().await;
    bench.config.defaults.push("nonsense everywhere".into());
    bench.start().await;
    eventually("the error is reported", async || {
        bench.status().last_error.contains("nonsense")
    })
    .await;
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
async fn missing_requirements_are_reported_before_anything_starts() {
    let mut bench = Fixture::new(&["web_1"]).await;
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
    let mut bench = Fixture::new(&["web_1"]).await;
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
