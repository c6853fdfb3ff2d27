use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use common::zk::session::EnsembleConfig;
use proptest::prelude::*;

use super::*;
use crate::config::{Correlation, ServerSort, WatcherConfig};
use crate::desired::Server;

fn seed() -> Seed {
    Seed::of("host-a")
}

fn service(name: &str, sort: ServerSort, other: Option<&str>) -> ServiceConfig {
    ServiceConfig {
        id: format!("{name}_1"),
        name: name.to_owned(),
        watcher: WatcherConfig::Zookeeper {
            ensemble: EnsembleConfig {
                hosts: vec!["zk".to_owned()],
                session_timeout: Duration::from_secs(10),
                security: common::zk::security::Security::default(),
            },
            path: format!("/{name}"),
        },
        sort,
        correlation: other.map(|other| Correlation {
            other_service: other.to_owned(),
        }),
        server_options: String::new(),
        frontend: Vec::new(),
        backend: Vec::new(),
        guard: crate::config::Guard::default(),
    }
}

fn candidate(node: &str, port: u16, czxid: i64) -> Candidate {
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

fn live(candidates: Vec<Candidate>) -> Arc<WatcherState> {
    Arc::new(WatcherState {
        freshness: Freshness::Live,
        candidates,
        ..WatcherState::default()
    })
}

fn nodes(outcome: &Outcome, service: usize) -> Vec<String> {
    let servers = outcome.desired.services[service]
        .servers
        .as_ref()
        .expect("the service is known");
    servers.iter().map(|server| server.node.to_string()).collect()
}

fn one(sort: ServerSort, candidates: Vec<Candidate>) -> Outcome {
    outcome(&[service("a", sort, None)], &[live(candidates)], seed())
}

#[test]
fn unknown_is_not_empty() {
    let services = [
        service("a", ServerSort::Name, None),
        service("b", ServerSort::Name, None),
    ];
    let result = outcome(&services, &[Arc::default(), live(Vec::new())], seed());
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
        nodes(&outcome(&services, &[live(all.clone())], Seed::of(host)), 0)
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
    let result = outcome(&services, &[Arc::clone(&readers), before], seed());
    assert_eq!(nodes(&result, 0), ["a", "c"]);
    assert_eq!(
        result.services[0].left_out["b"].to_string(),
        "excluded by serverCorrelation: writers has it first"
    );
    assert_eq!(
        nodes(&outcome(&services, &[Arc::clone(&readers), after], seed()), 0),
        ["b", "c"]
    );
    assert_eq!(
        nodes(&outcome(&services, &[readers, live(Vec::new())], seed()), 0),
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
    let result = outcome(&services, &[x, y], seed());
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
    let result = outcome(&services, &[live(vec![candidate("a", 1, 1)]), Arc::default()], seed());
    assert_eq!(result.desired.services[0].servers, None);
}

fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
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
    prop_oneof![Just(ServerSort::Random), Just(ServerSort::Name), Just(ServerSort::Date)]
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
        // By name, two of one name and address are the same to every caller; by_address never lets them through.
        if by != ServerSort::Name {
            prop_assert_eq!(&forward, &backward);
        }
    }

    #[test]
    fn a_server_that_goes_moves_no_other(all in candidates(), by in sorts(), gone in 0_usize..12) {
        let order = |all: &[Candidate]| {
            let mut sorted: Vec<&Candidate> = all.iter().collect();
            sort::sort(&mut sorted, by, seed());
            sorted.into_iter().map(|c| c.server.node.to_string()).collect::<Vec<_>>()
        };
        prop_assume!(gone < all.len());
        let mut fewer = all.clone();
        let gone = fewer.remove(gone).server.node.to_string();
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
        let both = outcome(&services, &[live(x), live(y)], seed());
        let names = |outcome: &Outcome, nth: usize| {
            let servers = outcome.desired.services[nth].servers.clone().expect("known");
            servers.into_iter().map(|server| server.name).collect::<Vec<_>>()
        };
        let first = names(&both, 1).first().cloned();
        let expected: Vec<String> = names(&alone, 0).into_iter().filter(|name| Some(name) != first.as_ref()).collect();
        prop_assert_eq!(names(&both, 0), expected);
    }
}
