//! Properties for any registrations and any rules.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use proptest::prelude::*;

use super::super::*;
use super::{candidate, decide, defaults, live, one, ruled, seed, service};
use crate::config::{Condition, LabelFilter, LocalZone, SelectionConfig, ServerSort, Weights, ZoneConfig, ZonePolicy};
use crate::health::Check;

pub(crate) fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
    let fields = (
        "[a-e]{1,2}",
        1_u16..6,
        0_i64..5,
        proptest::option::weighted(0.3, "[xy]?"),
        0_u16..3,
    );
    let all = proptest::collection::btree_map("[a-z]{1,3}", fields, 0..12);
    all.prop_map(|all| {
        let make =
            |(node, (name, port, czxid, unavailable, weight)): (String, (String, u16, i64, Option<String>, u16))| {
                let mut candidate = candidate(&node, port, czxid);
                candidate.server.name = name;
                candidate.server.weight = Some(weight);
                candidate.unavailable = unavailable;
                candidate
            };
        all.into_iter().map(make).collect()
    })
}

fn sorts() -> impl Strategy<Value = ServerSort> {
    prop_oneof![
        Just(ServerSort::Random),
        Just(ServerSort::Name),
        Just(ServerSort::NameDescending),
        Just(ServerSort::Date),
    ]
}

/// Any rules that one service can have alone.
fn rules() -> impl Strategy<Value = SelectionConfig> {
    let conditions = prop_oneof![
        Just(Condition::Exists),
        Just(Condition::NotExists),
        Just(Condition::In(BTreeSet::from(["a".to_owned()]))),
        Just(Condition::NotIn(BTreeSet::from(["a".to_owned()]))),
    ];
    let policies = prop_oneof![
        Just(ZonePolicy::Prefer),
        Just(ZonePolicy::Require),
        proptest::option::of(1_u8..=100).prop_map(|local_share| ZonePolicy::SpillOver { local_share }),
    ];
    let filters = proptest::option::weighted(0.3, conditions);
    let zone = proptest::option::weighted(0.7, policies);
    let subset = proptest::option::of(2_usize..6);
    let flags = proptest::array::uniform6(proptest::bool::weighted(0.3));
    (sorts(), filters, zone, subset, flags).prop_map(
        |(sort, filter, policy, subset_size, [leader, port, fall_back, keep, previous, equal])| {
            let label = || "zone".to_owned();
            SelectionConfig {
                label_filters: Vec::from_iter(filter.map(|condition| LabelFilter {
                    label: label(),
                    condition,
                })),
                leader_election: leader,
                port_override: std::num::NonZeroU16::new(if port { 9 } else { 0 }),
                default_servers: if fall_back {
                    defaults(&["10.0.0.1:1", "10.0.0.8:1"])
                } else {
                    Vec::new()
                },
                keep_default_servers: keep,
                use_previous_servers: previous,
                sort,
                correlation: None,
                zone: policy.map(|policy| ZoneConfig {
                    local: LocalZone::Known("a".to_owned()),
                    label: label(),
                    policy,
                }),
                subset_size,
                weights: if equal { Weights::Equal } else { Weights::Registered },
            }
        },
    )
}

/// Candidates in zones, some of them failing.
fn zoned_candidates() -> impl Strategy<Value = (Vec<Candidate>, Health)> {
    let zones = proptest::collection::vec((proptest::option::of("[ab]"), any::<bool>()), 12);
    (candidates(), zones).prop_map(|(mut all, zones)| {
        let mut health = Health::default();
        for (candidate, (zone, fails)) in all.iter_mut().zip(zones) {
            candidate
                .server
                .labels
                .extend(zone.map(|zone| ("zone".to_owned(), zone)));
            if fails {
                health.insert("a_1", candidate.server.address, Check::Failing);
            }
        }
        (all, health)
    })
}

proptest! {
    #[test]
    fn sorting_keeps_every_candidate_and_does_not_depend_on_their_order(all in candidates(), by in sorts()) {
        let mut forward: Vec<&Candidate> = all.iter().collect();
        let mut backward: Vec<&Candidate> = all.iter().rev().collect();
        sort::sort(&mut forward, by, seed());
        sort::sort(&mut backward, by, seed());
        let set = |list: &[&Candidate]| list.iter().map(|c| c.server.node.clone()).collect::<BTreeSet<_>>();
        prop_assert_eq!(set(&forward), all.iter().map(|c| c.server.node.clone()).collect());
        prop_assert_eq!(&forward, &backward);
    }

    #[test]
    fn a_server_that_goes_moves_no_other(all in candidates(), by in sorts(), gone: prop::sample::Index) {
        let order = |all: &[Candidate]| {
            let mut sorted: Vec<&Candidate> = all.iter().collect();
            sort::sort(&mut sorted, by, seed());
            sorted.into_iter().map(|c| c.server.node.to_string()).collect::<Vec<_>>()
        };
        prop_assume!(!all.is_empty());
        let mut fewer = all.clone();
        let gone = fewer.remove(gone.index(all.len())).server.node.to_string();
        let expected: Vec<String> = order(&all).into_iter().filter(|node| *node != gone).collect();
        prop_assert_eq!(order(&fewer), expected);
    }

    #[test]
    fn every_available_address_is_served_once_and_each_candidate_has_one_fate(all in candidates(), by in sorts()) {
        let result = one(by, all.clone());
        let servers = result.desired.services[0].servers.as_ref().expect("known");
        let served: BTreeSet<SocketAddr> = servers.iter().map(|server| server.address).collect();
        prop_assert_eq!(served.len(), servers.len());
        let available = all.iter().filter(|c| c.unavailable.is_none());
        prop_assert_eq!(served, available.map(|c| c.server.address).collect());
        prop_assert_eq!(servers.len() + result.services[0].left_out.len(), all.len());
        prop_assert!(servers.iter().all(|server| !result.services[0].left_out.contains_key(&server.node)));
    }

    #[test]
    fn correlation_takes_away_the_others_first_and_nothing_else(x in candidates(), y in candidates(), by in sorts()) {
        let alone = one(by, x.clone());
        let services = [service("x", by, Some("y")), service("y", by, None)];
        let both = decide(&services, &[live(x), live(y)], seed());
        let names = |outcome: &Outcome, nth: usize| {
            let servers = outcome.desired.services[nth].servers.as_ref().expect("known");
            servers.iter().map(|server| server.name.clone()).collect::<Vec<_>>()
        };
        let first = names(&both, 1).first().cloned();
        let expected: Vec<String> = names(&alone, 0).into_iter().filter(|name| Some(name) != first.as_ref()).collect();
        prop_assert_eq!(names(&both, 0), expected);
    }

    #[test]
    fn whatever_the_rules_each_candidate_has_one_fate(
        (all, health) in zoned_candidates(),
        (before, _) in zoned_candidates(),
        rules in rules(),
    ) {
        let service = [ruled(rules)];
        let previous = outcome(&service, &[live(before)], &health, &Outcome::default(), seed());
        let result = outcome(&service, &[live(all.clone())], &health, &previous, seed());
        let servers = result.desired.services[0].servers.as_ref().expect("known");
        let used: BTreeSet<&str> = servers.iter().map(|server| &*server.node).collect();
        let decided = &result.services[0];
        prop_assert_eq!(used.len(), servers.len());
        prop_assert_eq!(decided.used(), servers.len());
        for candidate in &all {
            let node = &*candidate.server.node;
            prop_assert!(used.contains(node) != decided.left_out.contains_key(node), "{}", node);
        }
        let registered: BTreeSet<&str> = all.iter().map(|candidate| &*candidate.server.node).collect();
        for added in &decided.added {
            prop_assert!(used.contains(&*added.node) && !registered.contains(&*added.node));
        }
        prop_assert!(decided.notes.keys().filter(|node| !used.contains(&***node)).count() == 0);
        prop_assert!(servers.iter().all(|server| server.weight.is_none_or(|weight| weight <= 256)));
    }

    #[test]
    fn whatever_the_rules_the_order_of_the_source_is_nothing(
        (all, health) in zoned_candidates(),
        rules in rules(),
    ) {
        let service = [ruled(rules)];
        let decide = |all: Vec<Candidate>| outcome(&service, &[live(all)], &health, &Outcome::default(), seed());
        let forward = decide(all.clone());
        let backward = decide(all.into_iter().rev().collect());
        prop_assert_eq!(&forward.desired, &backward.desired);
        prop_assert_eq!(&forward.services[0].left_out, &backward.services[0].left_out);
        prop_assert_eq!(&forward.services[0].notes, &backward.services[0].notes);
    }

    #[test]
    fn whatever_the_rules_unknown_is_not_empty(rules in rules()) {
        let result = decide(&[ruled(rules)], &[Arc::default()], seed());
        prop_assert_eq!(&result.desired.services[0].servers, &None);
        prop_assert_eq!(result.services[0].used(), 0);
    }

    #[test]
    fn the_same_again_changes_nothing((all, health) in zoned_candidates(), rules in rules()) {
        let service = [ruled(rules)];
        let states = [live(all)];
        let first = outcome(&service, &states, &health, &Outcome::default(), seed());
        let second = outcome(&service, &states, &health, &first, seed());
        prop_assert_eq!(first, second);
    }
}
