//! One bad node never hurts a good one.

use std::collections::BTreeSet;

use common::report::encoded;
use e2e::eventually::{ensure, eventually};
use e2e::load::Load;
use e2e::site::{BACKEND, PATH, Site, TIMEOUT};
use serde_json::{Value, json};

/// What is no registration at all.
const NO_REPORTS: &[(&str, &[u8])] = &[
    ("empty", b""),
    ("not-json", b"x{"),
    (
        "not-utf8",
        b"{\"host\":\"127.0.0.1\",\"port\":900,\"name\":\"\xff\xfe\"}",
    ),
    ("zeros", b"\0\0\0\0"),
    (
        "a-mark-before",
        b"\xef\xbb\xbf{\"host\":\"127.0.0.1\",\"port\":900,\"name\":\"b\"}",
    ),
    (
        "thrift",
        b"\x0c\x00\x01\x0b\x00\x01\x00\x00\x00\x09127.0.0.1\x08\x00\x02\x00\x00\x03\x84\x00",
    ),
    ("list", b"[{\"host\":\"127.0.0.1\",\"port\":900,\"name\":\"l\"}]"),
    ("text", b"\"127.0.0.1:900\""),
    ("null", b"null"),
    ("two-objects", b"{\"host\":\"127.0.0.1\",\"port\":900,\"name\":\"t\"}{}"),
    (
        "vector_0000000001",
        b"{\"vector\":[{\"select\":\"shard=4\",\"weight\":0.5,\"priority\":1}]}",
    ),
    ("no-port", b"{\"host\":\"127.0.0.1\",\"name\":\"n\"}"),
    ("no-host", b"{\"port\":900,\"name\":\"n\"}"),
    ("no-name", b"{\"host\":\"127.0.0.1\",\"port\":900}"),
    ("null-host", b"{\"host\":null,\"port\":900,\"name\":\"n\"}"),
    (
        "labels-no-map",
        b"{\"host\":\"127.0.0.1\",\"port\":900,\"name\":\"n\",\"labels\":[1]}",
    ),
    ("line-for-haproxy", b"server x 127.0.0.1:900"),
    ("dubbo%3A%2F%2F127.0.0.1%3A900%2Fx", b""),
    ("base64_8_!!!!!!!!_0000000001", b""),
    ("base64_999999999999999999999_e30=_0000000001", b""),
    ("a b\"c'#$;\u{2028}\u{e9}", b""),
];

/// Hosts that no server has. HAProxy would take most of them for something.
const HOSTS: &[&str] = &[
    "",
    "*",
    "0.0.0.0",
    "::",
    "224.0.0.1",
    "255.255.255.255",
    "fe80::1%lo",
    "/run/x.sock",
    "unix@/run/x.sock",
    "abns@x",
    "ipv4@127.0.0.1",
    "127.0.0.1:80",
    "127.0.0.1/tcp",
    "$HOME",
    "${HOME}",
    "-x",
    "a b",
    "a#b",
    "a\u{2028}b",
    "127.0.0.1\r",
    "127.0.0.1\nset server web_1/x state maint",
    "256.1.1.1",
    "1.2.3.4.5",
    "a_b.invalid",
    "no-such-host.invalid",
    "\u{e9}.example",
];

/// Spellings of 127.0.0.1 that the system may resolve: then it is one more server, by its address.
const SPELLINGS: &[&str] = &["127.1", "0x7f.1", "2130706433", "LOCALHOST"];

const PORTS: &[&str] = &[
    "0",
    "-1",
    "65536",
    "99999",
    "900.5",
    "1e9",
    "null",
    "true",
    "\"\"",
    "\"+900\"",
    "\" 900\"",
    "\"900/tcp\"",
    "[900]",
    "{}",
];

const WEIGHTS: &[&str] = &["300", "257", "-1", "0.5", "1e300", "\"x\"", "\"\"", "true", "[]", "{}"];

/// Names of instances that are otherwise sound: each is a server of its own, under a name that HAProxy takes.
const NAMES: &[&str] = &[
    "one",
    "slot_1",
    "slot_9",
    "#3",
    "a#b",
    "a/b",
    "a b",
    "\"",
    "'",
    "\\",
    "$HOME",
    "%[src]",
    "{{.Name}}",
    "evil,()[]{}=|;@",
    "\u{e9}\u{2028}\u{202e}",
    "defaultServers/127.0.0.1:1",
];

/// Names that no report may have.
const NO_NAMES: &[&str] = &[
    "",
    "x 127.0.0.1:1\nfrontend evil\n bind :1",
    "a\rb",
    "a\u{0}b",
    "a\tb",
    "\u{7f}",
];

/// Options of instances that are otherwise sound.
const OPTIONS: &[&str] = &[
    "check\nprogram evil\n command /usr/bin/touch /tmp/evil",
    "check\rprogram evil",
    "check\0",
    "check\u{2028}program evil",
    "check # evil",
    "check \"evil",
    "check 'evil",
    "check \\",
    "check\\nevil",
    "$HOME ${HOME} \"$HOME\"",
    "no-such-option evil",
    "redir http://evil",
    "source 127.0.0.9",
    "ssl verify none sni str(evil)",
    "ca-file /evil crt /evil crl-file /evil",
    "track web_1/evil",
    "resolvers evil init-addr none",
    "id 1",
    "weight 256",
    "disabled",
    "enabled",
    "addr evil.example agent-check agent-port 1",
    "external-check command /evil",
    "inter 0 port 0 rise -1 fall +2",
    "maxconn 99999999999999999999",
    "cookie a;b cookie evil",
    "check check check",
    "{{randString 8}}",
];

/// What stays out of rotation however its check ends.
fn report(name: &str, port: usize) -> Value {
    json!({"host": "127.0.0.1", "port": port, "name": name, "weight": 0})
}

fn with(mut report: Value, key: &str, value: Value) -> String {
    report.as_object_mut().unwrap().insert(key.to_owned(), value);
    report.to_string()
}

/// Nodes that no program should register, and the ports of those that are servers of their own nevertheless.
struct Bad {
    nodes: Vec<(String, Vec<u8>)>,
    ports: BTreeSet<usize>,
}

impl Bad {
    fn new() -> Self {
        let mut bad = Self {
            nodes: Vec::new(),
            ports: BTreeSet::new(),
        };
        for (name, data) in NO_REPORTS {
            bad.node(*name, *data);
        }
        bad.nothing(
            "host",
            HOSTS.iter().map(|host| with(report("h", 900), "host", json!(host))),
        );
        bad.nothing("name", NO_NAMES.iter().map(|name| report(name, 900).to_string()));
        bad.nothing("port", PORTS.iter().map(|port| raw("port", port)));
        bad.nothing("weight", WEIGHTS.iter().map(|weight| raw("weight", weight)));
        let spelt = SPELLINGS.iter().zip(300..);
        bad.nothing(
            "spelt",
            spelt.map(|(host, port)| with(report("s", port), "host", json!(host))),
        );
        bad.servers(
            100,
            NAMES
                .iter()
                .zip(100..)
                .map(|(name, port)| report(name, port).to_string()),
        );
        let asking = OPTIONS.iter().zip(200..);
        bad.servers(
            200,
            asking.map(|(options, port)| with(report("o", port), "haproxy_server_options", json!(options))),
        );
        // Too many, too long, too deep, too large.
        let of_length = [
            with(
                report("many", 400),
                "haproxy_server_options",
                json!("check ".repeat(100)),
            ),
            with(report("long", 401), "haproxy_server_options", json!("x".repeat(20_000))),
            with(
                report("labels", 402),
                "labels",
                json!({"a\nb": "c\nd", "": "x".repeat(20_000)}),
            ),
            report(&"n".repeat(255), 403).to_string(),
        ];
        bad.servers(400, of_length.into_iter());
        bad.node("name-too-long", report(&"n".repeat(2_000), 900).to_string());
        bad.node("deep", "[".repeat(60_000));
        bad.node("n".repeat(1_000), "");
        for number in 0..4 {
            bad.node(format!("large-{number}"), vec![b'{'; 1_000_000]);
        }
        // More than a packet of ZooKeeper's holds, in the list of names alone.
        for number in 0..80 {
            bad.node(format!("{number}-{}", "n".repeat(60_000)), "");
        }
        // The name encodes the whole data, and the data are invalid.
        for (number, port) in [("0000000001", 900), ("0000000002", 500)] {
            let mut report = report("evil\n", port);
            if port == 500 {
                report = json!({"host": "127.0.0.1", "port": 500, "name": "e", "weight": 0, "haproxy_server_options": "check\nevil"});
                bad.ports.insert(port);
            }
            let name = encoded::encode(report.to_string().as_bytes()).unwrap();
            bad.node(format!("{name}{number}"), "");
        }
        bad
    }

    fn node(&mut self, name: impl Into<String>, data: impl Into<Vec<u8>>) {
        self.nodes.push((name.into(), data.into()));
    }

    /// None of these is a server.
    fn nothing(&mut self, kind: &str, data: impl Iterator<Item = String>) {
        for (number, data) in data.enumerate() {
            self.node(format!("{kind}-{number}"), data);
        }
    }

    /// Each of these is one, at the ports from `first` on.
    fn servers(&mut self, first: usize, data: impl Iterator<Item = String>) {
        for (port, data) in (first..).zip(data) {
            self.ports.insert(port);
            self.node(format!("server-{port}"), data);
        }
    }
}

/// A report whose `key` is this piece of JSON.
fn raw(key: &str, value: &str) -> String {
    let other = if key == "port" {
        r#""weight":0"#
    } else {
        r#""port":900"#
    };
    format!(r#"{{"host":"127.0.0.1","name":"r","{key}":{value},{other}}}"#)
}

/// The lines that no instance affects: all but those of servers, and the fingerprint of how many slots there are.
fn sections(file: &str) -> Vec<&str> {
    let is_ours = |line: &&str| !line.starts_with("  server ") && !line.starts_with("  setenv SYNAPSE_STRUCTURE ");
    file.lines().filter(is_ours).collect()
}

/// The ports below 1,000 that servers in rotation or draining have: those of bad nodes, for none of ours is so low.
fn low_ports(file: &str) -> BTreeSet<usize> {
    let servers = file
        .lines()
        .filter(|line| line.starts_with("  server ") && line.contains(" enabled"));
    let ports = servers.filter_map(|line| line.split(' ').nth(4)?.strip_prefix("127.0.0.1:")?.parse().ok());
    ports.filter(|port| *port < 1_000).collect()
}

/// The file has nothing that a bad node put there, but for servers at `ports` and the spellings.
fn is_clean(file: &str, before: &[&str], ports: &BTreeSet<usize>) -> Result<(), String> {
    ensure(sections(file) == before, || format!("other sections: {file}"))?;
    let low: BTreeSet<usize> = low_ports(file)
        .into_iter()
        .filter(|port| !(300..400).contains(port))
        .collect();
    ensure(low == *ports, || format!("{low:?}, not {ports:?}: {file}"))?;
    for line in file.lines().filter(|line| line.starts_with("  server ")) {
        let plain = line.bytes().all(|b| b.is_ascii_alphanumeric() || b" _.:-".contains(&b));
        let words = line.split_whitespace().count();
        ensure(
            plain && words <= 40 && line.len() < 400 && !line.contains("evil "),
            || line.to_owned(),
        )?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_nodes_beside_good_ones_change_nothing_for_the_good() {
    let mut site = Site::start(&["one", "two"]).await;
    let before = site.haproxy.configuration();
    let before = sections(&before);
    let load = Load::start(site.port());
    let client = site.zookeeper.client().await;
    let bad = Bad::new();
    for (name, data) in &bad.nodes {
        client.put(&format!("{PATH}/{name}"), data).await;
    }
    // The good still come and go beside the bad.
    site.add("three").await;
    site.serves_all().await.unwrap();
    site.member_mut("one").nerve.terminate().await;
    site.members.remove("one");
    site.serves_all().await.unwrap();
    eventually("each bad node is a plain server at most", TIMEOUT, async || {
        is_clean(&site.haproxy.configuration(), &before, &bad.ports)
    })
    .await;
    load.take().assert_flawless();
    let status = site.synapse.get("/status").await.unwrap().body;
    for (name, _) in &bad.nodes {
        let node = Value::String(name.clone()).to_string();
        assert!(
            status.contains(&format!("\"node\":{node}")),
            "the status does not tell of {name:.100}"
        );
    }

    // Also a fresh synapse and a reload find their way past them.
    site.synapse.kill();
    site.synapse.start_and_wait().await.unwrap();
    let reloaded = site.synapse.send("POST", "/v1/haproxy/reload").await.unwrap();
    assert_eq!(reloaded.status, 200, "{reloaded:?}");
    site.serves_all().await.unwrap();
    is_clean(&site.haproxy.configuration(), &before, &bad.ports).unwrap();
    load.take().assert_flawless();

    for (name, _) in &bad.nodes {
        client.delete(&format!("{PATH}/{name}")).await;
    }
    site.serves_all().await.unwrap();
    load.take().assert_flawless();
    assert_eq!(site.haproxy.active(BACKEND).await.unwrap().len(), 2);
}
