//! Where synapse's servers come from: every writer's words, a guarded ensemble, several sources at once.

use std::collections::BTreeMap;

use e2e::authority::Authority;
use e2e::daemon::Daemon;
use e2e::eventually::{ensure, eventually};
use e2e::ports::free_port;
use e2e::site::TIMEOUT;
use e2e::zookeeper::ZooKeeper;
use serde_json::Value;
use tempfile::TempDir;
use zookeeper_client::{Acls, Client, CreateMode};

const PATH: &str = "/services/web";

/// A synapse that prints, with services whose watchers are `watchers`, by name.
struct Synapse {
    daemon: Daemon,
    _directory: TempDir,
}

impl Synapse {
    /// Removals apply at once: the guard has scenarios of its own.
    async fn start(watchers: &[(&str, String)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let port = free_port();
        let services: Vec<String> = watchers
            .iter()
            .map(|(name, watcher)| format!("      - {{name: {name}, guard: {{policy: trust}}, watcher: {watcher}}}\n"))
            .collect();
        let configuration = format!(
            "apiPort: {port}\nstrict: true\nrouters:\n  - type: console\n    services:\n{}",
            services.join("")
        );
        let mut daemon = Daemon::new("synapse", "synapse", directory.path(), port, &configuration);
        daemon.start_and_wait().await.unwrap();
        Self {
            daemon,
            _directory: directory,
        }
    }

    /// The service of this name.
    async fn service(&self, name: &str) -> Result<Value, String> {
        let status = self.daemon.status().await?;
        let services = status.pointer("/routers/0/services").and_then(Value::as_array);
        let service = services.into_iter().flatten().find(|service| service["name"] == *name);
        service.cloned().ok_or_else(|| status.to_string())
    }

    /// Waits until the service is in this state and just these instances are used, by node.
    async fn has(&self, name: &str, state: &str, addresses: &[&str]) -> Value {
        let mut last = Value::Null;
        eventually(&format!("{name} is {state} with {addresses:?}"), TIMEOUT, async || {
            let service = self.service(name).await?;
            let used = used(&service);
            let found = service.pointer("/freshness/state").and_then(Value::as_str);
            let is_so = found == Some(state) && used.values().eq(addresses);
            last = service.clone();
            ensure(is_so, || service.to_string())
        })
        .await;
        last
    }
}

/// The addresses of those that are used, by node.
fn used(service: &Value) -> BTreeMap<String, String> {
    let instances = service["instances"].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    instances
        .filter(|instance| instance["verdict"] == "used")
        .map(|instance| (text(&instance["node"]), text(&instance["address"])))
        .collect()
}

fn verdict(service: &Value, node: &str) -> String {
    let instances = service["instances"].as_array().into_iter().flatten();
    let mut instance = instances.filter(|instance| instance["node"] == *node);
    instance
        .next()
        .map_or_else(String::new, |instance| instance["verdict"].to_string())
}

fn zookeeper(kind: &str, hosts: &str, keys: &str) -> String {
    format!("{{type: {kind}, hosts: ['{hosts}'], path: {PATH}, sessionTimeout: 4s {keys}}}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_service_mixes_the_words_of_all_writers() {
    let server = ZooKeeper::start().await;
    let client = server.client().await;
    let nodes = [
        (
            "go_c_0000000001",
            r#"{"available":true,"host":"10.0.0.1","port":80,"name":"go","weight":255}"#,
        ),
        (
            "airbnb_0000000002",
            r#"{"host":"10.0.0.2","port":"80","name":"airbnb"}"#,
        ),
        // {"host":"10.0.0.3","port":80,"name":"said"}
        (
            "base64_60_eyJob3N0IjoiMTAuMC4wLjMiLCJwb3J0Ijo4MCwibmFtZSI6InNhaWQifQ==_0000000003",
            "not looked at",
        ),
        (
            "member_0000000004",
            r#"{"serviceEndpoint":{"host":"10.0.0.4","port":80},"additionalEndpoints":{},"status":"ALIVE","shard":4}"#,
        ),
        (
            "member_0000000005",
            r#"{"serviceEndpoint":{"host":"10.0.0.5","port":80},"additionalEndpoints":{},"status":"STOPPING"}"#,
        ),
        (
            "spring",
            r#"{"name":"web","id":"spring","address":"10.0.0.6","port":null,"sslPort":443,"payload":{"metadata":{"instance_status":"UP"}}}"#,
        ),
        ("registrator", r#"{"Name":"web","IP":"10.0.0.7","PublicPort":80}"#),
        ("text", "10.0.0.8:80"),
        ("10.0.0.9:80", ""),
        ("rubbish", "\u{1}\u{2}"),
    ];
    for (name, data) in nodes {
        client.put(&format!("{PATH}/{name}"), data).await;
    }
    let synapse = Synapse::start(&[
        ("watched", zookeeper("zookeeper", &server.address(), "")),
        (
            "polled",
            zookeeper("zookeeper_poll", &server.address(), ", pollingInterval: 200ms"),
        ),
        (
            "nerves",
            zookeeper("zookeeper", &server.address(), ", decode: {method: nerve}"),
        ),
    ])
    .await;
    let all = [
        "10.0.0.9:80",
        "10.0.0.2:80",
        "10.0.0.3:80",
        "10.0.0.1:80",
        "10.0.0.4:80",
        "10.0.0.7:80",
        "10.0.0.6:443",
        "10.0.0.8:80",
    ];
    for name in ["watched", "polled"] {
        let service = synapse.has(name, "live", &all).await;
        assert_eq!(
            verdict(&service, "member_0000000005"),
            "\"not available: status is STOPPING\""
        );
        let skipped = verdict(&service, "rubbish");
        assert!(skipped.contains("neither a JSON object nor"), "{skipped}");
    }
    synapse
        .has("nerves", "live", &["10.0.0.2:80", "10.0.0.3:80", "10.0.0.1:80"])
        .await;
    client.delete(&format!("{PATH}/text")).await;
    for name in ["watched", "polled"] {
        synapse.has(name, "live", &all[..7]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guarded_path_is_read_by_who_may_over_tls() {
    let authority = Authority::new();
    let us = authority.sign("client");
    let (server, port) = ZooKeeper::start_with_tls(&authority).await;
    let user = Client::connector()
        .with_auth("digest", b"web:right")
        .connect(&server.address())
        .await
        .unwrap();
    let guarded = CreateMode::Persistent.with_acls(Acls::creator_all());
    let open = CreateMode::Persistent.with_acls(Acls::anyone_all());
    user.create("/services", b"", &open).await.unwrap();
    user.create(PATH, b"", &guarded).await.unwrap();
    let data = br#"{"host":"10.0.0.1","port":80,"name":"a"}"#;
    user.create(&format!("{PATH}/a"), data, &guarded).await.unwrap();

    let tls = format!(
        "tls: {{ca: {}, cert: {}, key: {}}}",
        authority.ca().display(),
        us.cert.display(),
        us.key.display()
    );
    let secure = format!("127.0.0.1:{port}");
    let with = |auth: &str| zookeeper("zookeeper", &secure, &format!(", {tls} {auth}"));
    let synapse = Synapse::start(&[
        ("known", with(", auth: {user: web, password: right}")),
        ("stranger", with(", auth: {user: web, password: wrong}")),
        ("nobody", with("")),
    ])
    .await;
    synapse.has("known", "live", &["10.0.0.1:80"]).await;
    for name in ["stranger", "nobody"] {
        let told = async || {
            let service = synapse.service(name).await?;
            let error = service["freshness"]["error"].to_string();
            ensure(error.contains("an ACL does not allow it"), || service.to_string())?;
            ensure(service["freshness"]["state"] == "never", || service.to_string())
        };
        eventually(&format!("{name} is told why"), TIMEOUT, told).await;
    }
    let log = synapse.daemon.log();
    assert!(
        !log.contains("right") && !log.contains("wrong"),
        "a password in the log: {log}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_or_lost_source_gives_way_to_the_next_and_comes_back() {
    let (mut eu, us) = (ZooKeeper::start().await, ZooKeeper::start().await);
    let (in_eu, in_us) = (eu.client().await, us.client().await);
    let node = |host: &str| format!(r#"{{"host":"{host}","port":80,"name":"a"}}"#);
    in_eu.put(&format!("{PATH}/a"), node("10.0.0.1")).await;
    in_us.put(&format!("{PATH}/a"), node("10.0.0.2")).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "- 10.0.0.3:80\n").unwrap();

    let child = |name: &str, watcher: String| watcher.replacen('{', &format!("{{name: {name}, "), 1);
    let sources = [
        child("eu", zookeeper("zookeeper", &eu.address(), "")),
        child("us", zookeeper("zookeeper", &us.address(), "")),
        format!("{{name: file, type: file, path: {}}}", file.path().display()),
    ]
    .join(", ");
    let multi = |method: &str| format!("{{type: multi, method: {method}, patience: 1s, watchers: [{sources}]}}");
    let synapse = Synapse::start(&[("first", multi("sequential")), ("all", multi("union"))]).await;
    let service = synapse.has("first", "live", &["10.0.0.1:80"]).await;
    assert_eq!(used(&service).keys().collect::<Vec<_>>(), ["eu/a"]);
    synapse
        .has("all", "live", &["10.0.0.1:80", "10.0.0.3:80", "10.0.0.2:80"])
        .await;

    // Empty, and back.
    in_eu.delete(&format!("{PATH}/a")).await;
    synapse.has("first", "live", &["10.0.0.2:80"]).await;
    in_eu.put(&format!("{PATH}/a"), node("10.0.0.1")).await;
    synapse.has("first", "live", &["10.0.0.1:80"]).await;
    in_us.delete(&format!("{PATH}/a")).await;
    in_eu.delete(&format!("{PATH}/a")).await;
    synapse.has("first", "live", &["10.0.0.3:80"]).await;
    in_eu.put(&format!("{PATH}/a"), node("10.0.0.1")).await;
    synapse.has("first", "live", &["10.0.0.1:80"]).await;

    // Lost, and back; the union keeps what it knew.
    in_us.put(&format!("{PATH}/a"), node("10.0.0.2")).await;
    eu.kill();
    let service = synapse.has("first", "live", &["10.0.0.2:80"]).await;
    assert!(
        service["source"]["place"].to_string().contains("else us (zookeeper"),
        "{service}"
    );
    synapse
        .has("all", "stale", &["10.0.0.1:80", "10.0.0.3:80", "10.0.0.2:80"])
        .await;
    eu.restart().await;
    synapse.has("first", "live", &["10.0.0.1:80"]).await;
    synapse
        .has("all", "live", &["10.0.0.1:80", "10.0.0.3:80", "10.0.0.2:80"])
        .await;
    let log = synapse.daemon.log();
    assert!(log.contains("Another source is used"), "{log}");
}
