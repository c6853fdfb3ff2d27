//! One server per address.
//!
//! The node of a killed process outlives it until its session ends, so the same address may be listed twice for a while.
//! The newer node is the one with a live owner.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::{Selection, Verdict};
use crate::watcher::Candidate;

/// Keeps the newest of those that have one address.
pub(crate) fn by_address(selection: &mut Selection<'_>) {
    let mut newest: BTreeMap<SocketAddr, &Candidate> = BTreeMap::new();
    for candidate in &selection.kept {
        let best = newest.entry(candidate.server.address).or_insert(candidate);
        if age(candidate) > age(best) {
            *best = candidate;
        }
    }
    selection.leave_out(|candidate| {
        let best = newest.get(&candidate.server.address)?;
        (best.server.node != candidate.server.node).then(|| Verdict::DuplicateOf(Arc::clone(&best.server.node)))
    });
}

/// Two nodes of one transaction differ in their names.
fn age(candidate: &Candidate) -> (i64, &str) {
    (candidate.czxid, &candidate.server.node)
}
