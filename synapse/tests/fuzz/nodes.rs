//! The fuzz target `nodes`, whose seeds the unit tests replay.

#![allow(clippy::missing_panics_doc, reason = "a finding is a panic")]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use common::report::Decoder;
use common::zk::reflector::Child;

use super::Reason;
use super::interpret::{Decoded, Interpreted};

/// Checks bytes as the nodes of a service, alternately names and contents, each up to a NUL: each node is taken or skipped
/// independent of the others, and a taken one has an address that a server can have.
pub fn nodes(bytes: &[u8]) {
    let mut texts = bytes.split(|byte| *byte == 0);
    let mut children: BTreeMap<Arc<str>, Arc<Child>> = BTreeMap::new();
    while let (Some(name), Some(data), 0..16) = (texts.next(), texts.next(), children.len()) {
        let child = Child {
            data: Bytes::copy_from_slice(data),
            czxid: 1,
            mzxid: 1,
            ctime: 1,
        };
        children.insert(String::from_utf8_lossy(name).into(), Arc::new(child));
    }
    let together = interpret(&children);
    let mut alone = Interpreted::default();
    for (name, child) in &children {
        let one = interpret(&BTreeMap::from([(Arc::clone(name), Arc::clone(child))]));
        assert_eq!(one.candidates.len() + one.skipped.len(), 1);
        alone.candidates.extend(one.candidates);
        alone.skipped.extend(one.skipped);
    }
    assert_eq!(together, alone);
    for candidate in &together.candidates {
        let server = &candidate.server;
        let ip = server.address.ip();
        assert!(
            server.address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast(),
            "{server:?}"
        );
        assert!(server.weight.is_none_or(|weight| weight <= 256), "{server:?}");
        assert!(
            !server.name.is_empty() && !server.name.contains(char::is_control),
            "{server:?}"
        );
    }
}

/// Interprets the nodes; some names have valid addresses.
fn interpret(children: &BTreeMap<Arc<str>, Arc<Child>>) -> Interpreted {
    let mut nodes = Decoded::default();
    let decoder = Decoder::default();
    let bad = nodes.follow(children, &decoder);
    assert_eq!(nodes.follow(children, &decoder), 0, "only changed nodes are decoded");
    for name in nodes.names() {
        let safe = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
        assert!(name.bytes().all(safe) && name.len() <= 253, "{name}");
    }
    let interpreted = nodes.interpret(|name| match name.len() % 3 {
        0 => Err(Reason::Pending(name.to_owned())),
        1 => Ok(IpAddr::from([10, 0, 0, 1])),
        _ => Ok(IpAddr::from([0, 0, 0, 0])),
    });
    assert!(usize::try_from(bad).is_ok_and(|bad| bad <= interpreted.skipped.len()));
    interpreted
}

#[cfg(test)]
mod tests {
    use crate::seeds::seeds;

    #[test]
    fn the_seeds_of_the_fuzz_target_hold() {
        for seed in seeds("nodes") {
            super::nodes(&seed);
        }
    }
}
