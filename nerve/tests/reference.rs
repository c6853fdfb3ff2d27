//! The tables of `nerve/REFERENCE.md` have every key that the code reads, with its default, and no other.

#![expect(clippy::expect_used, reason = "a helper that fails is a test that fails")]

#[path = "../../tests/reference_tables.rs"]
mod reference_tables;

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

/// The keys that the code reads.
fn known() -> KnownKeys {
    let document = Document::parse("everything.yaml", EVERYTHING.to_owned()).expect("it parses");
    let loaded = document.resolve(UnknownKeys::Refuse, nerve::config::resolve);
    loaded.expect("it is a good configuration").known_keys
}

#[test]
fn the_reference_has_the_keys_of_the_code() {
    let known = known();
    let documented = reference_tables::tables(include_str!("../REFERENCE.md"), &known);
    for (section, keys) in &known {
        assert_eq!(documented.get(section), Some(keys), "the keys of {section}");
    }
    assert_eq!(documented.keys().collect::<Vec<_>>(), known.keys().collect::<Vec<_>>());
}
