use proptest::prelude::*;

use super::*;

fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], 80))
}

fn wanted(last: u8, class: &str) -> Wanted {
    Wanted {
        address: address(last),
        weight: u16::from(last),
        class: class.into(),
        instance: format!("web{last}").into(),
        node: format!("n{last}").into(),
        operators: "".into(),
        options: String::new(),
        ignored: Vec::new(),
    }
}

fn wants(of: &[(u8, &str)]) -> Wants {
    Wants {
        servers: of.iter().map(|(last, class)| wanted(*last, class)).collect(),
        spare_class: Some("".into()),
        skipped: Vec::new(),
    }
}

fn nothing_bound_to(names: &[&Arc<str>]) -> Idle {
    let names: BTreeSet<Arc<str>> = names.iter().map(|name| Arc::clone(name)).collect();
    Idle {
        for_another: names.clone(),
        for_nobody: names,
    }
}

fn active_at(backend: &Backend, wanted: SocketAddr) -> Option<&Slot> {
    backend
        .slots
        .iter()
        .find(|slot| matches!(slot.occupant, Occupant::Active { address, .. } if address == wanted))
}

fn place(backend: &Backend, last: u8) -> Option<(u32, &str)> {
    active_at(backend, address(last)).map(|slot| (slot.id, &*slot.name))
}

#[test]
fn a_new_instance_takes_a_spare_slot_and_a_reload_gives_it_its_name() {
    let first = relayout(None, &wants(&[(1, ""), (2, "")]), None);
    assert_eq!(place(&first, 1), Some((1, "web1_10.0.0.1:80")));
    assert_eq!(first.slots.len(), 16);
    let (second, unplaced) = assign(&first, &wants(&[(1, ""), (2, ""), (3, "")]), None);
    assert_eq!((place(&second, 3), unplaced), (Some((3, "slot_3")), None));
    let third = relayout(Some(&second), &wants(&[(3, ""), (2, "")]), None);
    assert_eq!(place(&third, 3), Some((3, "web3_10.0.0.3:80")));
    assert_eq!(place(&third, 2), Some((2, "web2_10.0.0.2:80")));
    assert_eq!(place(&third, 1), None);
}

#[test]
fn a_returning_instance_takes_its_draining_slot_back() {
    let both = wants(&[(1, ""), (2, "")]);
    let start = relayout(None, &both, None);
    let (mut gone, _) = assign(&start, &wants(&[(2, "")]), None);
    assert_eq!(gone.slots[0].occupant, Occupant::Draining { address: address(1) });
    assert_eq!(assign(&gone, &both, None).0, start);
    let idle = nothing_bound_to(&[&gone.slots[0].name]);
    release(&mut gone, &idle);
    assert_eq!(gone.slots[0].occupant, Occupant::Free);
    assert_eq!(assign(&gone, &both, None).0, start);
}

#[test]
fn a_slot_with_a_name_is_not_given_to_another_instance() {
    let start = relayout(None, &wants(&[(1, "")]), None);
    let mut gone = assign(&start, &wants(&[]), None).0;
    let idle = nothing_bound_to(&[&gone.slots[0].name]);
    release(&mut gone, &idle);
    let all: Vec<(u8, &str)> = (2..=16).map(|last| (last, "")).collect();
    let (full, unplaced) = assign(&gone, &wants(&all), None);
    assert_eq!(unplaced, None);
    assert_eq!(full.slots[0].occupant, Occupant::Free);
    let all: Vec<(u8, &str)> = (2..=17).map(|last| (last, "")).collect();
    assert_eq!(assign(&gone, &wants(&all), None).1, Some(Unplaced::Exhausted));
}

#[test]
fn a_draining_slot_is_not_given_to_another_address() {
    let mut backend = relayout(None, &wants(&[]), None);
    assert_eq!(backend.slots.len(), MIN_SPARE);
    let all: Vec<(u8, &str)> = (1..=8).map(|last| (last, "")).collect();
    backend = assign(&backend, &wants(&all), None).0;
    backend = assign(&backend, &wants(&[]), None).0;
    let (same, unplaced) = assign(&backend, &wants(&[(9, "")]), None);
    assert_eq!((same, unplaced), (backend.clone(), Some(Unplaced::Exhausted)));
    release(&mut backend, &nothing_bound_to(&[&"slot_5".into()]));
    assert_eq!(
        place(&assign(&backend, &wants(&[(9, "")]), None).0, 9),
        Some((5, "slot_5"))
    );
}

#[test]
fn an_instance_whose_options_changed_goes_on_until_the_right_slot_is_there() {
    let start = relayout(None, &wants(&[(1, "check"), (2, "check")]), None);
    let changed = wants(&[(1, "check backup"), (2, "check")]);
    let (kept, unplaced) = assign(&start, &changed, None);
    assert_eq!((kept, unplaced), (start.clone(), Some(Unplaced::NoClass)));
    let reloaded = relayout(Some(&start), &changed, None);
    assert_eq!(assign(&reloaded, &changed, None), (reloaded.clone(), None));
    assert_eq!(&*reloaded.slots[0].class, "check backup");
    assert_eq!(reloaded.slots[0].id, 1);
    let (moved, unplaced) = assign(&reloaded, &wants(&[(1, "check"), (2, "check")]), None);
    assert_eq!(unplaced, None);
    assert_eq!(moved.slots[0].occupant, Occupant::Draining { address: address(1) });
    assert_ne!(place(&moved, 1).unwrap().0, 1);
}

fn grows() -> Growth {
    Growth::of(&[], &[]).unwrap()
}

#[test]
fn where_it_grows_an_instance_gets_a_server_of_its_own_name_and_takes_it_along() {
    let growth = grows();
    let room = Room {
        growth: &growth,
        live: None,
    };
    let first = relayout(None, &wants(&[(1, "")]), Some(&growth));
    assert_eq!(first.slots.len(), 1, "no spare ones");
    let (second, unplaced) = assign(&first, &wants(&[(1, ""), (2, "check cookie b")]), Some(room));
    assert_eq!((place(&second, 2), unplaced), (Some((2, "web2_10.0.0.2:80")), None));
    let again = relayout(Some(&second), &wants(&[(1, ""), (2, "check cookie b")]), Some(&growth));
    assert_eq!(again, second, "a reload would render the same");

    let (mut left, _) = assign(&second, &wants(&[(2, "check cookie b")]), Some(room));
    assert!(!left.slots[0].is_listed() && left.is_draining());
    assert_eq!(
        assign(&left, &wants(&[(1, ""), (2, "check cookie b")]), Some(room)).0,
        second
    );
    let names = [Arc::clone(&left.slots[0].name)];
    release(&mut left, &nothing_bound_to(&[&names[0]]));
    assert_eq!(left.slots[0].occupant, Occupant::Gone);
    meet(&mut left, None, |_| false);
    assert_eq!(left.slots.len(), 1, "it was deleted");
}

#[test]
fn where_it_grows_other_options_are_another_server_beside_the_one_that_drains() {
    let growth = grows();
    let room = Room {
        growth: &growth,
        live: None,
    };
    let start = relayout(None, &wants(&[(1, "check")]), Some(&growth));
    let (moved, unplaced) = assign(&start, &wants(&[(1, "check backup")]), Some(room));
    assert_eq!((place(&moved, 1), unplaced), (Some((2, "slot_2")), None));
    assert_eq!(moved.slots[0].occupant, Occupant::Draining { address: address(1) });
    let odd = wants(&[(1, "check sni str(a;b)")]);
    let (kept, unplaced) = assign(&start, &odd, Some(room));
    assert_eq!(
        (kept, unplaced),
        (start, Some(Unplaced::NoClass)),
        "what a command can't say is a reload's"
    );
    assert_eq!(
        relayout(None, &odd, Some(&growth)).slots.len(),
        16,
        "and has spare ones"
    );
}

#[test]
fn who_was_made_by_others_drains_and_nothing_of_the_operators_is_touched() {
    let start = relayout(None, &wants(&[(1, ""), (2, "")]), Some(&grows()));
    let there = |id: u32, last: u8| crate::haproxy::runtime::parse::LiveServer {
        id,
        address: Some(address(last)),
        ..Default::default()
    };
    let servers = [
        ("web1_10.0.0.1:80", there(9, 1)),
        ("stranger", there(2, 7)),
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
    meet(&mut met, Some(&live), |name| name == "operators");
    let found: Vec<_> = met
        .slots
        .iter()
        .map(|slot| (&*slot.name, slot.id, slot.occupant))
        .collect();
    let draining = |last| Occupant::Draining { address: address(last) };
    assert_eq!(
        found,
        [("web1_10.0.0.1:80", 9, draining(1)), ("stranger", 2, draining(7))],
        "another one of our name, and one that has the id of one that is missing"
    );
    let growth = grows();
    let room = Room {
        growth: &growth,
        live: Some(&live),
    };
    let (repaired, _) = assign(&met, &wants(&[(1, ""), (2, "")]), Some(room));
    assert_eq!(place(&repaired, 1), Some((1, "slot_1")));
    assert_eq!(
        place(&repaired, 2),
        Some((3, "web2_10.0.0.2:80")),
        "id 4 is the operator's"
    );
}

#[test]
fn options_of_one_instance_alone_get_no_spare_slots() {
    let own = wants(&[(1, "cookie a"), (2, "check cookie b")]);
    assert_eq!(relayout(None, &own, None).slots.len(), 2);
    let mut alike = wants(&[(1, ""), (2, "")]);
    alike.spare_class = None;
    assert_eq!(relayout(None, &alike, None).slots.len(), 2);
}

#[test]
fn a_pool_grows_by_doubling_and_not_past_its_cap() {
    assert_eq!([0, 1, 8, 9, 100].map(capacity), [8, 16, 16, 32, 256]);
    let many = Wants {
        servers: (0..5000_u32)
            .map(|n| Wanted {
                address: SocketAddr::from((std::net::Ipv4Addr::from(0x0a00_0000 + n), 80)),
                ..wanted(1, "")
            })
            .collect(),
        spare_class: Some("".into()),
        skipped: Vec::new(),
    };
    assert_eq!(relayout(None, &many, None).slots.len(), 5000 + MIN_SPARE);
}

fn any_wants() -> impl Strategy<Value = Wants> {
    proptest::collection::btree_map(1_u8..30, prop_oneof![Just(""), Just("check"), Just("backup")], 0..14)
        .prop_map(|servers| wants(&servers.into_iter().collect::<Vec<_>>()))
}

proptest! {
    #[test]
    fn whatever_comes_and_goes(worlds in proptest::collection::vec((any_wants(), any::<bool>(), any::<u16>()), 1..8)) {
        let mut backend = Backend::default();
        for (wants, reload, idle) in worlds {
            let before = backend.clone();
            let unplaced;
            if reload {
                backend = relayout(Some(&before), &wants, None);
                unplaced = None;
                prop_assert_eq!(&relayout(Some(&backend), &wants, None), &backend, "a second reload changes nothing");
            } else {
                (backend, unplaced) = assign(&before, &wants, None);
            }
            prop_assert_eq!(assign(&backend, &wants, None), (backend.clone(), unplaced), "assigning again changes nothing");

            let ids: BTreeSet<u32> = backend.slots.iter().map(|slot| slot.id).collect();
            let names: BTreeSet<&str> = backend.slots.iter().map(|slot| &*slot.name).collect();
            prop_assert_eq!((ids.len(), names.len()), (backend.slots.len(), backend.slots.len()));
            for server in &wants.servers {
                let slot = active_at(&backend, server.address);
                prop_assert!(slot.is_some() || unplaced.is_some());
                if let Some(slot) = slot {
                    prop_assert!(slot.class == server.class || unplaced.is_some());
                    let named = *slot.name != *spare_name(slot.id);
                    prop_assert!(!named || slot.name.ends_with(&own_name("", server.address)), "{} is not {}", slot.name, server.address);
                    let kept = active_at(&before, server.address).filter(|old| old.class == server.class);
                    prop_assert!(kept.is_none_or(|old| old.id == slot.id), "an unchanged instance keeps its slot");
                }
            }
            for slot in &backend.slots {
                let Occupant::Active { address, .. } = slot.occupant else { continue };
                prop_assert!(wants.servers.iter().any(|server| server.address == address));
                let same = before.slots.iter().find(|old| old.id == slot.id && !reload);
                let old = same.and_then(|slot| match slot.occupant {
                    Occupant::Free | Occupant::Gone => None,
                    Occupant::Active { address, .. } | Occupant::Draining { address } => Some(address),
                });
                prop_assert!(old.is_none_or(|old| old == address), "a slot in use is not given away");
            }
            let free: Vec<Arc<str>> = backend.slots.iter().filter(|slot| idle >> (slot.id % 16) & 1 == 1).map(|slot| Arc::clone(&slot.name)).collect();
            release(&mut backend, &nothing_bound_to(&free.iter().collect::<Vec<_>>()));
        }
    }
}
