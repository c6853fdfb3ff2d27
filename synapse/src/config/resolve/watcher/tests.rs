use common::config::{Document, Problems, UnknownKeys};
use common::report::{Decoder, Method};
use common::zk::security::Scheme;

use super::*;
use crate::config::{Combine, Record, ZookeeperConfig, resolve};

fn read(watcher: &str) -> Result<WatcherConfig, Problems> {
    let text = format!("routers:\n  - type: console\n    services:\n      - name: s\n        watcher: {watcher}\n");
    let document = Document::parse("synapse.yaml", text).expect(watcher);
    let loaded = resolve(&document, UnknownKeys::Refuse, Path::new("/etc"))?;
    Ok(loaded.value.routers[0].services[0].watcher.clone())
}

fn watcher(text: &str) -> WatcherConfig {
    read(text).unwrap_or_else(|problems| panic!("{problems}"))
}

fn zookeeper(text: &str) -> ZookeeperConfig {
    match watcher(text) {
        WatcherConfig::Zookeeper(config) => *config,
        other => panic!("{other:?}"),
    }
}

#[test]
fn zookeeper_with_credentials_tls_and_one_decoder() {
    let text = "{type: zookeeper, hosts: ['zk:2281'], path: /s, auth: {scheme: sasl, user: web, password: 'env:P'}, \
                tls: {ca: /ca.pem}, decode: {method: ServerSet, endpointName: admin}}";
    let config = zookeeper(text);
    let auth = config.ensemble.security.auth.expect("it is read");
    assert_eq!((auth.scheme, auth.user.as_str()), (Scheme::Sasl, "web"));
    assert!(config.ensemble.security.tls.is_some());
    let expected = Decoder {
        method: Method::ServerSet,
        endpoint_name: Some("admin".to_owned()),
    };
    assert_eq!((config.decoder, config.polling), (expected, None));
}

#[test]
fn polling_is_every_minute_by_default() {
    let text = |keys: &str| format!("{{type: zookeeper_poll, hosts: [zk], path: /s{keys}}}");
    for (keys, milliseconds) in [
        ("", 60_000),
        (", pollingInterval: 5s", 5_000),
        (", pollingInterval: 1.5s", 1_500),
    ] {
        let polling = zookeeper(&text(keys)).polling;
        assert_eq!(polling, Some(Duration::from_millis(milliseconds)));
    }
    for wrong in ["bogus", "-1s"] {
        let problems = read(&text(&format!(", pollingInterval: {wrong}"))).expect_err(wrong);
        assert!(problems.to_string().contains("watcher.pollingInterval: "), "{problems}");
    }
}

#[test]
fn fixed_servers_are_called_by_their_address_unless_they_have_a_name() {
    let text = "{type: static, servers: [{host: '::1', port: 80}, {host: db, port: 5432, name: main, weight: 0, \
                labels: {az: b}, options: backup}]}";
    let WatcherConfig::Static(servers) = watcher(text) else {
        panic!("{text}");
    };
    assert_eq!((servers[0].name.as_str(), servers[0].weight), ("[::1]:80", None));
    assert_eq!((servers[1].name.as_str(), servers[1].weight), ("main", Some(0)));
    assert_eq!(servers[1].haproxy_server_options, "backup");
    assert_eq!(servers[1].labels["az"], "b");
}

#[test]
fn relative_files_start_from_where_the_daemon_does() {
    let WatcherConfig::File { path, check_interval } = watcher("{type: file, path: web.yaml}") else {
        panic!("another type");
    };
    assert_eq!(
        (path.as_path(), check_interval),
        (Path::new("/etc/web.yaml"), Duration::from_secs(1))
    );
}

#[test]
fn names_with_their_records_and_nameserver() {
    let text = "{type: dns, nameserver: '127.0.0.1:8600', servers: [{host: a, port: 80}, {host: b, port: 81, record: \
                AAAA}, {host: _c._tcp, record: srv, name: c}]}";
    let WatcherConfig::Dns(dns) = watcher(text) else {
        panic!("{text}");
    };
    let records: Vec<Record> = dns.questions.iter().map(|question| question.record).collect();
    assert_eq!(records, [Record::A(80), Record::Aaaa(81), Record::Srv]);
    assert_eq!(dns.nameserver, "127.0.0.1:8600".parse().ok());
    assert_eq!(dns.check_interval, Duration::from_secs(30));
    let WatcherConfig::Dns(dns) = watcher("{type: dns, nameserver: '::1', servers: [{host: a, port: 80}]}") else {
        panic!("another type");
    };
    assert_eq!(dns.nameserver, "[::1]:53".parse().ok());
}

#[test]
fn several_in_the_order_written() {
    let text = "{type: multi, method: sequential, watchers: [{name: us, type: file, path: /us}, {name: eu, type: multi, \
                method: union, watchers: [{name: a, type: static, servers: [{host: h, port: 1}]}]}]}";
    let WatcherConfig::Multi(multi) = watcher(text) else {
        panic!("{text}");
    };
    let names: Vec<(&str, &str)> = multi
        .watchers
        .iter()
        .map(|(name, watcher)| (name.as_str(), watcher.kind()))
        .collect();
    assert_eq!(names, [("us", "file"), ("eu", "multi")]);
    assert_eq!(
        (multi.method, multi.patience),
        (Combine::Sequential, Duration::from_secs(10))
    );
}

#[test]
fn invalid_sources_are_problems() {
    let problems = [
        "{type: s3_toggle}",
        "{type: zookeeper_poll, hosts: [zk], path: /s, decode: {method: plain, endpointName: admin}}",
        "{type: zookeeper, hosts: [zk], path: /s, pollingInterval: 5s}",
        "{type: zookeeper, hosts: [zk], path: /s, auth: {user: 'a:b'}, tls: {}}",
        "{type: static}",
        "{type: static, servers: [{host: 'a b', port: 1}, {host: a}, {host: a, port: 0}, {port: 1}]}",
        "{type: static, servers: [{host: a, port: 1}, {host: a, port: 1}]}",
        "{type: static, servers: [{host: a, port: 1, weight: 300}, {host: b, port: 1, name: \"x\\ny\"}]}",
        "{type: file}",
        "{type: dns, nameserver: dns.example, servers: [{host: a}]}",
        "{type: dns, servers: [{host: 10.0.0.1, record: srv, port: 1}]}",
        "{type: multi, watchers: []}",
        "{type: multi, method: s3_toggle, watchers: [{type: file, path: /a}]}",
        "{type: multi, method: union, watchers: [{name: a, type: file, path: /a}, {name: a, type: file, path: /b}]}",
        "{type: multi, method: union, watchers: [{name: a/b, type: file, path: /a}]}",
    ]
    .map(|text| format!("{text}\n{}", read(text).expect_err(text)));
    insta::assert_snapshot!(problems.join("\n\n"));
}

#[test]
fn only_a_path_can_stand_for_a_name() {
    let text = "routers: [{type: console, services: [{watcher: {type: file, path: /a}}]}]";
    let document = Document::parse("synapse.yaml", text.to_owned()).expect("it parses");
    let problems = resolve(&document, UnknownKeys::Refuse, Path::new("/")).expect_err("no name");
    assert!(problems.to_string().contains("name: is required"), "{problems}");
}
