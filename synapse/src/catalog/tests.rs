use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;
use crate::config::{
    Condition, Correlation, DefaultServer, LabelFilter, LocalZone, Pattern, Scope, SelectionConfig, ServerSort,
    WatcherConfig, Weights, ZoneConfig, ZonePolicy,
};
use crate::desired::Server;
use crate::health::Check;

pub(super) fn seed() -> Seed {
    Seed::of("host-a")
}

pub(super) fn service(name: &str, sort: ServerSort, other: Option<&str>) -> ServiceConfig {
    ServiceConfig {
        id: format!("{name}_1"),
        name: name.to_owned(),
        watcher: WatcherConfig::Static(Vec::new()),
        selection: SelectionConfig {
            sort,
            correlation: other.map(|other| Correlation {
                other_service: other.to_owned(),
                scope: Scope::First,
            }),
            ..SelectionConfig::default()
        },
        server_options: String::new(),
        frontend: Vec::new(),
        backend: Vec::new(),
        haproxy: crate::config::ServiceHaproxy::default(),
        guard: crate::config::Guard::default(),
    }
}

pub(super) fn candidate(node: &str, port: u16, czxid: i64) -> Candidate {
    Candidate {
        server: Server {
            node: Arc::from(node),
            name: node.to_owned(),
            address: SocketAddr::from(([10, 0, 0, 1], port)),
            weight: Some(1),
            options: String::new(),
            labels: BTreeMap::new(),
            created: czxid,
            backup: false,
        },
        czxid,
        unavailable: None,
    }
}

pub(super) fn defaults(addresses: &[&str]) -> Vec<DefaultServer> {
    let default = |address: &&str| DefaultServer {
        name: format!("default-{address}"),
        address: address.parse().expect("an address"),
        weight: None,
    };
    addresses.iter().map(default).collect()
}

pub(super) fn live(candidates: Vec<Candidate>) -> Arc<WatcherState> {
    Arc::new(WatcherState {
        freshness: Freshness::Live,
        candidates,
        ..WatcherState::default()
    })
}

pub(super) fn nodes(outcome: &Outcome, service: usize) -> Vec<String> {
    let servers = outcome.desired.services[service]
        .servers
        .as_ref()
        .expect("the service is known");
    servers.iter().map(|server| server.node.to_string()).collect()
}

/// What is decided first, with nobody's health known.
pub(super) fn decide(services: &[ServiceConfig], states: &[Arc<WatcherState>], seed: Seed) -> Outcome {
    outcome(services, states, &Health::default(), &Outcome::default(), seed)
}

fn one(sort: ServerSort, candidates: Vec<Candidate>) -> Outcome {
    decide(&[service("a", sort, None)], &[live(candidates)], seed())
}

#[test]
fn unknown_is_not_empty() {
    let services = [
        service("a", ServerSort::Name, None),
        service("b", ServerSort::Name, None),
    ];
    let result = decide(&services, &[Arc::default(), live(Vec::new())], seed());
    assert_eq!(result.desired.services[0].servers, None);
    assert_eq!(result.desired.services[1].servers, Some(Vec::new()));
    assert!(!result.desired.is_complete());
}

#[test]
fn the_unavailable_are_left_out_and_the_weightless_stay() {
    let mut down = candidate("a", 1, 1);
    down.unavailable = Some("disabled".to_owned());
    let mut draining = candidate("b", 2, 2);
    draining.server.weight = Some(0);
    let result = one(ServerSort::Name, vec![down, draining]);
    assert_eq!(nodes(&result, 0), ["b"]);
    assert_eq!(result.services[0].left_out["a"].to_string(), "not available: disabled");
    assert_eq!(result.services[0].used(), 1);
}

#[test]
fn of_one_address_the_newest_node_is_kept() {
    let result = one(
        ServerSort::Name,
        vec![
            candidate("a", 1, 5),
            candidate("b", 1, 9),
            candidate("c", 1, 7),
            candidate("d", 2, 1),
        ],
    );
    assert_eq!(nodes(&result, 0), ["b", "d"]);
    assert_eq!(
        result.services[0].left_out["a"].to_string(),
        "duplicate of b, which is newer"
    );
    assert_eq!(result.services[0].left_out.len(), 2);
}

#[test]
fn an_unavailable_twin_takes_nothing_from_an_available_one() {
    let mut twin = candidate("b", 1, 9);
    twin.unavailable = Some(String::new());
    let result = one(ServerSort::Name, vec![candidate("a", 1, 5), twin]);
    assert_eq!(nodes(&result, 0), ["a"]);
}

#[test]
fn sorted_by_name_and_by_date() {
    let all = vec![candidate("b", 1, 1), candidate("c", 2, 3), candidate("a", 3, 2)];
    assert_eq!(nodes(&one(ServerSort::Name, all.clone()), 0), ["a", "b", "c"]);
    assert_eq!(nodes(&one(ServerSort::Date, all), 0), ["b", "a", "c"]);
}

#[test]
fn hosts_have_different_random_orders_that_never_change() {
    let all: Vec<Candidate> = (1..=5).map(|n| candidate(&format!("n{n}"), n, 1)).collect();
    let order = |host| {
        let services = [service("a", ServerSort::Random, None)];
        nodes(&decide(&services, &[live(all.clone())], Seed::of(host)), 0)
    };
    assert_eq!(
        order("host-a"),
        ["n5", "n2", "n4", "n3", "n1"],
        "the order must survive a new release"
    );
    assert_ne!(order("host-a"), order("host-b"));
}

/// Go-Synapse only found the other service when both changed in one batch.
#[test]
fn the_first_of_another_service_is_left_out_whoever_changed_last() {
    let services = [
        service("readers", ServerSort::Name, Some("writers")),
        service("writers", ServerSort::Date, None),
    ];
    let readers = live(vec![candidate("a", 1, 1), candidate("b", 2, 2), candidate("c", 3, 3)]);
    let before = live(vec![candidate("b", 12, 1), candidate("a", 11, 2)]);
    let after = live(vec![candidate("a", 11, 2)]);
    let result = decide(&services, &[Arc::clone(&readers), before], seed());
    assert_eq!(nodes(&result, 0), ["a", "c"]);
    assert_eq!(
        result.services[0].left_out["b"].to_string(),
        "excluded by serverCorrelation: writers has it first"
    );
    assert_eq!(
        nodes(&decide(&services, &[Arc::clone(&readers), after], seed()), 0),
        ["b", "c"]
    );
    assert_eq!(
        nodes(&decide(&services, &[readers, live(Vec::new())], seed()), 0),
        ["a", "b", "c"]
    );
}

#[test]
fn two_services_may_exclude_each_others_first() {
    let services = [
        service("x", ServerSort::Name, Some("y")),
        service("y", ServerSort::Date, Some("x")),
    ];
    let x = live(vec![candidate("a", 1, 1), candidate("b", 2, 2)]);
    let y = live(vec![candidate("a", 11, 9), candidate("b", 12, 3)]);
    let result = decide(&services, &[x, y], seed());
    assert_eq!(
        (nodes(&result, 0), nodes(&result, 1)),
        (vec!["a".to_owned()], vec!["b".to_owned()])
    );
}

#[test]
fn who_depends_on_an_unknown_service_is_unknown() {
    let services = [
        service("x", ServerSort::Name, Some("y")),
        service("y", ServerSort::Name, None),
    ];
    let result = decide(&services, &[live(vec![candidate("a", 1, 1)]), Arc::default()], seed());
    assert_eq!(result.desired.services[0].servers, None);
}

/// One service of these rules.
fn ruled(rules: SelectionConfig) -> ServiceConfig {
    ServiceConfig {
        selection: rules,
        ..service("a", ServerSort::Name, None)
    }
}

fn labelled(node: &str, port: u16, label: &str, value: &str) -> Candidate {
    let mut candidate = candidate(node, port, 1);
    candidate.server.labels.insert(label.to_owned(), value.to_owned());
    candidate
}

#[test]
fn all_label_filters_have_to_hold() {
    let filter = |label: &str, condition| LabelFilter {
        label: label.to_owned(),
        condition,
    };
    let rules = SelectionConfig {
        label_filters: vec![
            filter("az", Condition::Matches(Pattern::parse("eu-.*").expect("a pattern"))),
            filter("canary", Condition::NotExists),
        ],
        sort: ServerSort::Name,
        ..SelectionConfig::default()
    };
    let mut canary = labelled("c", 3, "az", "eu-1");
    canary.server.labels.insert("canary".to_owned(), "yes".to_owned());
    let all = vec![
        labelled("a", 1, "az", "eu-1"),
        labelled("b", 2, "az", "us-1"),
        canary,
        candidate("d", 4, 1),
    ];
    let result = decide(&[ruled(rules)], &[live(all)], seed());
    assert_eq!(nodes(&result, 0), ["a"]);
    let verdicts = result.services[0].left_out.values().map(ToString::to_string);
    assert_eq!(
        verdicts.collect::<Vec<_>>(),
        [
            "labelFilters: az is us-1, and `matches `eu-.*`` is asked for",
            "labelFilters: canary is yes, and `not-exists` is asked for",
            "labelFilters: az is (unknown), and `matches `eu-.*`` is asked for",
        ]
    );
}

#[test]
fn only_the_lowest_sequence_number_leads() {
    let rules = || SelectionConfig {
        leader_election: true,
        ..SelectionConfig::default()
    };
    let with = |nodes_and_ports: &[(&str, u16)]| {
        let all = nodes_and_ports.iter().map(|(node, port)| candidate(node, *port, 1));
        decide(&[ruled(rules())], &[live(all.collect())], seed())
    };
    let result = with(&[("i_7", 1), ("i_3", 2)]);
    assert_eq!(nodes(&result, 0), ["i_3"]);
    assert_eq!(
        result.services[0].left_out["i_7"].to_string(),
        "leaderElection: the leader is i_3"
    );
    let result = with(&[("i_7", 1), ("i_3", 2), ("plain", 3)]);
    assert_eq!(nodes(&result, 0), [""; 0]);
    assert_eq!(
        result.services[0].left_out["i_3"].to_string(),
        "leaderElection: there is no leader while plain has no sequence number"
    );
    assert_eq!(nodes(&with(&[]), 0), [""; 0]);
}

/// The node of a process that was killed has the lower number until its session ends.
#[test]
fn a_ghost_does_not_lead() {
    let rules = SelectionConfig {
        leader_election: true,
        ..SelectionConfig::default()
    };
    let all = vec![candidate("i_1", 1, 1), candidate("i_9", 1, 9), candidate("i_5", 2, 5)];
    assert_eq!(nodes(&decide(&[ruled(rules)], &[live(all)], seed()), 0), ["i_5"]);
}

#[test]
fn the_port_is_overridden_before_addresses_are_compared() {
    let rules = SelectionConfig {
        port_override: std::num::NonZeroU16::new(99),
        default_servers: defaults(&["10.0.0.2:1", "10.0.0.1:5"]),
        keep_default_servers: true,
        sort: ServerSort::Registry,
        ..SelectionConfig::default()
    };
    let all = vec![candidate("a", 1, 1), candidate("b", 2, 2)];
    let result = decide(&[ruled(rules)], &[live(all)], seed());
    assert_eq!(nodes(&result, 0), ["b", "defaultServers/10.0.0.2:1"]);
    let servers = result.desired.services[0].servers.as_ref().expect("known");
    assert!(servers.iter().all(|server| server.address.port() == 99));
    assert!(result.services[0].left_out.contains_key("a"));
    assert_eq!(result.services[0].used(), 2);
}

#[test]
fn default_servers_stand_in_when_nobody_is_left() {
    let rules = |keep| SelectionConfig {
        default_servers: defaults(&["10.0.0.9:9"]),
        keep_default_servers: keep,
        ..SelectionConfig::default()
    };
    let with = |keep, state| decide(&[ruled(rules(keep))], &[state], seed());
    let mut down = candidate("a", 1, 1);
    down.unavailable = Some(String::new());
    for nobody in [vec![], vec![down]] {
        let result = with(false, live(nobody));
        assert_eq!(nodes(&result, 0), ["defaultServers/10.0.0.9:9"]);
        assert_eq!((result.services[0].used(), result.services[0].added.len()), (1, 1));
    }
    assert_eq!(nodes(&with(false, live(vec![candidate("a", 1, 1)])), 0), ["a"]);
    assert_eq!(nodes(&with(true, live(vec![candidate("a", 1, 1)])), 0).len(), 2);
    let unknown = with(true, Arc::default());
    assert_eq!(unknown.desired.services[0].servers, None, "unknown is not empty");
    assert_eq!(unknown.services[0].used(), 0);
}

#[test]
fn those_before_stay_when_nothing_is_left_and_it_is_asked_for() {
    let decide = |keep, previous: &Outcome, all: Vec<Candidate>| {
        let rules = SelectionConfig {
            use_previous_servers: keep,
            ..SelectionConfig::default()
        };
        outcome(&[ruled(rules)], &[live(all)], &Health::default(), previous, seed())
    };
    let both = || vec![candidate("a", 1, 1), candidate("b", 2, 2)];
    let first = decide(true, &Outcome::default(), both());
    let mut down = candidate("b", 2, 2);
    down.unavailable = Some(String::new());
    let second = decide(true, &first, vec![down]);
    let third = decide(true, &second, Vec::new());
    assert_eq!(first.desired, second.desired);
    assert_eq!(first.desired, third.desired);
    assert!(second.services[0].left_out.is_empty());
    assert_eq!((second.services[0].used(), second.services[0].added.len()), (2, 1));
    assert_eq!(third.services[0].added.len(), 2);
    assert_eq!(third.services[0].notes["a"], [Note::Previous]);
    assert_eq!(nodes(&decide(true, &third, vec![candidate("c", 3, 3)]), 0), ["c"]);

    let first = decide(false, &Outcome::default(), both());
    assert_eq!(nodes(&decide(false, &first, Vec::new()), 0), [""; 0]);
}

#[test]
fn all_that_another_service_uses_can_be_left_out() {
    let mut readers = service("readers", ServerSort::Name, Some("writers"));
    readers.selection.correlation.as_mut().expect("one").scope = Scope::All;
    let writers = service("writers", ServerSort::Name, None);
    let read = live(vec![candidate("a", 1, 1), candidate("b", 2, 2), candidate("c", 3, 3)]);
    let write = live(vec![candidate("a", 11, 1), candidate("c", 12, 2)]);
    let result = decide(
        &[readers.clone(), writers.clone()],
        &[Arc::clone(&read), Arc::clone(&write)],
        seed(),
    );
    assert_eq!(nodes(&result, 0), ["b"]);
    assert_eq!(
        result.services[0].left_out["c"].to_string(),
        "excluded by serverCorrelation: writers uses it"
    );
    let turned = decide(&[writers, readers], &[write, read], seed());
    assert_eq!(nodes(&turned, 1), ["b"]);
}

/// What counts is what the other uses, not what it could use.
#[test]
fn what_another_services_subset_leaves_out_is_free() {
    let mut readers = service("readers", ServerSort::Name, Some("writers"));
    readers.selection.correlation.as_mut().expect("one").scope = Scope::All;
    let mut writers = service("writers", ServerSort::Name, None);
    writers.selection.subset_size = Some(2);
    let all = || live((1..=6).map(|n| candidate(&format!("n{n}"), n, 1)).collect());
    let result = decide(&[readers, writers], &[all(), all()], seed());
    let (readers, writers) = (nodes(&result, 0), nodes(&result, 1));
    assert_eq!((readers.len(), writers.len()), (4, 2));
    assert!(writers.iter().all(|writer| !readers.contains(writer)));
}

#[test]
fn sorted_by_name_backwards_and_as_listed() {
    let all = vec![candidate("b", 1, 1), candidate("c", 2, 3), candidate("a", 3, 2)];
    assert_eq!(nodes(&one(ServerSort::NameDescending, all.clone()), 0), ["c", "b", "a"]);
    assert_eq!(nodes(&one(ServerSort::Registry, all), 0), ["b", "c", "a"]);
}

pub(super) fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
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
            let servers = outcome.desired.services[nth].servers.clone().expect("known");
            servers.into_iter().map(|server| server.name).collect::<Vec<_>>()
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
