use proptest::prelude::*;

use super::*;

fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], 80))
}

fn wanted(last: u8, options: &str) -> DesiredServer {
    DesiredServer {
        address: address(last),
        weight: u16::from(last),
        options: options.into(),
        instance: format!("web{last}").into(),
        node: format!("n{last}").into(),
        operator_options: "".into(),
        instance_options: String::new(),
        ignored: Vec::new(),
    }
}

fn desired_backend(of: &[(u8, &str)]) -> DesiredBackend {
    DesiredBackend {
        servers: of.iter().map(|(last, options)| wanted(*last, options)).collect(),
        spare_options: Some("".into()),
        skipped: Vec::new(),
    }
}

fn idle(names: &[&ServerName]) -> IdleServers {
    let names: BTreeSet<ServerName> = names.iter().map(|name| (*name).clone()).collect();
    IdleServers {
        reusable: names.clone(),
        deletable: names,
    }
}

fn active_at(backend: &Backend, wanted: SocketAddr) -> Option<&Slot> {
    backend
        .slots
        .iter()
        .find(|slot| matches!(slot.assignment, Assignment::Active { address, .. } if address == wanted))
}

fn place(backend: &Backend, last: u8) -> Option<(u32, &str)> {
    active_at(backend, address(last)).map(|slot| (slot.id, &*slot.name))
}

#[test]
fn a_new_instance_takes_a_spare_slot_and_a_reload_names_it() {
    let first = layout_for_reload(None, &desired_backend(&[(1, ""), (2, "")]), None);
    assert_eq!(place(&first, 1), Some((1, "web1_10.0.0.1:80")));
    assert_eq!(first.slots.len(), 16);
    let (second, unassigned) = assign(&first, &desired_backend(&[(1, ""), (2, ""), (3, "")]), None);
    assert_eq!((place(&second, 3), unassigned), (Some((3, "slot_3")), None));
    let third = layout_for_reload(Some(&second), &desired_backend(&[(3, ""), (2, "")]), None);
    assert_eq!(place(&third, 3), Some((3, "web3_10.0.0.3:80")));
    assert_eq!(place(&third, 2), Some((2, "web2_10.0.0.2:80")));
    assert_eq!(place(&third, 1), None);
}

#[test]
fn a_returning_instance_takes_its_draining_slot_back() {
    let both = desired_backend(&[(1, ""), (2, "")]);
    let start = layout_for_reload(None, &both, None);
    let (mut gone, _) = assign(&start, &desired_backend(&[(2, "")]), None);
    assert_eq!(gone.slots[0].assignment, Assignment::Draining { address: address(1) });
    assert_eq!(assign(&gone, &both, None).0, start);
    let idle = idle(&[&gone.slots[0].name]);
    release(&mut gone, &idle);
    assert_eq!(gone.slots[0].assignment, Assignment::Free);
    assert_eq!(assign(&gone, &both, None).0, start);
}

#[test]
fn a_slot_with_a_name_is_not_given_to_another_instance() {
    let start = layout_for_reload(None, &desired_backend(&[(1, "")]), None);
    let mut gone = assign(&start, &desired_backend(&[]), None).0;
    let idle = idle(&[&gone.slots[0].name]);
    release(&mut gone, &idle);
    let all: Vec<(u8, &str)> = (2..=16).map(|last| (last, "")).collect();
    let (full, unassigned) = assign(&gone, &desired_backend(&all), None);
    assert_eq!(unassigned, None);
    assert_eq!(full.slots[0].assignment, Assignment::Free);
    let all: Vec<(u8, &str)> = (2..=17).map(|last| (last, "")).collect();
    assert_eq!(
        assign(&gone, &desired_backend(&all), None).1,
        Some(Unassigned::Exhausted)
    );
}

#[test]
fn a_draining_slot_is_not_given_to_another_address() {
    let mut backend = layout_for_reload(None, &desired_backend(&[]), None);
    assert_eq!(backend.slots.len(), MIN_SPARE);
    let all: Vec<(u8, &str)> = (1..=8).map(|last| (last, "")).collect();
    backend = assign(&backend, &desired_backend(&all), None).0;
    backend = assign(&backend, &desired_backend(&[]), None).0;
    let (same, unassigned) = assign(&backend, &desired_backend(&[(9, "")]), None);
    assert_eq!((same, unassigned), (backend.clone(), Some(Unassigned::Exhausted)));
    release(&mut backend, &idle(&[&"slot_5".into()]));
    assert_eq!(
        place(&assign(&backend, &desired_backend(&[(9, "")]), None).0, 9),
        Some((5, "slot_5"))
    );
}

#[test]
fn changed_options_keep_the_slot_until_a_matching_one_exists() {
    let start = layout_for_reload(None, &desired_backend(&[(1, "check"), (2, "check")]), None);
    let changed = desired_backend(&[(1, "check backup"), (2, "check")]);
    let (kept, unassigned) = assign(&start, &changed, None);
    assert_eq!((kept, unassigned), (start.clone(), Some(Unassigned::NoMatchingSlot)));
    let reloaded = layout_for_reload(Some(&start), &changed, None);
    assert_eq!(assign(&reloaded, &changed, None), (reloaded.clone(), None));
    assert_eq!(&*reloaded.slots[0].options, "check backup");
    assert_eq!(reloaded.slots[0].id, 1);
    let (moved, unassigned) = assign(&reloaded, &desired_backend(&[(1, "check"), (2, "check")]), None);
    assert_eq!(unassigned, None);
    assert_eq!(moved.slots[0].assignment, Assignment::Draining { address: address(1) });
    assert_ne!(place(&moved, 1).unwrap().0, 1);
}

fn dynamic() -> DynamicServers {
    DynamicServers::of(&[], &[]).unwrap()
}

#[test]
fn a_dynamic_server_has_the_name_of_its_instance_and_leaves_with_it() {
    let dynamic = dynamic();
    let room = DynamicContext {
        dynamic: &dynamic,
        live: None,
    };
    let first = layout_for_reload(None, &desired_backend(&[(1, "")]), Some(&dynamic));
    assert_eq!(first.slots.len(), 1, "no spare ones");
    let (second, unassigned) = assign(&first, &desired_backend(&[(1, ""), (2, "check cookie b")]), Some(room));
    assert_eq!((place(&second, 2), unassigned), (Some((2, "web2_10.0.0.2:80")), None));
    let again = layout_for_reload(
        Some(&second),
        &desired_backend(&[(1, ""), (2, "check cookie b")]),
        Some(&dynamic),
    );
    assert_eq!(again, second, "a reload would render the same");

    let (mut left, _) = assign(&second, &desired_backend(&[(2, "check cookie b")]), Some(room));
    assert!(!left.slots[0].is_listed() && left.is_draining());
    assert_eq!(
        assign(&left, &desired_backend(&[(1, ""), (2, "check cookie b")]), Some(room)).0,
        second
    );
    let names = [left.slots[0].name.clone()];
    release(&mut left, &idle(&[&names[0]]));
    assert_eq!(left.slots[0].assignment, Assignment::Gone);
    sync_with_live(&mut left, None, |_| false);
    assert_eq!(left.slots.len(), 1, "it was deleted");
}

#[test]
fn other_options_get_a_dynamic_server_beside_the_draining_one() {
    let dynamic = dynamic();
    let room = DynamicContext {
        dynamic: &dynamic,
        live: None,
    };
    let start = layout_for_reload(None, &desired_backend(&[(1, "check")]), Some(&dynamic));
    let (moved, unassigned) = assign(&start, &desired_backend(&[(1, "check backup")]), Some(room));
    assert_eq!((place(&moved, 1), unassigned), (Some((2, "slot_2")), None));
    assert_eq!(moved.slots[0].assignment, Assignment::Draining { address: address(1) });
    let odd = desired_backend(&[(1, "check sni str(a;b)")]);
    let (kept, unassigned) = assign(&start, &odd, Some(room));
    assert_eq!(
        (kept, unassigned),
        (start, Some(Unassigned::NoMatchingSlot)),
        "options that a command can't express need a reload"
    );
    assert_eq!(
        layout_for_reload(None, &odd, Some(&dynamic)).slots.len(),
        16,
        "and has spare ones"
    );
}

#[test]
fn foreign_servers_drain_and_operator_servers_stay() {
    let start = layout_for_reload(None, &desired_backend(&[(1, ""), (2, "")]), Some(&dynamic()));
    let there = |id: u32, last: u8| LiveServer {
        id,
        address: Some(address(last)),
        ..Default::default()
    };
    let servers = [
        ("web1_10.0.0.1:80", there(9, 1)),
        ("foreign", there(2, 7)),
        ("operators", there(4, 8)),
    ];
    let live = LiveBackend {
        id: 3,
        servers: servers
            .into_iter()
            .map(|(name, server)| (name.into(), server))
            .collect(),
    };
    let mut met = start.clone();
    sync_with_live(&mut met, Some(&live), |name| name == "operators");
    let found: Vec<_> = met
        .slots
        .iter()
        .map(|slot| (&*slot.name, slot.id, slot.assignment))
        .collect();
    let draining = |last| Assignment::Draining { address: address(last) };
    assert_eq!(
        found,
        [("web1_10.0.0.1:80", 9, draining(1)), ("foreign", 2, draining(7))],
        "one with the name of ours, and one with the id of a missing one"
    );
    let dynamic = dynamic();
    let room = DynamicContext {
        dynamic: &dynamic,
        live: Some(&live),
    };
    let (repaired, _) = assign(&met, &desired_backend(&[(1, ""), (2, "")]), Some(room));
    assert_eq!(place(&repaired, 1), Some((1, "slot_1")));
    assert_eq!(
        place(&repaired, 2),
        Some((3, "web2_10.0.0.2:80")),
        "id 4 is in use by the operator"
    );
}

#[test]
fn options_of_a_single_instance_get_no_spare_slots() {
    let own = desired_backend(&[(1, "cookie a"), (2, "check cookie b")]);
    assert_eq!(layout_for_reload(None, &own, None).slots.len(), 2);
    let mut alike = desired_backend(&[(1, ""), (2, "")]);
    alike.spare_options = None;
    assert_eq!(layout_for_reload(None, &alike, None).slots.len(), 2);
}

#[test]
fn a_pool_doubles_up_to_its_cap() {
    assert_eq!([0, 1, 8, 9, 100].map(capacity), [8, 16, 16, 32, 256]);
    let many = DesiredBackend {
        servers: (0..5000_u32)
            .map(|n| DesiredServer {
                address: SocketAddr::from((std::net::Ipv4Addr::from(0x0a00_0000 + n), 80)),
                ..wanted(1, "")
            })
            .collect(),
        spare_options: Some("".into()),
        skipped: Vec::new(),
    };
    assert_eq!(layout_for_reload(None, &many, None).slots.len(), 5000 + MIN_SPARE);
}

fn any_wants() -> impl Strategy<Value = DesiredBackend> {
    proptest::collection::btree_map(1_u8..30, prop_oneof![Just(""), Just("check"), Just("backup")], 0..14)
        .prop_map(|servers| desired_backend(&servers.into_iter().collect::<Vec<_>>()))
}

proptest! {
    #[test]
    fn invariants_hold_for_any_changes(worlds in proptest::collection::vec((any_wants(), any::<bool>(), any::<u16>()), 1..8)) {
        let mut backend = Backend::default();
        for (desired, reload, bits) in worlds {
            let before = backend.clone();
            let unassigned;
            if reload {
                backend = layout_for_reload(Some(&before), &desired, None);
                unassigned = None;
                prop_assert_eq!(&layout_for_reload(Some(&backend), &desired, None), &backend, "a second reload changes nothing");
            } else {
                (backend, unassigned) = assign(&before, &desired, None);
            }
            prop_assert_eq!(assign(&backend, &desired, None), (backend.clone(), unassigned), "assigning again changes nothing");

            let ids: BTreeSet<u32> = backend.slots.iter().map(|slot| slot.id).collect();
            let names: BTreeSet<&str> = backend.slots.iter().map(|slot| &*slot.name).collect();
            prop_assert_eq!((ids.len(), names.len()), (backend.slots.len(), backend.slots.len()));
            for server in &desired.servers {
                let slot = active_at(&backend, server.address);
                prop_assert!(slot.is_some() || unassigned.is_some());
                if let Some(slot) = slot {
                    prop_assert!(slot.options == server.options || unassigned.is_some());
                    let named = *slot.name != *spare_name(slot.id);
                    prop_assert!(!named || slot.name.ends_with(&instance_name("", server.address)), "{} is not {}", slot.name, server.address);
                    let kept = active_at(&before, server.address).filter(|old| old.options == server.options);
                    prop_assert!(kept.is_none_or(|old| old.id == slot.id), "an unchanged instance keeps its slot");
                }
            }
            for slot in &backend.slots {
                let Assignment::Active { address, .. } = slot.assignment else { continue };
                prop_assert!(desired.servers.iter().any(|server| server.address == address));
                let same = before.slots.iter().find(|old| old.id == slot.id && !reload);
                let old = same.and_then(|slot| match slot.assignment {
                    Assignment::Free | Assignment::Gone => None,
                    Assignment::Active { address, .. } | Assignment::Draining { address } => Some(address),
                });
                prop_assert!(old.is_none_or(|old| old == address), "a slot in use is not given away");
            }
            let free: Vec<ServerName> = backend.slots.iter().filter(|slot| bits >> (slot.id % 16) & 1 == 1).map(|slot| slot.name.clone()).collect();
            release(&mut backend, &idle(&free.iter().collect::<Vec<_>>()));
        }
    }
}
