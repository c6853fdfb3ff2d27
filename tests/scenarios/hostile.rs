//! One bad node never hurts a good one.

use e2e::load::Load;
use e2e::site::{BACKEND, PATH, Site};

/// Node names and data that nobody should register, each a thing that was seen or feared.
const BAD: &[(&str, &str)] = &[
    ("empty", ""),
    ("not-json", "x{"),
    ("not-utf8-looking", "\u{fffd}\u{0}\u{1}"),
    ("no-port", r#"{"host":"127.0.0.1","name":"no-port"}"#),
    ("port-zero", r#"{"host":"127.0.0.1","port":0,"name":"port-zero"}"#),
    (
        "port-too-large",
        r#"{"host":"127.0.0.1","port":99999,"name":"port-too-large"}"#,
    ),
    (
        "port-negative",
        r#"{"host":"127.0.0.1","port":-1,"name":"port-negative"}"#,
    ),
    (
        "unresolvable",
        r#"{"host":"no-such-host.invalid","port":8080,"name":"unresolvable"}"#,
    ),
    (
        "host-with-command",
        r#"{"host":"127.0.0.1\nset server web_1/x state maint","port":8080,"name":"h"}"#,
    ),
    (
        "name-with-newline",
        r#"{"host":"127.0.0.1","port":1,"name":"x 127.0.0.1:1\nfrontend evil\n bind :1","weight":0}"#,
    ),
    (
        "options-with-program",
        r#"{"host":"127.0.0.1","port":2,"name":"o","weight":0,"haproxy_server_options":"check\nprogram evil\n command /usr/bin/touch /tmp/evil"}"#,
    ),
    (
        "options-unknown",
        r#"{"host":"127.0.0.1","port":3,"name":"u","weight":0,"haproxy_server_options":"no-such-option 1"}"#,
    ),
    (
        "weight-too-large",
        r#"{"host":"127.0.0.1","port":4,"name":"w","weight":300}"#,
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_nodes_beside_good_ones_change_nothing_for_the_good() {
    let mut site = Site::start(&["one", "two"]).await;
    let load = Load::start(site.port());
    let client = site.zookeeper.client().await;
    for (name, data) in BAD {
        client.put(&format!("{PATH}/{name}"), data).await;
    }
    // The good still come and go beside the bad.
    site.add("three").await;
    site.serves_all().await.unwrap();
    site.member_mut("one").nerve.terminate().await;
    site.members.remove("one");
    site.serves_all().await.unwrap();
    load.take().assert_flawless();

    let file = site.haproxy.configuration();
    for evil in ["evil", "/usr/bin/touch", "99999", "no-such-host"] {
        assert!(!file.contains(evil), "{evil:?} came from a node into the file:\n{file}");
    }
    let status = site.synapse.get("/status").await.unwrap().body;
    for named in ["not-json", "port-too-large", "unresolvable"] {
        assert!(status.contains(named), "the status does not tell of {named}: {status}");
    }

    // Also a fresh synapse and a reload find their way past them.
    site.synapse.kill();
    site.synapse.start_and_wait().await.unwrap();
    let reloaded = site.synapse.send("POST", "/v1/haproxy/reload").await.unwrap();
    assert_eq!(reloaded.status, 200, "{reloaded:?}");
    site.serves_all().await.unwrap();
    load.take().assert_flawless();

    for (name, _) in BAD {
        client.delete(&format!("{PATH}/{name}")).await;
    }
    site.serves_all().await.unwrap();
    load.take().assert_flawless();
    assert_eq!(site.haproxy.active(BACKEND).await.unwrap().len(), 2);
}
