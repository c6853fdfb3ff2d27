//! `serverSort`, and the ranks that this host gives to servers. Pure.

use std::net::{IpAddr, SocketAddr};

use common::hash::Fnv1a;

use crate::config::ServerSort;
use crate::watcher::Candidate;

/// What makes the random order this host's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seed(u64);

impl Seed {
    /// A seed from what names the host.
    pub fn of(host: &str) -> Self {
        Self(hash(0, host.as_bytes()))
    }

    /// A number for an address that no other host gives it: rendezvous hashing takes those with the lowest.
    pub(crate) fn rank(self, address: SocketAddr) -> u64 {
        let port = hash(self.0, &address.port().to_be_bytes());
        match address.ip() {
            IpAddr::V4(ip) => hash(port, &ip.octets()),
            IpAddr::V6(ip) => hash(port, &ip.octets()),
        }
    }
}

/// Sorts. Every order is total, so equal sets give equal lists; the random one is a rank by hash, so a server that
/// comes or goes moves no other. `Registry` is the order that the source gives them.
pub(crate) fn sort(candidates: &mut [&Candidate], by: ServerSort, Seed(seed): Seed) {
    match by {
        ServerSort::Random => {
            candidates.sort_by_cached_key(|c| (hash(seed, c.server.node.as_bytes()), c.server.node.clone()));
        }
        ServerSort::Name => candidates.sort_by(|a, b| by_name(a).cmp(&by_name(b))),
        ServerSort::NameDescending => candidates.sort_by(|a, b| by_name(b).cmp(&by_name(a))),
        ServerSort::Date => candidates.sort_by(|a, b| {
            let key = |c: &Candidate| (c.server.created, c.czxid);
            key(a).cmp(&key(b)).then_with(|| a.server.node.cmp(&b.server.node))
        }),
        ServerSort::Registry => {}
    }
}

fn by_name(candidate: &Candidate) -> (&str, SocketAddr, i64, &str) {
    let server = &candidate.server;
    (&server.name, server.address, candidate.czxid, &server.node)
}

/// FNV-1a with a final mix.
fn hash(seed: u64, bytes: &[u8]) -> u64 {
    let fnv = Fnv1a::with_seed(seed).with(bytes).value();
    let mixed = (fnv ^ (fnv >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    mixed ^ (mixed >> 32)
}
