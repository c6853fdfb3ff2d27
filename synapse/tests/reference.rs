//! The reference in README.md names exactly the keys that the code asks for, with their defaults.

use std::collections::BTreeMap;
use std::path::Path;

use common::config::{Document, KnownKeys, UnknownKeys};

/// One file that has every section, so that every key is asked for.
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
        panic: {then: fail-fast}
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
fn the_tables_are_the_keys_the_code_knows() {
    let document = Document::parse("everything.yaml", EVERYTHING.to_owned()).expect("it parses");
    let understood = synapse::config::understand(&document, UnknownKeys::Refuse, Path::new("/"));
    let known = understood.unwrap_or_else(|problems| panic!("{problems}")).known_keys;
    let written = tables(include_str!("../README.md"));
    let sections = |keys: &KnownKeys| keys.keys().cloned().collect::<Vec<_>>();
    assert_eq!(sections(&written), sections(&known));
    for (section, keys) in known {
        assert_eq!(written[&section], keys, "the table of `{section}`");
    }
}

/// The tables whose head begins with `| key | default |`, by the section named in backticks in the heading above.
fn tables(text: &str) -> KnownKeys {
    let mut tables = BTreeMap::new();
    let mut section = String::new();
    let mut in_table = false;
    for line in text.lines() {
        if line.starts_with('#') {
            line.split('`').nth(1).unwrap_or_default().clone_into(&mut section);
        }
        in_table = line.starts_with("| key | default |") || in_table && line.starts_with('|');
        let mut cells = line
            .split('|')
            .map(|cell| cell.trim().trim_matches('`').to_owned())
            .skip(1);
        if let (true, Some(key), Some(default)) = (in_table, cells.next(), cells.next())
            && !line.starts_with("| key | default |")
            && !key.starts_with("---")
        {
            let table: &mut BTreeMap<String, String> = tables.entry(section.clone()).or_default();
            assert_eq!(
                table.insert(key.clone(), default),
                None,
                "`{key}` stands twice in `{section}`"
            );
        }
    }
    tables
}
