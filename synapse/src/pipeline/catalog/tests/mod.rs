mod properties;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::*;
use crate::config::{
    Condition, Correlation, DefaultServer, LabelFilter, Pattern, Scope, SelectionConfig, ServerSort, WatcherConfig,
};
use crate::desired::Server;

pub(crate) fn seed() -> Seed {
    Seed::of("host-a")
}

pub(crate) fn service(name: &str, sort: ServerSort, other: Option<&str>) -> ServiceConfig {
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

pub(crate) fn candidate(node: &str, port: u16, czxid: i64) -> Candidate {
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

pub(crate) fn defaults(addresses: &[&str]) -> Vec<DefaultServer> {
    let default = |address: &&str| DefaultServer {
        name: format!("default-{address}"),
        address: address.parse().expect("an address"),
        weight: None,
    };
    addresses.iter().map(default).collect()
}

pub(crate) fn live(candidates: Vec<Candidate>) -> Arc<WatcherState> {
    Arc::new(WatcherState {
        freshness: Freshness::Live,
        candidates,
        ..WatcherState::default()
    })
}

pub(crate) fn nodes(outcome: &Outcome, service: usize) -> Vec<String> {
    let servers = outcome.desired.services[service]
        .servers
        .as_ref()
        .expect("the service is known");
    servers.iter().map(|server| server.node.to_string()).collect()
}

/// The first decision, with no health known.
pub(crate) fn decide(services: &[ServiceConfig], states: &[Arc<WatcherState>], seed: Seed) -> Outcome {
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
    assert_eq!(result.desired.services[1].servers.as_deref(), Some([].as_slice()));
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
fn the_first_of_another_service_is_left_out_in_any_order_of_changes() {
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
fn a_service_that_depends_on_an_unknown_one_is_unknown() {
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
            "labelFilters: az is us-1, and `matches `eu-.*`` is required",
            "labelFilters: canary is yes, and `not-exists` is required",
            "labelFilters: az is (unknown), and `matches `eu-.*`` is required",
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
fn default_servers_are_used_when_no_other_is_left() {
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
fn previous_servers_stay_when_none_is_left_and_the_key_is_set() {
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
