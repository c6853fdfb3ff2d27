//! `subsetSize`: each host uses some of the servers of a large service. Pure.
//!
//! Rendezvous hashing: every host ranks the addresses in an order of its own and takes the first. So all servers have
//! about equally many hosts; when one leaves, the next in each host's order takes its place and nothing else moves; and
//! a process that comes back at its address comes back to the same hosts.
//!
//! What gives no service takes no place: one that drains (a weight of 0), or that fails its check, stays where it is and
//! another joins, though at most as many again: if all fail, it is hardly they who are at fault.
//!
//! In a zone, local servers come first, but a quarter of the places is for others, so that there are some to turn to.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Seed, Selection, Verdict, zone};
use crate::config::{ServiceConfig, ZonePolicy};
use crate::health::{Check, Health};
use crate::watcher::Candidate;

/// Of so many places, one is for servers of other zones.
const PLACES_FOR_ONE_REMOTE: usize = 4;

/// Leaves out those that this host does not use.
pub(super) fn choose(selection: &mut Selection<'_>, service: &ServiceConfig, health: &Health, seed: Seed) {
    let Some(size) = service.selection.subset_size else {
        return;
    };
    let chosen = of(selection, service, health, seed);
    let chosen: BTreeSet<Arc<str>> = chosen.iter().map(|chosen| Arc::clone(&chosen.server.node)).collect();
    let verdict = |candidate: &Candidate| {
        let is_chosen = chosen.contains(&candidate.server.node);
        (!is_chosen).then_some(Verdict::NotInSubset(size))
    };
    selection.leave_out(verdict);
}

/// Those that this host uses, in the order of `selection`.
pub(super) fn of<'c>(
    selection: &Selection<'c>,
    service: &ServiceConfig,
    health: &Health,
    seed: Seed,
) -> Vec<&'c Candidate> {
    let Some(size) = service.selection.subset_size else {
        return selection.kept.clone();
    };
    let mut ranked: Vec<&Candidate> = selection.kept.clone();
    ranked.retain(|candidate| !selection.is_default(candidate));
    ranked.sort_by_cached_key(|candidate| (seed.rank(candidate.server.address), candidate.server.address));
    let serves = |candidate: &Candidate| {
        candidate.server.weight != Some(0) && health.of(&service.id, candidate.server.address) != Some(Check::Failing)
    };
    let rule = service.selection.zone.as_ref();
    let rule = rule.filter(|zone| zone.policy != ZonePolicy::Require && zone.known().is_some());
    let mut chosen: Vec<&Candidate> = Vec::new();
    if let Some(rule) = rule {
        let (local, remote): (Vec<&Candidate>, Vec<&Candidate>) =
            ranked.iter().partition(|candidate| zone::is_local(rule, candidate));
        let others = size
            .saturating_sub(local.len())
            .max(size.div_ceil(PLACES_FOR_ONE_REMOTE))
            .min(remote.len());
        chosen.extend(first(&local, size.saturating_sub(others), serves));
        chosen.extend(first(&remote, others, serves));
    } else {
        chosen.extend(first(&ranked, size, serves));
    }
    let chosen: BTreeSet<&str> = chosen.iter().map(|chosen| &*chosen.server.node).collect();
    let mut used = selection.kept.clone();
    used.retain(|candidate| selection.is_default(candidate) || chosen.contains(&*candidate.server.node));
    used
}

/// The first `places` of them that serve, and whoever stands between them.
fn first<'r, 'c>(
    ranked: &'r [&'c Candidate],
    places: usize,
    serves: impl Fn(&Candidate) -> bool,
) -> &'r [&'c Candidate] {
    let mut free = places;
    let mut taken = 0;
    for candidate in ranked.iter().take(places.saturating_mul(2)) {
        if free == 0 {
            break;
        }
        free -= usize::from(serves(candidate));
        taken += 1;
    }
    ranked.get(..taken).unwrap_or_default()
}
