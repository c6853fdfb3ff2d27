//! What a service announces, and the settings of its reporters.

use std::path::PathBuf;

use common::report::Dialect;
use common::zk::node::{NodeConfig, NodeKind, NodeName, WriteBudget};

use super::{SECOND, problems, warnings, zookeeper};
use crate::config::testing::{read, service};
use crate::config::{ReporterConfig, ZookeeperConfig};

#[test]
fn the_zookeeper_reporter_names_one_node_of_one_ensemble() {
    let service = service(
        "{ name: web, host: 10.0.0.1, port: 80, reporters: [
            { type: zookeeper, path: /services/web/, hosts: [' zk-b:2181', 'zk-a'], exposeOnUnavailable: true },
            { type: zookeeper, path: /other, hosts: ['zk-a', 'zk-b:2181'], connectionTimeoutInMilli: 20000 },
            { type: zookeeper, path: /, hosts: ['zk-a/app', 'zk-b'], sessionTimeout: 5s },
            { type: file, append: true }, { type: console } ] }",
    );
    let [first, second, third, file, console] = service.reporters.as_slice() else {
        panic!("five")
    };
    let [first, second, third] = [first, second, third].map(zookeeper);
    assert_eq!(
        (first.node.path().as_str(), first.expose_on_unavailable),
        ("/services/web/web_10.0.0.1:80", true)
    );
    assert_eq!(first.ensemble.hosts, ["zk-a", "zk-b:2181"]);
    assert_eq!(first.ensemble.session_timeout, 10 * SECOND);
    assert_eq!(second.ensemble.hosts, ["zk-a", "zk-b:2181"]);
    assert_eq!(second.ensemble.session_timeout, 20 * SECOND);
    assert_eq!(third.node.path(), "/web_10.0.0.1:80");
    assert_eq!(third.ensemble.hosts, ["zk-a", "zk-b/app"]);
    assert_eq!(third.ensemble.session_timeout, 5 * SECOND);
    let path = PathBuf::from("/tmp/nerve.report");
    assert_eq!(*file, ReporterConfig::File { path, append: true });
    assert_eq!(*console, ReporterConfig::Console);
}

/// The node and the payload of a service's only reporter, with these keys.
fn node_of(keys: &str) -> (NodeConfig, Dialect) {
    let service = service(&format!(
        "{{ name: web, host: 10.0.0.1, port: 80, reporterServiceName: shop,
            reporters: [{{ type: zookeeper, path: /s, hosts: [zk], {keys} }}] }}"
    ));
    let ZookeeperConfig { node, payload, .. } = zookeeper(&service.reporters[0]);
    (node.clone(), payload.clone())
}

#[test]
fn the_node_is_of_the_wanted_kind_name_and_payload() {
    let (node, payload) = node_of("");
    assert_eq!(node, NodeConfig::ephemeral("/s/web_10.0.0.1:80"));
    assert_eq!(payload, Dialect::Go);

    let (node, _) = node_of("nodeType: ephemeral_sequential");
    assert_eq!(node.kind, NodeKind::EphemeralSequential);
    let token = node.path();
    let token = token.strip_prefix("/s/web_10.0.0.1_c_").expect("Go-Nerve's form");
    assert!(
        token.len() == 32 && token.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{token}"
    );
    assert_eq!(
        node_of("nodeType: ephemeral_sequential").0,
        node,
        "it is the same at each start"
    );

    let shared = |prefix: &str, encoded| NodeName::Shared {
        prefix: prefix.to_owned(),
        encoded,
        host: "10.0.0.1".to_owned(),
        port: 80,
    };
    let (node, payload) = node_of("naming: airbnb, payload: airbnb, instanceId: host7, pathEncoding: true");
    assert_eq!(node.name, shared("host7_", true));
    let instance_id = "host7".to_owned();
    assert_eq!(payload, Dialect::Airbnb { instance_id });

    let (node, payload) = node_of("naming: serverset, payload: serverset, nodeType: persistent_sequential, ttl: 20s");
    assert_eq!((node.name, node.touch), (shared("member_", false), Some(20 * SECOND)));
    assert_eq!(payload, Dialect::ServerSet { shard: None });
    let member = "naming: serverset, payload: serverset, nodeType: ephemeral_sequential, shard: 0";
    assert_eq!(node_of(member).1, Dialect::ServerSet { shard: Some(0) });

    let (node, payload) = node_of("payload: curator, writeBudget: { writes: 5, per: 10s }");
    let (id, service_type) = ("web_10.0.0.1:80".to_owned(), "DYNAMIC");
    let named = id.clone();
    assert_eq!(payload, Dialect::Curator { id, service_type });
    assert_eq!(
        node_of("payload: spring").1,
        Dialect::Spring {
            id: named,
            service_type
        }
    );
    let (writes, per) = (5, 10 * SECOND);
    assert_eq!(node.budget, WriteBudget { writes, per });
}

#[test]
fn sessions_are_shared_only_by_equals() {
    let service = service(
        "{ port: 80, advertise: [10.0.0.1], reporters: [
            { type: zookeeper, path: /a, hosts: [zk], acl: creatorAllWorldRead, auth: { user: web, password: hunter1 } },
            { type: zookeeper, path: /b, hosts: [zk], auth: { user: web, password: hunter1 } },
            { type: zookeeper, path: /c, hosts: [zk], auth: { user: web, password: hunter2 } },
            { type: zookeeper, path: /d, hosts: [zk], tls: { ca: /ca.pem } } ] }",
    );
    let ensembles: Vec<_> = service
        .reporters
        .iter()
        .map(|reporter| &zookeeper(reporter).ensemble)
        .collect();
    assert_eq!(ensembles[0], ensembles[1]);
    assert_ne!(ensembles[1], ensembles[2]);
    assert_ne!(ensembles[1], ensembles[3]);
    assert!(!format!("{service:?}").contains("hunter"), "a password is shown");
}

#[test]
fn what_does_not_fit_together_is_a_problem() {
    let cases = [
        ("ttl: 10s", "].ttl"),
        ("shard: 1", "].shard"),
        ("payload: serverset, shard: x", "].shard"),
        (
            "auth: { scheme: GSSAPI, user: a, password: b }",
            "`gssapi` is not offered",
        ),
        ("payload: airbnb, exposeOnUnavailable: true", "].exposeOnUnavailable"),
        ("pathEncoding: true", "].pathEncoding"),
        ("naming: airbnb, payload: curator, pathEncoding: true", "].pathEncoding"),
        ("naming: serverset, payload: serverset", "].naming"),
        ("naming: airbnb, instanceId: a/b", "].instanceId"),
        ("nodeType: container", "].nodeType"),
        ("acl: all", "].acl"),
        ("acl: creatorAllWorldRead", "].acl"),
        ("auth: { user: a }", "].auth.password"),
        ("auth: { user: 'a:b', password: c }", "].auth.user"),
        ("tls: {}", "].tls"),
        ("tls: { ca: /x, insecureSkipVerify: true }", "].tls"),
        ("tls: { ca: /x, serverName: zk }", "].tls"),
        ("writeBudget: { writes: 1 }", "].writeBudget.writes"),
    ];
    for (keys, key) in cases {
        let problems = problems(&format!(
            "reporters: [{{ type: zookeeper, path: /a, hosts: [zk], {keys} }}]"
        ));
        assert!(problems.contains(key), "{keys}: {problems}");
    }
}

#[test]
fn services_that_would_keep_the_same_node_are_named() {
    let two = |first: &str, second: &str| {
        read(&format!(
            "services: [
                {{ name: a, host: 10.0.0.1, port: 80, reporters: [{{ type: zookeeper, {first} }}] }},
                {{ name: b, host: 10.0.0.1, port: 81, reporters: [{{ type: zookeeper, {second} }}] }}]"
        ))
        .map(drop)
    };
    let airbnb = "naming: airbnb, instanceId: host7";
    let first = format!("hosts: [zk1, zk2], path: /s, {airbnb}");
    for second in [
        first.clone(),
        format!("hosts: ['zk2:2181', 'zk1:2181'], path: /s/, {airbnb}, sessionTimeout: 30s"),
        format!("hosts: [zk1, zk2/s], path: /, {airbnb}"),
    ] {
        let output = two(&first, &second).expect_err("one node");
        for word in ["services `a` and `b`", "/host7_", "instanceId"] {
            assert!(output.contains(word), "{second}: {output}");
        }
    }
    for second in [
        format!("hosts: [zk1, zk2], path: /t, {airbnb}"),
        format!("hosts: [zk3], path: /s, {airbnb}"),
        format!("hosts: [zk1, zk2], path: /s, {airbnb}, nodeType: ephemeral_sequential"),
        "hosts: [zk1, zk2], path: /s, naming: airbnb, instanceId: host8".to_owned(),
        "hosts: [zk1, zk2], path: /s".to_owned(),
    ] {
        assert_eq!(two(&first, &second), Ok(()), "{second}");
    }
    let output = problems(&format!(
        "reporters: [{0}, {0}]",
        "{ type: zookeeper, hosts: [zk], path: /s }"
    ));
    assert!(output.contains("two reporters of service `127.0.0.1:80`"), "{output}");
}

#[test]
fn the_advertised_address_is_announced_and_not_checked() {
    let service = service("{ host: 127.0.0.1, port: 80, advertise: ['2001:db8::4', 10.0.0.4], labels: { az: b } }");
    assert_eq!(service.host, "2001:db8::4");
    assert_eq!(
        service.labels.get("otherAddresses").map(String::as_str),
        Some("10.0.0.4")
    );
    assert_eq!(service.checks[0].target(), "127.0.0.1:80");
    for bad in [
        "'env:NO_SUCH_VARIABLE_HERE'",
        "'interface:nosuch0'",
        "'cidr:10.0.0.0/99'",
    ] {
        let problems = problems(&format!("advertise: [{bad}]"));
        assert!(problems.contains("services[0].advertise"), "{bad}: {problems}");
    }
}

#[test]
fn a_loopback_address_is_warned_of_unless_it_is_meant() {
    let node = "reporters: [{ type: zookeeper, path: /s, hosts: [zk] }]";
    let warned = |keys: &str| warnings(&format!("services: [{{ port: 80, {keys} }}]")) == ["services[0].host"];
    assert!(warned(node));
    assert!(warned(&format!("advertise: ['cidr:127.0.0.0/8'], {node}")));
    assert!(!warned(&format!("announceLoopback: true, {node}")));
    assert!(!warned(&format!("advertise: [10.0.0.4], {node}")));
    assert!(!warned("reporters: [{ type: file }]"));
}
