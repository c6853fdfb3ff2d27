//! The tables of `synapse/REFERENCE.md` have exactly the keys that the code reads, with their defaults.

#[path = "../../tests/reference_tables.rs"]
mod reference_tables;

use std::path::Path;

use common::config::{Document, KnownKeys, UnknownKeys};

/// One file that has every section, so that every key is read.
const EVERYTHING: &str = "
probes: {host: a}
routers:
  - type: haproxy
    configPath: /h.cfg
    services:
      - watcher: {type: zookeeper, hosts: [zk], path: /a}
        routerOptions: {}
        haproxy: {}
        guard: {}
        panicThreshold: {then: fail-fast}
        serverCorrelation: {otherServiceName: b}
        labelFilters: [{label: az, condition: exists}]
        defaultServers: [{host: 10.0.0.1, port: 80}]
        zone: {local: a}
      - name: b
        watcher:
          type: multi
          method: union
          watchers:
            - {name: a, type: zookeeper, hosts: [zk], path: /b, decode: {}, auth: {user: u, password: p}, tls: {ca: /ca}}
            - {name: b, type: zookeeper_poll, hosts: [zk], path: /b}
            - {name: c, type: static, servers: [{host: h, port: 1}]}
            - {name: d, type: file, path: /d}
            - {name: e, type: dns, servers: [{host: h, port: 1}]}
            - {name: f, type: multi, method: union, watchers: [{name: a, type: file, path: /d}]}
  - {type: console, applyBudget: {}}
  - type: template
    template: ''
    templateFile: /t
    destinationFile: /d
    postTemplateCommand: [/c]
  - type: file_output
    outputDirectory: /o
    services: [{watcher: {type: zookeeper, hosts: [zk], path: /a}, fileOutput: {}}]
";

#[test]
fn the_reference_has_the_keys_of_the_code() {
    let document = Document::parse("everything.yaml", EVERYTHING.to_owned()).expect("it parses");
    let loaded = synapse::config::resolve(&document, UnknownKeys::Refuse, Path::new("/"));
    let known = loaded.unwrap_or_else(|problems| panic!("{problems}")).known_keys;
    let written = reference_tables::tables(include_str!("../REFERENCE.md"), &known);
    let sections = |keys: &KnownKeys| keys.keys().cloned().collect::<Vec<_>>();
    assert_eq!(sections(&written), sections(&known));
    for (section, keys) in known {
        assert_eq!(written[&section], keys, "the table of `{section}`");
    }
}
