use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;
use crate::haproxy::plan::model::{DesiredBackend, DesiredServer, Layout, NOWHERE};
use crate::haproxy::plan::slots::{assign, layout_for_reload};
use crate::haproxy::plan::{Plan, plan};
use crate::haproxy::runtime::command::Action;
use crate::haproxy::runtime::parse::{PausedChecks, Table};
use common::ratio::PerMille;

const ID: &str = "web_1";

fn desired_backend(servers: &[(u8, u16, &str)]) -> DesiredBackend {
    let servers = servers.iter().map(|(last, weight, options)| DesiredServer {
        address: SocketAddr::from(([10, 0, 0, *last], 80)),
        weight: *weight,
        options: (*options).into(),
        operator_options: (*options).into(),
        instance: format!("s{last}").into(),
        node: format!("n{last}").into(),
        instance_options: String::new(),
        ignored: Vec::new(),
    });
    DesiredBackend {
        servers: servers.collect(),
        spare_options: Some("check".into()),
        skipped: Vec::new(),
    }
}

fn assignments(backend: &Backend) -> Vec<(SocketAddr, u16)> {
    let found = backend.slots.iter().filter_map(|slot| match slot.assignment {
        Assignment::Active { address, weight } => Some((address, weight)),
        Assignment::Free | Assignment::Draining { .. } | Assignment::Gone => None,
    });
    found.collect()
}

fn ends(backend: &Backend) -> Vec<u8> {
    let ends = assignments(backend).into_iter().map(|(address, _)| match address {
        SocketAddr::V4(v4) => v4.ip().octets()[3],
        SocketAddr::V6(_) => 0,
    });
    ends.collect()
}

#[test]
fn draining_and_backup_servers_do_not_count() {
    let first = layout_for_reload(
        None,
        &desired_backend(&[(1, 5, "check"), (2, 0, "check"), (3, 1, "check")]),
        None,
    );
    let all = shadow(&first, Then::UseAll);
    assert_eq!(ends(&all), [1, 3]);
    assert_eq!(assignments(&all)[0].1, 5);
    assert_eq!(
        assignments(&shadow(&first, Then::FailFast))[0].1,
        1,
        "its weight never changes"
    );

    let backup = layout_for_reload(None, &desired_backend(&[(1, 5, "check"), (2, 1, "check backup")]), None);
    assert!(ends(&shadow(&backup, Then::UseAll)).is_empty());
    let draining = layout_for_reload(None, &desired_backend(&[(1, 5, "check"), (2, 0, "check backup")]), None);
    assert_eq!(
        ends(&shadow(&draining, Then::UseAll)),
        [1],
        "a backup without traffic is none"
    );
}

#[test]
fn a_server_of_the_shadow_backend_is_always_up() {
    for (first, then, is) in [
        ("check inter 1s", Then::UseAll, "check inter 1s no-check no-agent-check"),
        ("track a/b maxconn 5", Then::UseAll, "maxconn 5 no-check no-agent-check"),
        ("init-state down check", Then::UseAll, "check no-check no-agent-check"),
        ("", Then::UseAll, "no-check no-agent-check"),
        (
            "check cookie a ssl verify none",
            Then::FailFast,
            "no-check no-agent-check",
        ),
    ] {
        assert_eq!(&*shadow_options(first, then), is);
    }
}

fn live(backend: &Backend) -> LiveBackend {
    let servers = backend.slots.iter().map(|slot| {
        let (address, weight, maint) = match slot.assignment {
            Assignment::Active { address, weight } => (address, weight, false),
            Assignment::Free | Assignment::Draining { .. } | Assignment::Gone => (NOWHERE, 1, true),
        };
        let server = LiveServer {
            id: slot.id,
            address: Some(address),
            weight: weight.into(),
            maint,
            drain: false,
            check: None,
            paused: PausedChecks::default(),
        };
        (slot.name.clone(), server)
    });
    LiveBackend {
        id: 1,
        servers: servers.collect(),
    }
}

fn execute(table: &mut Table, backend: &str, server: &str, act: &Action) {
    let backend = table.get_mut(backend).expect("it is there");
    let server = backend.servers.get_mut(server).expect("it is there");
    match act {
        Action::Maint => server.maint = true,
        Action::Ready => server.maint = false,
        Action::Addr(address) => server.address = Some(*address),
        Action::Weight(weight) => server.weight = (*weight).into(),
        Action::Add(_) | Action::EnableHealth | Action::EnableAgent | Action::Del => {
            unreachable!("a service with a rule has slots")
        }
    }
}

#[test]
fn the_status_reports_what_haproxy_does() {
    let rule = PanicThreshold {
        below: Below::Share(PerMille::from_percent(50)),
        then: Then::FailFast,
    };
    let first = layout_for_reload(
        None,
        &desired_backend(&[(1, 5, "check"), (2, 5, "check"), (3, 0, "check")]),
        None,
    );
    let (mut healthy, all) = (live(&first), live(&shadow(&first, rule.then)));
    let shown = status(rule, Some(&healthy), Some(&all));
    assert_eq!((shown.healthy, shown.all, shown.active), (2, 2, false));
    assert_eq!(shown.why, "2 of 2 servers are healthy, which is enough");
    for server in healthy.servers.values_mut() {
        server.check = Some(Check::Failing);
    }
    let shown = status(rule, Some(&healthy), Some(&all));
    assert_eq!(
        (shown.below.as_str(), shown.then, shown.active),
        ("50%", "fail-fast", true)
    );
    assert_eq!(shown.why, "0 of 2 servers are healthy: requests are rejected at once");
    assert!(status(rule, None, None).why.contains("yet"));
    let none_counts = live(&shadow(&Backend::default(), rule.then));
    assert!(
        status(rule, Some(&healthy), Some(&none_counts))
            .why
            .contains("no server counts")
    );
}

fn members() -> impl Strategy<Value = BTreeMap<u8, (u16, bool)>> {
    proptest::collection::btree_map(
        1_u8..12,
        (prop_oneof![Just(0_u16), 1_u16..=256], prop::bool::weighted(0.05)),
        0..8,
    )
}

fn wanted(members: &BTreeMap<u8, (u16, bool)>) -> DesiredBackend {
    let class = |backup: bool| if backup { "check backup" } else { "check" };
    let servers: Vec<_> = members
        .iter()
        .map(|(last, (weight, backup))| (*last, *weight, class(*backup)))
        .collect();
    desired_backend(&servers)
}

proptest! {
    /// For any changes and any layout the shadow has the primary's slots, each free or with the primary's own instance.
    #[test]
    fn the_shadow_follows_the_primary(before in members(), after in members(), fast in any::<bool>()) {
        let then = if fast { Then::FailFast } else { Then::UseAll };
        let first = layout_for_reload(None, &wanted(&before), None);
        let mut follower = shadow(&first, then);
        let (first, _) = assign(&first, &wanted(&after), None);
        sync(&mut follower, &first, then);
        prop_assert_eq!(&follower, &shadow(&first, then), "it equals a new one");
        let has_backup = first.slots.iter().any(|slot| has_traffic(slot) && slot.options.contains("backup"));
        for (slot, twin) in first.slots.iter().zip(&follower.slots) {
            prop_assert_eq!((slot.id, &slot.name), (twin.id, &twin.name));
            let counts = has_traffic(slot) && !has_backup;
            prop_assert_eq!(matches!(twin.assignment, Assignment::Active { .. }), counts);
        }
    }

    /// After no command of a change are there more servers that count than servers that are usable: while all are healthy
    /// the rule never acts, not for a moment.
    #[test]
    fn a_change_of_members_never_reaches_the_threshold(before in members(), after in members(), fast in any::<bool>()) {
        let then = if fast { Then::FailFast } else { Then::UseAll };
        // Backups have rules of their own.
        let plain = |members: BTreeMap<u8, (u16, bool)>| -> BTreeMap<u8, (u16, bool)> {
            members.into_iter().map(|(last, (weight, _))| (last, (weight, false))).collect()
        };
        let first = layout_for_reload(None, &wanted(&plain(before)), None);
        let name = PanicThreshold::shadow_backend(ID);
        let mut table = Table::from([
            (ID.into(), live(&first)),
            (name.as_str().into(), live(&shadow(&first, then))),
        ]);
        let (first, _) = assign(&first, &wanted(&plain(after)), None);
        let all = shadow(&first, then);
        let layout = Layout::from([(ID.into(), first), (name.as_str().into(), all)]);
        let usable = |table: &Table, name: &str| table[name].servers.values().filter(|server| is_usable(server)).count();
        if let Plan::Runtime(batch) = plan(&layout, &table, &BTreeMap::new(), None, &BTreeSet::new()) {
            for command in batch.commands() {
                execute(&mut table, &command.target.backend, &command.target.server, &command.action);
                prop_assert!(
                    usable(&table, &name) <= usable(&table, ID),
                    "{} of {} after {command}", usable(&table, ID), usable(&table, &name)
                );
            }
        }
        prop_assert_eq!(plan(&layout, &table, &BTreeMap::new(), None, &BTreeSet::new()), Plan::Nothing);
        prop_assert_eq!(usable(&table, &name), usable(&table, ID));
    }
}
