//! The operator's keys beyond plain lines, with a real HAProxy.

use std::path::Path;
use std::time::Duration;

use common::config::{Document, UnknownKeys};
use synapse::config::{CookieValue, HaproxyConfig, OptionsPolicy, RouterKind, ServiceConfig};
use synapse::desired::Server;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::bench::{Backend, Fixture, eventually, server, server_at};
use super::own;

/// Returns the content of a file.
fn resolve(text: &str) -> (HaproxyConfig, Vec<ServiceConfig>) {
    let document = Document::parse("synapse.yaml", text.to_owned()).unwrap();
    let loaded = synapse::config::resolve(&document, UnknownKeys::Refuse, Path::new("/"));
    let router = loaded
        .map_err(|problems| problems.to_string())
        .unwrap()
        .value
        .routers
        .remove(0);
    let RouterKind::Haproxy(haproxy) = router.kind else {
        unreachable!("the file has an HAProxy router");
    };
    (*haproxy, router.services.to_vec())
}

/// The whole answer to one request.
async fn answer(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin, headers: &str) -> String {
    let request = format!("GET / HTTP/1.1\r\n{headers}connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut seen = Vec::new();
    let whole =
        async { while !is_whole(&String::from_utf8_lossy(&seen)) && stream.read_buf(&mut seen).await.unwrap() > 0 {} };
    timeout(Duration::from_secs(10), whole).await.expect("an answer");
    String::from_utf8(seen).unwrap()
}

/// An instance behind a TCP proxy keeps its connections.
fn is_whole(text: &str) -> bool {
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    length.is_some_and(|length| body.len() >= length.parse::<usize>().unwrap())
}

async fn at(port: u16, headers: &str) -> String {
    answer(TcpStream::connect(("127.0.0.1", port)).await.unwrap(), headers).await
}

#[tokio::test]
async fn keys_sections_and_the_shared_frontend_serve() {
    let (one, two) = (Backend::start("one").await, Backend::start("two").await);
    let mut bench = Fixture::new(&["web", "sock_2", "bad_3", "shared", "stats"]).await;
    let socket = bench.config.config_path.with_file_name("web.sock");
    let (config, services) = resolve(&format!(
        "
routers:
  - type: haproxy
    configPath: /h.cfg
    modernise: true
    sharedFrontend: [mode http, 'bind 127.0.0.1:{shared}']
    extraSections:
      'listen stats 127.0.0.1:{stats}': [mode http, option forceclose, stats enable, 'stats uri /']
      userlist admins: [user a insecure-password b]
      defaults tcp: [mode tcp, timeout connect 9s, timeout client 9s, timeout server 9s]
    services:
      - name: web
        watcher: {{type: zookeeper, hosts: [zk], path: /web}}
        haproxy: {{mode: http, port: {web}, backendName: web, sharedFrontend: ['use_backend web if {{ hdr(host) web }}']}}
        routerOptions: {{backend: ['rspadd X-Old:\\ yes\\ 5%']}}
      - name: sock
        watcher: {{type: zookeeper, hosts: [zk], path: /sock}}
        haproxy: {{mode: tcp, bindAddress: {socket}, bindOptions: mode 600}}
      - name: bad
        watcher: {{type: zookeeper, hosts: [zk], path: /bad}}
        haproxy: {{mode: http, port: {bad}, sharedFrontend: [use_backend nowhere if nonsense]}}
",
        web = bench.port("web"),
        bad = bench.port("bad_3"),
        shared = bench.port("shared"),
        stats = bench.port("stats"),
        socket = socket.display(),
    ));
    bench.config.shared_frontend = config.shared_frontend;
    bench.config.extra_sections = config.extra_sections;
    bench.services = services;
    bench.start().await;
    bench.want(&[
        ("web", vec![server(&one)]),
        ("sock_2", vec![server(&two)]),
        ("bad_3", vec![]),
    ]);
    eventually("the bad one is left out", async || {
        bench
            .status()
            .services
            .get(2)
            .is_some_and(|bad| bad.quarantined.is_some())
    })
    .await;
    let words = bench.status().services[2].quarantined.clone().unwrap();
    assert!(words.contains("nonsense"), "{words}");
    assert_eq!(bench.get("web").await.as_deref(), Some("one"));
    let web = at(bench.port("shared"), "host: web\r\n").await;
    assert!(web.ends_with("one") && web.contains("x-old: yes 5%"), "{web}");
    assert!(at(bench.port("shared"), "host: other\r\n").await.contains(" 503 "));
    let through = answer(UnixStream::connect(&socket).await.unwrap(), "host: x\r\n").await;
    assert!(through.ends_with("two"), "{through}");
    assert!(at(bench.port("stats"), "").await.contains("Statistics Report"));
    assert_eq!(bench.reloads(), [("first_start", "ok", 1)]);
}

/// Servers of the operator, in a section or in a service's lines, are never enabled or disabled by synapse.
#[tokio::test]
async fn what_the_operator_wrote_is_left_alone() {
    let (one, two, mine) = (
        Backend::start("one").await,
        Backend::start("two").await,
        Backend::start("mine").await,
    );
    let mut bench = Fixture::new(&["web_1", "manual"]).await;
    bench.services.pop();
    let (config, _) = resolve(&format!(
        "
routers:
  - type: haproxy
    configPath: /h.cfg
    listen:
      manual: [mode http, 'bind 127.0.0.1:{port}', server mine {mine}, server spare 127.0.0.99:9]
",
        port = bench.port("manual"),
        mine = mine.address,
    ));
    bench.config.extra_sections = config.extra_sections;
    let fixed = ["mine", "spare"].map(|name| format!("server {name} {}", mine.address));
    bench.services[0].backend.extend(fixed);
    bench.start().await;
    bench.want(&[("web_1", vec![server(&one)])]);
    bench.in_sync().await;
    bench.query("set server manual/spare state maint").await;
    bench.query("set server web_1/spare state maint").await;
    let stat = async |bench: &Fixture| {
        let stat = bench.query("show servers state").await;
        let rows = stat
            .lines()
            .filter(|line| line.contains(" mine ") || line.contains(" spare "));
        // Name, operational and administrative state, weight.
        rows.map(|row| row.split(' ').skip(3).take(5).map(str::to_owned).collect::<Vec<_>>())
            .collect::<Vec<_>>()
    };
    let before = stat(&bench).await;
    assert_eq!(before.len(), 4, "{before:?}");
    for wanted in [vec![server(&one), server(&two)], vec![server(&two)], vec![server(&one)]] {
        bench.want(&[("web_1", wanted)]);
        bench.in_sync().await;
        assert_eq!(stat(&bench).await, before);
        assert_eq!(bench.get("manual").await.as_deref(), Some("mine"));
    }
    bench.query("set server web_1/slot_5 state ready").await;
    eventually("it has looked at all again", async || bench.status().drift_repairs > 0).await;
    assert_eq!(stat(&bench).await, before);
    assert_eq!(bench.status().drift_repairs, 1);
    assert_eq!(bench.names("web_1", 4).await, ["mine", "one"]);
    assert_eq!(bench.reloads(), [("first_start", "ok", 1)]);
    // Nor does the next synapse take them for its own.
    bench.stop().await;
    bench.start().await;
    bench.in_sync().await;
    assert_eq!(stat(&bench).await, before);
    assert_eq!(bench.reloads(), []);
}

#[tokio::test]
async fn cookies_lead_back_to_an_instance_across_reloads() {
    let (one, two) = (Backend::start("one").await, Backend::start("two").await);
    let mut bench = Fixture::new(&["web_1"]).await;
    bench.services[0].haproxy.cookie = Some(CookieValue::Hash);
    bench.services[0].backend.push("cookie SRV insert".into());
    bench.start().await;
    bench.want(&[("web_1", vec![server(&one), server(&two)])]);
    bench.in_sync().await;
    let first = at(bench.port("web_1"), "").await;
    let cookie = first
        .lines()
        .find_map(|line| line.strip_prefix("set-cookie: "))
        .unwrap();
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let name = first.lines().last().unwrap();
    assert_eq!(cookie.len(), "SRV=".len() + 40, "{first}");
    bench.handle().reload().await.unwrap();
    for _ in 0..4 {
        let again = at(bench.port("web_1"), &format!("cookie: {cookie}\r\n")).await;
        assert!(again.ends_with(name), "{again}");
    }
}

#[tokio::test]
async fn cookies_that_haproxy_makes_itself_need_no_reload() {
    let (one, two) = (Backend::start("one").await, Backend::start("two").await);
    let mut bench = Fixture::new(&["web_1"]).await;
    let lines = ["cookie SRV insert dynamic", "dynamic-cookie-key of-my-own"];
    bench.services[0].backend.extend(lines.map(String::from));
    bench.start().await;
    bench.want(&[("web_1", vec![server(&one)])]);
    bench.in_sync().await;
    bench.want(&[("web_1", vec![server(&one), server(&two)])]);
    bench.in_sync().await;
    let mut of = std::collections::BTreeMap::new();
    for _ in 0..4 {
        let text = at(bench.port("web_1"), "").await;
        let cookie = text.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
        let cookie = cookie.split(';').next().unwrap().to_owned();
        of.insert(text.lines().last().unwrap().to_owned(), cookie);
    }
    assert_eq!(of.keys().collect::<Vec<_>>(), ["one", "two"]);
    for (name, cookie) in &of {
        for _ in 0..3 {
            let again = at(bench.port("web_1"), &format!("cookie: {cookie}\r\n")).await;
            assert!(again.ends_with(name.as_str()), "{again}");
        }
    }
    assert_eq!(bench.reloads(), [("first_start", "ok", 1)]);
}

#[tokio::test]
async fn options_taken_on_trust_are_left_out_when_haproxy_refuses_them() {
    let one = Backend::start("one").await;
    let mut bench = Fixture::new(&["good_1", "bad_2"]).await;
    bench.config.options_policy = OptionsPolicy::Legacy;
    bench.start().await;
    let asks = |options: &str| Server {
        options: options.into(),
        ..server(&one)
    };
    let good = "resolve-prefer ipv4 id 77 check disabled weight 9";
    bench.want(&[("good_1", vec![asks(good)]), ("bad_2", vec![asks("check nonsense")])]);
    eventually("the refused ones are left out", async || {
        let status = bench.status();
        status.services.get(1).is_some_and(|bad| bad.quarantined.is_some())
    })
    .await;
    let status = bench.status();
    assert!(status.services[1].quarantined.as_deref().unwrap().contains("nonsense"));
    assert_eq!(&*status.services[1].servers[0].options, "");
    assert_eq!(&*status.services[0].servers[0].options, "resolve-prefer ipv4 check");
    assert_eq!(
        status.services[0].servers[0].ignored_options,
        ["id 77", "disabled", "weight 9"]
    );
    for service in ["good_1", "bad_2"] {
        assert_eq!(bench.get(service).await.as_deref(), Some("one"), "{service}");
    }
}

#[tokio::test]
async fn what_haproxy_counts_is_shown() {
    let one = Backend::start("one").await;
    let mut bench = Fixture::new(&["web_1"]).await;
    bench.services[0].server_options = "check inter 1s".into();
    bench.start().await;
    bench.want(&[("web_1", vec![server(&one), server_at("dead", "127.0.0.99:9")])]);
    bench.in_sync().await;
    assert_eq!(bench.names("web_1", 3).await, ["one"]);
    let counted = |name: &str| {
        let status = bench.status();
        let server = status.services[0]
            .servers
            .iter()
            .find(|server| &*server.instance == name);
        server.and_then(|server| server.statistics.clone())
    };
    eventually("it is counted", async || {
        counted("one").is_some_and(|one| one.total_sessions >= 3 && &*one.status == "UP" && &*one.check == "L4OK")
    })
    .await;
    eventually("the dead one is down", async || {
        counted("dead").is_some_and(|dead| &*dead.status == "DOWN" && &*dead.check == "L4CON")
    })
    .await;
}

#[tokio::test]
async fn our_defaults_raise_no_warning() {
    let mut bench = Fixture::new(&["web_1"]).await;
    bench.config.global = vec!["log stderr format raw local0".into()];
    bench.services.push(ServiceConfig {
        id: "tcp_2".into(),
        frontend: vec![format!(
            "bind {}",
            bench.config.config_path.with_file_name("t").display()
        )],
        backend: Vec::new(),
        ..bench.services[0].clone()
    });
    bench.start().await;
    bench.want(&[("web_1", vec![])]);
    bench.in_sync().await;
    let check = common::process::Program {
        argv: [
            "haproxy",
            "-dW",
            "-c",
            "-f",
            &bench.config.config_path.to_string_lossy(),
        ]
        .map(str::to_owned)
        .to_vec(),
        env: Vec::new(),
        timeout: Duration::from_secs(30),
    };
    let outcome = check.run().await.unwrap();
    assert!(
        matches!(outcome, common::process::Outcome::Success { .. }),
        "{outcome:?}"
    );
}

/// Returns one column of `show stat` for one server.
async fn statistic(bench: &Fixture, server: &str, column: &str) -> String {
    let stat = bench.query("show stat").await;
    let head: Vec<&str> = stat
        .lines()
        .next()
        .unwrap()
        .trim_start_matches("# ")
        .split(',')
        .collect();
    let index = head.iter().position(|name| *name == column).unwrap();
    let line = stat.lines().find(|line| line.contains(&format!(",{server},"))).unwrap();
    line.split(',').nth(index).unwrap().to_owned()
}

#[tokio::test]
async fn a_server_down_before_a_reload_gets_no_request_after_it() {
    let (one, two) = (Backend::start("one").await, Backend::start("two").await);
    let mut bench = Fixture::new(&["web_1"]).await;
    bench.services[0].server_options = "check inter 5s fastinter 50ms fall 2".into();
    bench.config.reload_min_interval = Duration::from_millis(10);
    bench.start().await;
    // No process listens there, and it has a slot, under another name than after a reload.
    let dead = server_at("dead", "127.0.0.99:9");
    bench.want(&[("web_1", vec![server(&one), server(&two)])]);
    bench.in_sync().await;
    bench.want(&[("web_1", vec![server(&one), server(&two), dead.clone()])]);
    bench.in_sync().await;
    let slot = bench.status().services[0]
        .servers
        .iter()
        .find(|slot| &*slot.instance == "dead")
        .unwrap()
        .name
        .clone();
    eventually("its checks have failed", async || {
        statistic(&bench, &slot, "status").await == "DOWN"
    })
    .await;
    let load = bench.load("web_1", 4);
    let gone = "dead_127.0.0.99:9";
    for _ in 0..5 {
        bench.handle().reload().await.unwrap();
        assert_eq!(statistic(&bench, gone, "status").await, "DOWN");
        eventually("the others serve", async || {
            bench.names("web_1", 4).await == ["one", "two"]
        })
        .await;
        assert_eq!(statistic(&bench, gone, "lbtot").await, "0");
    }
    let (requests, failed) = load.stop().await;
    assert_eq!(
        (failed, statistic(&bench, gone, "lbtot").await),
        (0, "0".to_owned()),
        "of {requests}"
    );
    // Reborn at another port it has nothing to do with the dead.
    let reborn = Backend::start("dead").await;
    bench.want(&[("web_1", vec![server(&one), server(&two), server(&reborn)])]);
    bench.in_sync().await;
    bench.handle().reload().await.unwrap();
    let status = statistic(&bench, &own(&reborn), "status").await;
    assert!(status.starts_with("UP"), "{status}");
    assert_eq!(bench.names("web_1", 6).await, ["dead", "one", "two"]);
}

#[tokio::test]
async fn an_operator_may_keep_health_to_each_worker() {
    let one = Backend::start("one").await;
    let mut bench = Fixture::new(&["web_1"]).await;
    bench.services[0].server_options = "check inter 5s fastinter 50ms fall 2".into();
    bench.config.state_file = None;
    bench.start().await;
    bench.want(&[("web_1", vec![server(&one), server_at("dead", "127.0.0.99:9")])]);
    bench.in_sync().await;
    let gone = "dead_127.0.0.99:9";
    eventually("its checks have failed", async || {
        statistic(&bench, gone, "status").await == "DOWN"
    })
    .await;
    bench.handle().reload().await.unwrap();
    assert!(
        statistic(&bench, gone, "status").await.starts_with("UP"),
        "until its first check"
    );
}

#[tokio::test]
async fn someone_elses_haproxy_takes_health_from_the_file_it_names() {
    let one = Backend::start("one").await;
    let mut bench = Fixture::new(&["web_1"]).await;
    bench.external();
    let file = bench.config.config_path.with_file_name("health");
    bench
        .config
        .global
        .push(format!("server-state-file {}", file.display()));
    bench.config.defaults.push("load-server-state-from-file global".into());
    bench.config.state_file = Some(file.clone());
    bench.services[0].server_options = "check inter 5s fastinter 50ms fall 2".into();
    bench.start().await;
    bench.want(&[("web_1", vec![server(&one), server_at("dead", "127.0.0.99:9")])]);
    bench.in_sync().await;
    let gone = "dead_127.0.0.99:9";
    eventually("its checks have failed", async || {
        statistic(&bench, gone, "status").await == "DOWN"
    })
    .await;
    bench.handle().reload().await.unwrap();
    assert_eq!(statistic(&bench, gone, "status").await, "DOWN");
    let left = std::fs::read_to_string(file).unwrap();
    assert_eq!(left, "1\n", "a later manual reload finds no outdated states");
}
