use std::sync::Arc;

use super::super::tests::{candidate, live, seed, service};
use super::super::{Note, Outcome, Verdict, outcome};
use crate::config::{LocalZone, ServerSort, ServiceConfig, Weights, ZoneConfig, ZonePolicy};
use crate::desired::Server;
use crate::health::{Check, Health};
use crate::pipeline::catalog::ServiceOutcome;
use crate::watcher::Candidate;

const SPILL_OVER: ZonePolicy = ZonePolicy::SpillOver { local_share: None };

fn zoned(policy: ZonePolicy) -> ServiceConfig {
    let mut service = service("web", ServerSort::Name, None);
    service.selection.zone = Some(ZoneConfig {
        local: LocalZone::Known("a".to_owned()),
        label: "zone".to_owned(),
        policy,
    });
    service
}

/// Named after their zones (`a1`, `a2`, `b1`), each of this weight; an empty zone is left out.
fn servers(zones: &[(&str, u16)], weight: u16) -> Vec<Candidate> {
    let mut all = Vec::new();
    for (zone, count) in zones {
        for number in 1..=*count {
            let port = 1000 + u16::try_from(all.len()).expect("few");
            let mut server = candidate(&format!("{zone}{number}"), port, 1);
            server.server.weight = Some(weight);
            if !zone.is_empty() {
                server.server.labels.insert("zone".to_owned(), (*zone).to_owned());
            }
            all.push(server);
        }
    }
    all
}

fn failing(all: &[Candidate], nodes: &[&str]) -> Health {
    let mut health = Health::default();
    for candidate in all.iter().filter(|candidate| nodes.contains(&&*candidate.server.node)) {
        health.insert("web_1", candidate.server.address, Check::Failing);
    }
    health
}

fn decide(service: &ServiceConfig, all: &[Candidate], health: &Health, previous: &Outcome) -> Outcome {
    outcome(
        std::slice::from_ref(service),
        &[live(all.to_vec())],
        health,
        previous,
        seed(),
    )
}

fn used(outcome: &Outcome) -> &[Server] {
    outcome.desired.services[0].servers.as_deref().expect("known")
}

fn of(service: &ServiceConfig, all: &[Candidate]) -> (Vec<Server>, ServiceOutcome) {
    let mut outcome = decide(service, all, &Health::default(), &Outcome::default());
    (used(&outcome).to_vec(), outcome.services.remove(0))
}

/// The weights of the servers whose names begin so; all have the same.
fn weight(outcome: &Outcome, zone: &str) -> u16 {
    let mut weights = used(outcome)
        .iter()
        .filter(|server| server.name.starts_with(zone))
        .map(|server| server.weight.expect("a weight"));
    let first = weights.next().expect("a server");
    assert!(weights.all(|weight| weight == first));
    first
}

#[test]
fn servers_elsewhere_are_backups_even_while_there_is_no_other() {
    let service = zoned(ZonePolicy::Prefer);
    let backups = |all: &[Candidate]| -> Vec<String> {
        let (used, _) = of(&service, all);
        let backups = used.iter().filter(|server| server.backup);
        backups.map(|server| server.name.clone()).collect()
    };
    let all = servers(&[("a", 1), ("b", 2), ("", 1)], 1);
    assert_eq!(backups(&all), ["1", "b1", "b2"]);
    assert_eq!(backups(&all[1..]), ["1", "b1", "b2"]);
    let (_, outcome) = of(&service, &all);
    assert_eq!(
        outcome.notes["b1"],
        [Note::Backup {
            zone: Some("b".to_owned())
        }]
    );
    assert_eq!(outcome.notes["1"][0].to_string(), "backup, being in (unknown)");
    assert!(!outcome.notes.contains_key("a1"));
    assert_eq!(outcome.zone.expect("a zone").local, "a");
}

#[test]
fn a_required_zone_leaves_the_others_out() {
    let (used, outcome) = of(&zoned(ZonePolicy::Require), &servers(&[("a", 1), ("b", 1), ("", 1)], 1));
    assert_eq!(used.len(), 1);
    assert_eq!(
        outcome.left_out["b1"].to_string(),
        "zone: it is in b, and a is required"
    );
    assert!(matches!(outcome.left_out["1"], Verdict::OtherZone { zone: None, .. }));
}

#[test]
fn a_zone_that_is_not_known_is_no_rule() {
    for policy in [ZonePolicy::Prefer, ZonePolicy::Require, SPILL_OVER] {
        let mut service = zoned(policy);
        service.selection.zone.as_mut().expect("a zone").local = LocalZone::Environment("ZONE".to_owned());
        let all = servers(&[("a", 1), ("b", 1)], 1);
        let (used, outcome) = of(&service, &all);
        let registered: Vec<Server> = all.into_iter().map(|candidate| candidate.server).collect();
        assert_eq!(used, registered);
        assert_eq!(outcome.zone, None);
    }
}

#[test]
fn what_local_servers_lack_spills_over_by_weight() {
    let service = zoned(SPILL_OVER);
    let all = servers(&[("a", 4), ("b", 4), ("c", 4)], 1);
    let weights = |failing_nodes: &[&str]| {
        let outcome = decide(&service, &all, &failing(&all, failing_nodes), &Outcome::default());
        let covered = outcome.services[0].zone.as_ref().expect("a zone").covered;
        assert!(used(&outcome).iter().all(|server| !server.backup));
        (
            covered.expect("it spills"),
            weight(&outcome, "a"),
            weight(&outcome, "b"),
        )
    };
    // A third of 12 is needed, less the headroom: 2.8.
    assert_eq!(weights(&[]), (142, 256, 1));
    assert_eq!(weights(&["a1"]), (116, 256, 1));
    // Of 10 that are sound, 2.33 are needed: 2 keep 85 %, and 8 share the rest: 2 × 15 / (8 × 85) = 0.044.
    assert_eq!(weights(&["a1", "a2"]), (85, 256, 11));
    assert_eq!(weights(&["a1", "a2", "a3"]), (47, 256, 36));
    // All local ones down: HAProxy sends them nothing, and the others are as they are.
    assert_eq!(weights(&["a1", "a2", "a3", "a4"]), (0, 256, 256));
    // What fails elsewhere takes nothing from here.
    assert_eq!(weights(&["b1", "b2", "b3", "b4"]).1, 256);
    let outcome = decide(&service, &all, &Health::default(), &Outcome::default());
    assert_eq!(
        outcome.services[0].notes["b1"][0].to_string(),
        "weight 1 (registered: 1), being in b",
        "a trace"
    );
}

#[test]
fn small_steps_of_the_local_reach_change_no_weight() {
    let service = zoned(SPILL_OVER);
    let all = servers(&[("a", 30), ("b", 60)], 1);
    let mut health = failing(&all, &["a1", "a2", "a3", "a4", "a5"]);
    let first = decide(&service, &all, &health, &Outcome::default());
    health.insert("web_1", all[5].server.address, Check::Failing);
    let second = decide(&service, &all, &health, &first);
    assert_eq!(
        first.services[0].zone, second.services[0].zone,
        "one more is not worth it"
    );
    assert_eq!(first.desired, second.desired);
}

#[test]
fn the_local_share_can_be_configured() {
    let all = servers(&[("a", 1), ("b", 1)], 100);
    let weights = |share| {
        let service = zoned(ZonePolicy::SpillOver {
            local_share: Some(share),
        });
        let outcome = decide(&service, &all, &Health::default(), &Outcome::default());
        (weight(&outcome, "a"), weight(&outcome, "b"))
    };
    assert_eq!(weights(100), (200, 200), "by capacity alone");
    assert_eq!(weights(75), (200, 103));
    assert_eq!(weights(50), (200, 1));
}

#[test]
fn without_a_local_server_weights_are_as_registered() {
    let all = servers(&[("b", 2)], 7);
    let (used, outcome) = of(&zoned(SPILL_OVER), &all);
    assert!(used.iter().all(|server| server.weight == Some(7)));
    assert!(outcome.notes.is_empty());
    assert_eq!(outcome.zone.expect("a zone").covered, None);
}

#[test]
fn a_local_server_that_drains_counts_for_nothing_and_drains_on() {
    let mut all = servers(&[("a", 1), ("b", 1)], 1);
    all[0].server.weight = Some(0);
    let outcome = decide(&zoned(SPILL_OVER), &all, &Health::default(), &Outcome::default());
    assert_eq!((weight(&outcome, "a"), weight(&outcome, "b")), (0, 256));
}

#[test]
fn default_servers_are_in_no_zone() {
    for (policy, expected) in [
        (ZonePolicy::Prefer, None),
        (ZonePolicy::Require, None),
        (SPILL_OVER, Some(256)),
    ] {
        let mut service = zoned(policy);
        service.selection.default_servers = super::super::tests::defaults(&["10.9.9.9:1"]);
        service.selection.keep_default_servers = true;
        let (used, outcome) = of(&service, &servers(&[("a", 1), ("b", 1)], 1));
        let default = used.iter().find(|server| server.node.starts_with("defaultServers/"));
        let default = default.expect("it is kept");
        assert_eq!((default.backup, default.weight), (false, expected));
        assert_eq!(outcome.notes[&default.node][0], Note::Default);
    }
}

#[test]
fn a_subset_keeps_the_zones_parts() {
    let all = servers(&[("a", 40), ("b", 40), ("c", 40)], 1);
    let mut service = zoned(SPILL_OVER);
    service.selection.subset_size = Some(8);
    let outcome = decide(&service, &all, &Health::default(), &Outcome::default());
    assert_eq!(used(&outcome).len(), 8);
    let local = used(&outcome).iter().filter(|server| server.name.starts_with('a'));
    assert_eq!(local.count(), 6, "a quarter of the places is for others");
    let covered = outcome.services[0].zone.as_ref().expect("a zone").covered;
    assert_eq!(covered, Some(142), "of all servers, not of the six and two");
}

#[test]
fn a_zone_smaller_than_the_subset_is_filled_up() {
    let mut service = zoned(ZonePolicy::Prefer);
    service.selection.subset_size = Some(8);
    let (used, _) = of(&service, &servers(&[("a", 3), ("b", 40)], 1));
    let backups = used.iter().filter(|server| server.backup).count();
    assert_eq!((used.len(), backups), (8, 5));
}

#[test]
fn the_order_of_the_source_does_not_matter() {
    for policy in [ZonePolicy::Prefer, ZonePolicy::Require, SPILL_OVER] {
        let all = servers(&[("a", 3), ("b", 5), ("", 2)], 10);
        let backward: Vec<Candidate> = all.iter().rev().cloned().collect();
        let outcomes = [all, backward].map(|all| {
            let outcome = decide(&zoned(policy), &all, &Health::default(), &Outcome::default());
            (Arc::clone(&outcome.desired), outcome.services[0].notes.clone())
        });
        assert_eq!(outcomes[0], outcomes[1]);
    }
}

#[test]
fn weights_that_do_not_count_still_drain_and_leave_the_zones_theirs() {
    let mut all = servers(&[("a", 2), ("b", 2)], 100);
    all[0].server.weight = Some(0);
    let weights = |policy: Option<ZonePolicy>| {
        let mut service = service("web", ServerSort::Name, None);
        service.selection.zone = policy.and_then(|policy| zoned(policy).selection.zone);
        service.selection.weights = Weights::Equal;
        let outcome = decide(&service, &all, &Health::default(), &Outcome::default());
        used(&outcome).iter().map(|server| server.weight).collect::<Vec<_>>()
    };
    assert_eq!(weights(None), [Some(0), None, None, None]);
    assert_eq!(
        weights(Some(ZonePolicy::SpillOver { local_share: Some(1) })),
        [Some(0), Some(256), Some(1), Some(1)]
    );
}
