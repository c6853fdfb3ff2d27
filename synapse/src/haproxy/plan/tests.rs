use std::collections::BTreeMap;
use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;
use crate::haproxy::plan::model::{Backend, NOWHERE, Slot};
use crate::haproxy::runtime::parse::{LiveBackend, LiveServer, PausedChecks};

fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], 80))
}

fn layout(slots: &[(&str, Assignment)]) -> Layout {
    let slots = slots
        .iter()
        .zip(1..)
        .map(|((name, assignment), id)| Slot {
            id,
            name: (*name).into(),
            options: "".into(),
            assignment: *assignment,
            dynamic: false,
        })
        .collect();
    BTreeMap::from([("web_1".into(), Backend { slots })])
}

fn live(address: SocketAddr, weight: u32, maint: bool) -> LiveServer {
    LiveServer {
        address: Some(address),
        weight,
        maint,
        ..LiveServer::default()
    }
}

fn table(servers: &[(&str, LiveServer)]) -> Table {
    let servers = servers.iter().map(|(name, server)| ((*name).into(), *server)).collect();
    Table::from([("web_1".into(), LiveBackend { id: 3, servers })])
}

fn lines(commands: &[Command]) -> Vec<String> {
    commands.iter().map(ToString::to_string).collect()
}

const A1: Assignment = Assignment::Active {
    address: SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)), 80),
    weight: 5,
};

#[test]
fn a_new_instance_comes_in_maintenance_and_old_ones_leave_last() {
    let layout = layout(&[("slot_1", A1), ("slot_2", Assignment::Draining { address: address(2) })]);
    let table = table(&[
        ("slot_1", live(NOWHERE, 1, true)),
        ("slot_2", live(address(2), 1, false)),
    ]);
    let Plan::Runtime(batch) = plan(&layout, &table, &BTreeMap::new(), None, &BTreeSet::new()) else {
        panic!("not by the socket")
    };
    assert_eq!(lines(&batch.address), ["set server web_1/slot_1 addr 10.0.0.1 port 80"]);
    assert_eq!(
        lines(&batch.activate),
        [
            "set server web_1/slot_1 weight 5",
            "set server web_1/slot_1 state ready"
        ]
    );
    assert_eq!(lines(&batch.retire), ["set server web_1/slot_2 state maint"]);
}

#[test]
fn a_live_server_is_never_readdressed_without_maintenance() {
    let table = table(&[("slot_1", live(address(9), 5, false))]);
    let Plan::Runtime(batch) = plan(
        &layout(&[("slot_1", A1)]),
        &table,
        &BTreeMap::new(),
        None,
        &BTreeSet::new(),
    ) else {
        panic!("not by the socket")
    };
    assert_eq!(
        lines(&batch.address),
        [
            "set server web_1/slot_1 state maint",
            "set server web_1/slot_1 addr 10.0.0.1 port 80"
        ]
    );
}

#[test]
fn membership_comes_before_the_reload() {
    let reason = ReloadReason::Operator;
    let todo = table(&[("slot_1", live(address(1), 1, false))]);
    let done = table(&[("slot_1", live(address(1), 5, false))]);
    let layout = layout(&[("slot_1", A1)]);
    assert!(matches!(
        plan(&layout, &todo, &BTreeMap::new(), Some(&reason), &BTreeSet::new()),
        Plan::Runtime(_)
    ));
    assert_eq!(
        plan(&layout, &done, &BTreeMap::new(), Some(&reason), &BTreeSet::new()),
        Plan::Reload(reason)
    );
    assert_eq!(
        plan(&layout, &done, &BTreeMap::new(), None, &BTreeSet::new()),
        Plan::Nothing
    );
}

#[test]
fn weights_that_haproxy_refuses_need_a_reload() {
    let fixed = BTreeSet::from(["web_1".into()]);
    let moved = table(&[("slot_1", live(address(1), 1, false))]);
    let reason = ReloadReason::StaticBalance {
        service: "web_1".into(),
    };
    assert_eq!(
        plan(&layout(&[("slot_1", A1)]), &moved, &BTreeMap::new(), None, &fixed),
        Plan::Reload(reason)
    );
}

#[test]
fn a_waiting_instance_is_more_urgent_than_a_new_configuration() {
    let structure = ReloadReason::Structure { what: "new".to_owned() };
    let fixed = BTreeSet::from(["web_1".into()]);
    let moved = table(&[("slot_1", live(address(1), 1, false))]);
    let layout = layout(&[("slot_1", A1)]);
    for (table, fixed) in [(&moved, &fixed), (&table(&[]), &BTreeSet::new())] {
        let Plan::Reload(reason) = plan(&layout, table, &BTreeMap::new(), Some(&structure), fixed) else {
            panic!("a reload")
        };
        assert!(reason.urgency() > structure.urgency(), "{reason:?}");
    }
}

#[test]
fn a_missing_server_is_drift() {
    let found = plan(
        &layout(&[("slot_1", A1)]),
        &table(&[]),
        &BTreeMap::new(),
        None,
        &BTreeSet::new(),
    );
    assert!(matches!(found, Plan::Reload(ReloadReason::Drift { .. })), "{found:?}");
}

#[test]
fn a_server_is_added_checked_and_readied_and_a_gone_one_deleted_last() {
    let mut layout = layout(&[
        ("a", A1),
        ("b", Assignment::Gone),
        ("c", Assignment::Draining { address: address(3) }),
    ]);
    for slot in &mut layout.get_mut("web_1").unwrap().slots {
        slot.dynamic = true;
        slot.options = "check".into();
    }
    let dynamic = DynamicServers::of(&["default-server inter 2s agent-check".to_owned()], &[]).unwrap();
    let dynamic_backends = BTreeMap::from([("web_1", &dynamic)]);
    let then = |table: &Table| match plan(&layout, table, &dynamic_backends, None, &BTreeSet::new()) {
        Plan::Runtime(batch) => [lines(&batch.address), lines(&batch.activate), lines(&batch.retire)],
        other => panic!("{other:?}"),
    };
    let [address_step, activate, retire] = then(&table(&[("b", live(address(2), 1, false))]));
    assert_eq!(
        address_step,
        ["add server web_1/a 10.0.0.1:80 inter 2s agent-check id 1 weight 5 check"]
    );
    assert_eq!(
        activate,
        [
            "enable health web_1/a",
            "enable agent web_1/a",
            "set server web_1/a state ready"
        ]
    );
    assert_eq!(retire, ["set server web_1/b state maint", "del server web_1/b"]);

    let half = LiveServer {
        paused: PausedChecks {
            check: true,
            agent: false,
        },
        ..live(address(1), 5, true)
    };
    let [none, activate, _] = then(&table(&[("a", half)]));
    assert_eq!(none, [""; 0], "it is there");
    assert_eq!(activate, ["enable health web_1/a", "set server web_1/a state ready"]);
    let done = table(&[("a", live(address(1), 5, false)), ("c", live(address(3), 1, true))]);
    assert_eq!(
        plan(&layout, &done, &dynamic_backends, None, &BTreeSet::new()),
        Plan::Nothing
    );
    assert!(
        matches!(
            plan(&layout, &Table::new(), &BTreeMap::new(), None, &BTreeSet::new()),
            Plan::Reload(ReloadReason::Drift { .. })
        ),
        "it can't be added"
    );
}

/// What HAProxy does with a command.
fn execute(table: &mut Table, command: &Command) {
    let server = table
        .get_mut(&command.target.backend)
        .unwrap()
        .servers
        .get_mut(&command.target.server)
        .unwrap();
    match &command.action {
        Action::Maint => server.maint = true,
        Action::Ready => (server.maint, server.drain) = (false, false),
        Action::Addr(address) => {
            assert!(server.maint, "an address is changed in maintenance only");
            server.address = Some(*address);
        }
        Action::Weight(weight) => server.weight = (*weight).into(),
        Action::Add(_) | Action::EnableHealth | Action::EnableAgent | Action::Del => panic!("`{command}` in slots"),
    }
}

fn assignment() -> impl Strategy<Value = Assignment> {
    prop_oneof![
        Just(Assignment::Free),
        (1_u8..20, 0_u16..=256).prop_map(|(last, weight)| Assignment::Active {
            address: address(last),
            weight
        }),
        (1_u8..20).prop_map(|last| Assignment::Draining { address: address(last) }),
    ]
}

fn server() -> impl Strategy<Value = LiveServer> {
    (
        proptest::option::of(0_u8..20),
        0_u32..=256,
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(last, weight, maint, drain)| LiveServer {
            address: last.map(address),
            weight,
            maint,
            drain,
            ..LiveServer::default()
        })
}

proptest! {
    #[test]
    fn applying_the_plan_leads_to_the_desired_state(slots in proptest::collection::vec((assignment(), server()), 0..12)) {
        let names: Vec<String> = (0..slots.len()).map(|n| format!("slot_{n}")).collect();
        let layout = layout(&names.iter().zip(&slots).map(|(name, (assignment, _))| (name.as_str(), *assignment)).collect::<Vec<_>>());
        let mut table = table(&names.iter().zip(&slots).map(|(name, (_, server))| (name.as_str(), *server)).collect::<Vec<_>>());
        if let Plan::Runtime(batch) = plan(&layout, &table, &BTreeMap::new(), None, &BTreeSet::new()) {
            prop_assert!(!batch.is_empty());
            let before = table.clone();
            for command in batch.commands() {
                execute(&mut table, command);
            }
            prop_assert_ne!(before, table.clone());
        }
        prop_assert_eq!(plan(&layout, &table, &BTreeMap::new(), None, &BTreeSet::new()), Plan::Nothing);
        for slot in layout.values().flat_map(|backend| &backend.slots) {
            let server = table["web_1"].servers[&slot.name];
            match slot.assignment {
                Assignment::Active { address, weight } => {
                    prop_assert_eq!(server, LiveServer { address: Some(address), weight: weight.into(), ..LiveServer::default() });
                }
                Assignment::Free | Assignment::Draining { .. } | Assignment::Gone => prop_assert!(server.maint),
            }
        }
    }
}
