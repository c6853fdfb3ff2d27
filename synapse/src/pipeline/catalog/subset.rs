//! `subsetSize`: each host uses some of the servers of a large service. Pure.
//!
//! Rendezvous hashing: every host ranks the addresses in an order of its own and takes the first. So all servers have
//! about equally many hosts; when one leaves, the next in each host's order takes its place and nothing else moves; and
//! a process that comes back at its address comes back to the same hosts.
//!
//! Draining (weight 0) and failing servers do not count towards `subsetSize`: each is kept and the next-ranked server is
//! added, up to twice the size. If all of them fail, the fault is probably local, so the subset stops growing.
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
pub(crate) fn choose(selection: &mut Selection<'_>, service: &ServiceConfig, health: &Health, seed: Seed) {
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
pub(crate) fn of<'c>(
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

/// The first `places` of them that serve, and those that are ranked between them.
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

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use proptest::prelude::*;

    use super::super::tests::{candidate, service};
    use super::*;
    use crate::config::{LocalZone, ServerSort, ZoneConfig};

    fn servers(addresses: impl Iterator<Item = SocketAddr>) -> Vec<Candidate> {
        let server = |address: SocketAddr| {
            let mut candidate = candidate(&address.to_string(), 1, 1);
            candidate.server.address = address;
            candidate
        };
        addresses.map(server).collect()
    }

    fn large() -> Vec<Candidate> {
        servers((0..100).map(|n| SocketAddr::from(([10, 0, n / 10, n], 8080))))
    }

    fn sized(size: usize) -> ServiceConfig {
        let mut service = service("web", ServerSort::Name, None);
        service.selection.subset_size = Some(size);
        service
    }

    fn chosen(all: &[Candidate], service: &ServiceConfig, health: &Health, host: &str) -> BTreeSet<SocketAddr> {
        let chosen = of(&Selection::of(all), service, health, Seed::of(host));
        chosen.into_iter().map(|chosen| chosen.server.address).collect()
    }

    /// Each of 200 hosts takes 20 of 100 servers: a server has 40 hosts on average, with a deviation of
    /// √(200 × 0.2 × 0.8) = 5.7 if each host draws without regard to the others.
    #[test]
    fn hosts_spread_evenly_over_servers() {
        let by_address = large();
        let by_port = servers((0..100).map(|n| SocketAddr::from(([10, 0, 0, 1], 31000 + n))));
        let in_ipv6 = servers((0..100).map(|n| SocketAddr::from(([0xfd00, 0, 0, 0, 0, 0, 0, n], 80))));
        let named = |n: u32| format!("host-{n}.example");
        let hashed = |n: u32| format!("{:032x}pod-{n}", u128::from(n) << 64);
        for all in [by_address, by_port, in_ipv6] {
            for host in [named as fn(u32) -> String, hashed] {
                let mut hosts = std::collections::BTreeMap::new();
                for number in 0..200 {
                    for address in chosen(&all, &sized(20), &Health::default(), &host(number)) {
                        *hosts.entry(address).or_insert(0_i32) += 1;
                    }
                }
                assert_eq!(hosts.len(), 100);
                let deviations = hosts.values().map(|hosts| (hosts - 40).pow(2));
                let (most, sum) = (deviations.clone().max(), deviations.sum::<i32>());
                assert!(most <= Some(25 * 25), "within 4.5 deviations: {most:?}");
                // 100 × 5.7² is expected; twice that is far beyond chance.
                assert!(sum < 2 * 3200, "{sum}");
            }
        }
    }

    #[test]
    fn a_small_service_is_used_whole() {
        let all = large();
        assert_eq!(chosen(&all[..20], &sized(20), &Health::default(), "h").len(), 20);
        assert_eq!(chosen(&all[..5], &sized(20), &Health::default(), "h").len(), 5);
        let mut unsized_service = sized(2);
        unsized_service.selection.subset_size = None;
        assert_eq!(chosen(&all, &unsized_service, &Health::default(), "h").len(), 100);
    }

    #[test]
    fn a_process_that_comes_back_comes_back_to_the_same_hosts() {
        let before = large();
        let mut after = large();
        for candidate in &mut after {
            candidate.server.node = Arc::from(format!("new-{}", candidate.server.node));
        }
        let chosen = |all: &[Candidate]| chosen(all, &sized(20), &Health::default(), "h");
        assert_eq!(chosen(&before), chosen(&after));
    }

    #[test]
    fn a_server_that_does_not_serve_takes_no_place() {
        let mut all = large();
        let service = sized(10);
        let first = chosen(&all, &service, &Health::default(), "h");
        let mut health = Health::default();
        let mut addresses = first.iter();
        health.insert("web_1", *addresses.next().expect("one"), Check::Failing);
        let drains = *addresses.next().expect("another");
        for candidate in &mut all {
            if candidate.server.address == drains {
                candidate.server.weight = Some(0);
            }
        }
        let now = chosen(&all, &service, &health, "h");
        assert!(first.is_subset(&now));
        assert_eq!(now.len(), 12);
        for candidate in &all {
            health.insert("web_1", candidate.server.address, Check::Failing);
        }
        assert_eq!(chosen(&all, &service, &health, "h").len(), 20, "at most twice as many");
    }

    proptest! {
        #[test]
        fn one_that_leaves_is_replaced_by_one(
            zones in proptest::collection::vec(0_u8..3, 60),
            gone in 0_usize..60,
            size in 2_usize..30,
            zoned in any::<bool>(),
            host in "[a-z]{1,8}",
        ) {
            let mut service = sized(size);
            if zoned {
                service.selection.zone = Some(ZoneConfig {
                    local: LocalZone::Known("0".to_owned()),
                    label: "zone".to_owned(),
                    policy: ZonePolicy::Prefer,
                });
            }
            let mut all = large();
            all.truncate(zones.len());
            for (candidate, zone) in all.iter_mut().zip(zones) {
                candidate.server.labels.insert("zone".to_owned(), zone.to_string());
            }
            let before = chosen(&all, &service, &Health::default(), &host);
            let gone = all.remove(gone).server.address;
            let after = chosen(&all, &service, &Health::default(), &host);
            prop_assert_eq!((before.len(), after.len()), (size, size));
            let left: Vec<_> = before.difference(&after).copied().collect();
            let expected = if before.contains(&gone) { vec![gone] } else { Vec::new() };
            prop_assert_eq!(left, expected);
        }
    }
}
