//! The reference in `nerve/README.md` names every key that the code knows, with its default, and no other.

#![expect(clippy::expect_used, reason = "a helper that fails is a test that fails")]

use std::collections::BTreeMap;

use common::config::{Document, KnownKeys, UnknownKeys};

/// One of every kind of section.
const EVERYTHING: &str = "
hooks: { host: 10.0.0.4 }
probes: { host: a }
services:
  - port: 80
    checks:
      - { type: amqp }
      - { type: exec, command: [true] }
      - { type: file, path: /x }
      - { type: grpc, tls: {} }
      - { type: http }
      - { type: https }
      - { type: kubernetes, podName: shop-0 }
      - { type: memcached }
      - { type: noop }
      - { type: proxyhttp, urls: [example.org] }
      - { type: push }
      - { type: redis }
      - { type: sql }
      - { type: tcp }
      - { type: zookeeper }
    reporters: [{ type: zookeeper, path: /x, hosts: [zk], auth: { user: a, password: b }, tls: { ca: c }, writeBudget: {} }, { type: file }, { type: console }]
";

/// The keys the code asks for.
fn known() -> KnownKeys {
    let document = Document::parse("everything.yaml", EVERYTHING.to_owned()).expect("it parses");
    let understood = document.understand(UnknownKeys::Refuse, nerve::config::resolve);
    understood.expect("it is a good configuration").known_keys
}

/// The tables under `### Keys of NAME`: rows of `` | `key` | default | meaning | ``.
fn documented() -> KnownKeys {
    let mut sections = KnownKeys::new();
    let mut name = None;
    for line in include_str!("../README.md").lines() {
        if line.starts_with('#') {
            name = line.strip_prefix("### Keys of ").map(str::to_owned);
        }
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let (Some(name), ["", key, default, meaning, ..]) = (&name, cells.as_slice()) else {
            continue;
        };
        let Some(key) = key.strip_prefix('`').and_then(|key| key.strip_suffix('`')) else {
            continue;
        };
        assert!(!meaning.is_empty(), "`{key}` of {name} has no meaning");
        let section: &mut BTreeMap<_, _> = sections.entry(name.clone()).or_default();
        let repeated = section.insert(key.to_owned(), default.trim_matches('`').to_owned());
        assert_eq!(repeated, None, "`{key}` of {name} is there twice");
    }
    sections
}

#[test]
fn the_reference_is_the_code() {
    let (known, documented) = (known(), documented());
    for (section, keys) in &known {
        assert_eq!(documented.get(section), Some(keys), "the keys of {section}");
    }
    assert_eq!(documented.keys().collect::<Vec<_>>(), known.keys().collect::<Vec<_>>());
}
