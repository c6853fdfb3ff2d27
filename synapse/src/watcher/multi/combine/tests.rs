use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::desired::Server;
use crate::watcher::Reason;

const TIMEOUT: Duration = Duration::from_secs(10);

fn candidate(node: &str, is_available: bool) -> Candidate {
    Candidate {
        server: Server {
            node: Arc::from(node),
            name: node.to_owned(),
            address: "10.0.0.1:80".parse().expect("an address"),
            weight: None,
            options: String::new(),
            labels: BTreeMap::new(),
            created: 0,
            backup: false,
        },
        czxid: 1,
        unavailable: (!is_available).then(String::new),
    }
}

fn part(name: &str, freshness: Freshness, nodes: &[&str]) -> Part {
    let state = WatcherState {
        freshness,
        candidates: nodes.iter().map(|node| candidate(node, true)).collect(),
        ..WatcherState::default()
    };
    Part {
        name: name.to_owned(),
        state: Arc::new(state),
    }
}

fn combining(method: Combine, started: Instant) -> Combining {
    Combining {
        method,
        patience: TIMEOUT,
        started,
    }
}

/// The nodes and the freshness.
fn summary(combined: &Combined) -> (Vec<&str>, Freshness) {
    let nodes = combined
        .state
        .candidates
        .iter()
        .map(|candidate| &*candidate.server.node);
    (nodes.collect(), combined.state.freshness)
}

use Freshness::{Live, Never};

#[test]
fn the_first_that_has_servers_is_used_and_the_better_again_when_it_is_back() {
    let start = Instant::now();
    let sequential = combining(Combine::Sequential, start);
    let secondary = || part("us", Live, &["b"]);
    for (primary, used) in [
        (part("eu", Live, &["a"]), 0),
        (part("eu", Live, &[]), 1),
        (part("eu", Live, &["a"]), 0),
    ] {
        let combined = sequential.combine(&[primary, secondary()], start);
        assert_eq!((combined.used, combined.look_again), (Some(used), None));
    }
    let combined = sequential.combine(&[part("eu", Live, &[]), secondary()], start);
    assert_eq!(summary(&combined), (vec!["us/b"], Live));
    // None has any: the first's empty set.
    let combined = sequential.combine(&[part("eu", Live, &[]), part("us", Live, &[])], start);
    assert_eq!((combined.used, summary(&combined)), (Some(0), (vec![], Live)));
}

#[test]
fn servers_that_take_no_requests_count_for_nothing() {
    let start = Instant::now();
    let mut down = part("eu", Live, &[]);
    down.state = Arc::new(WatcherState {
        candidates: vec![candidate("a", false)],
        ..(*down.state).clone()
    });
    let combined = combining(Combine::Sequential, start).combine(&[down, part("us", Live, &["b"])], start);
    assert_eq!(combined.used, Some(1));
}

#[test]
fn a_lost_source_is_passed_over_when_patience_ends() {
    let start = Instant::now();
    let sequential = combining(Combine::Sequential, start);
    let since = start + Duration::from_mins(1);
    let stale = Freshness::Stale { since };
    let parts = [part("eu", stale, &["a"]), part("us", Live, &["b"])];
    let soon = sequential.combine(&parts, since + TIMEOUT / 2);
    assert_eq!((soon.used, soon.look_again), (Some(0), Some(since + TIMEOUT)));
    let late = sequential.combine(&parts, since + TIMEOUT);
    assert_eq!((late.used, late.look_again), (Some(1), None));
    // Lost, too: the last content of the first stays in force.
    let parts = [part("eu", stale, &["a"]), part("us", stale, &["b"])];
    let lost = sequential.combine(&parts, since + TIMEOUT * 2);
    assert_eq!((lost.used, summary(&lost)), (Some(0), (vec!["eu/a"], stale)));
}

#[test]
fn a_source_without_an_answer_is_awaited_then_skipped() {
    let start = Instant::now();
    let parts = [part("eu", Never, &[]), part("us", Live, &["b"])];
    for method in [Combine::Sequential, Combine::Union] {
        let combining = combining(method, start);
        let soon = combining.combine(&parts, start + TIMEOUT / 2);
        assert_eq!(summary(&soon), (vec![], Never));
        assert_eq!(soon.look_again, Some(start + TIMEOUT));
        let late = combining.combine(&parts, start + TIMEOUT);
        assert_eq!(summary(&late).0, ["us/b"]);
        assert_eq!(late.look_again, None);
        let none = [part("eu", Never, &[]), part("us", Never, &[])];
        assert_eq!(summary(&combining.combine(&none, start + TIMEOUT)), (vec![], Never));
    }
    // The second is not waited for while the first serves.
    let parts = [part("eu", Live, &["a"]), part("us", Never, &[])];
    let first = combining(Combine::Sequential, start).combine(&parts, start);
    assert_eq!((first.used, first.look_again), (Some(0), None));
}

#[test]
fn a_union_is_all_of_them_and_as_old_as_the_oldest() {
    let start = Instant::now();
    let union = combining(Combine::Union, start);
    let since = start + Duration::from_secs(5);
    let stale = Freshness::Stale { since };
    let mut us = part("us", stale, &["a", "b"]);
    us.state = Arc::new(WatcherState {
        error: "away".to_owned(),
        skipped: vec![Skipped {
            node: Arc::from("c"),
            reason: Reason::Bad("x".to_owned()),
        }],
        failures: Failures { watch: 1, content: 1 },
        ..(*us.state).clone()
    });
    let combined = union.combine(&[us, part("eu", Live, &["a"])], since);
    assert_eq!(summary(&combined), (vec!["eu/a", "us/a", "us/b"], stale));
    assert_eq!(&*combined.state.skipped[0].node, "us/c");
    assert_eq!(combined.state.error, "us: away");
    assert_eq!(combined.state.failures, Failures { watch: 1, content: 1 });
    let one = union.combine(&[part("eu", Live, &["a"]), part("us", Never, &[])], start + TIMEOUT);
    assert_eq!(summary(&one), (vec!["eu/a"], Freshness::Stale { since: start }));
}

fn any_part(start: Instant) -> impl Strategy<Value = Part> {
    let freshness = prop_oneof![
        Just(Never),
        Just(Live),
        (0..40_u64).prop_map(move |seconds| Freshness::Stale {
            since: start + Duration::from_secs(seconds)
        }),
    ];
    (freshness, 0..3_usize).prop_map(|(freshness, count)| {
        let count = if freshness == Never { 0 } else { count };
        part("p", freshness, &["a", "b"][..count])
    })
}

proptest! {
    /// A step at the returned time is enough: between those moments nothing changes by itself.
    #[test]
    fn nothing_changes_before_the_returned_time(
        sequential in any::<bool>(), seconds in 0..60_u64, parts in prop::collection::vec(any_part(start()), 1..4),
    ) {
        let method = if sequential { Combine::Sequential } else { Combine::Union };
        let combining = combining(method, start());
        let now = start() + Duration::from_secs(seconds);
        let combined = combining.combine(&parts, now);
        prop_assert!(combined.look_again.is_none_or(|at| at > now));
        let until = combined.look_again.unwrap_or(now + Duration::from_hours(1));
        let later = combining.combine(&parts, until - Duration::from_nanos(1));
        prop_assert_eq!(&later.state, &combined.state);
    }

    /// A source with servers is used in the end; nothing is made up.
    #[test]
    fn no_server_of_any_source_is_lost(sequential in any::<bool>(), parts in prop::collection::vec(any_part(start()), 1..4)) {
        let method = if sequential { Combine::Sequential } else { Combine::Union };
        let combined = combining(method, start()).combine(&parts, start() + Duration::from_hours(1));
        let sizes: Vec<usize> = parts.iter().map(|part| part.state.candidates.len()).collect();
        let size = combined.state.candidates.len();
        if sequential {
            prop_assert!(sizes.contains(&size) && (size > 0) == sizes.iter().any(|size| *size > 0));
        } else {
            prop_assert_eq!(size, sizes.iter().sum::<usize>());
        }
    }
}

/// One start for a whole test run, so that instants can be compared.
fn start() -> Instant {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    *START.get_or_init(Instant::now)
}
