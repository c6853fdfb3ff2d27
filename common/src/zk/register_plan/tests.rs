use bytes::Bytes;
use proptest::prelude::*;

use super::*;

const US: i64 = 0x0100_0000_0000_0001;

fn node(owner: i64, version: i32, data: &[u8]) -> Node {
    Node {
        owner,
        version,
        czxid: 1,
        data: Bytes::copy_from_slice(data),
    }
}

/// What ZooKeeper would make of a step.
fn carry_out(step: &Step, seen: Option<Node>, wanted: Option<&[u8]>) -> Option<Node> {
    let written = |version| Some(node(US, version, wanted.unwrap_or_default()));
    match (step, seen) {
        (Step::Nothing | Step::Refuse(_), seen) => seen,
        (Step::Create, None) => written(0),
        (Step::Set { version }, Some(seen)) if seen.version == *version && seen.owner == US => written(version + 1),
        (Step::TakeOver { version }, Some(seen)) if seen.version == *version => written(0),
        (Step::Delete { version }, Some(seen)) if seen.version == *version => None,
        (step, seen) => panic!("{step:?} is refused for {seen:?}"),
    }
}

fn owners() -> impl Strategy<Value = i64> {
    prop_oneof![
        Just(US),
        Just(0),
        Just(i64::MIN),
        Just(-1),
        Just(0xff00_0000_0000_07d0_u64.cast_signed()),
        1..i64::MAX,
    ]
}

fn nodes() -> impl Strategy<Value = Option<Node>> {
    prop::option::of(
        (owners(), 0..5_i32, prop::collection::vec(0..3_u8, 0..3))
            .prop_map(|(owner, version, data)| node(owner, version, &data)),
    )
}

fn wishes() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop::option::of(prop::collection::vec(0..3_u8, 0..3))
}

proptest! {
    #[test]
    fn one_step_reaches_the_wish_and_the_next_is_nothing(seen in nodes(), wanted in wishes()) {
        let wanted = wanted.as_deref();
        let step = plan(seen.as_ref(), wanted, US, None);
        prop_assume!(!matches!(step, Step::Refuse(_)));
        let after = carry_out(&step, seen, wanted);
        prop_assert_eq!(after.as_ref().map(|node| node.data.as_ref()), wanted);
        prop_assert!(after.as_ref().is_none_or(|node| node.owner == US));
        prop_assert_eq!(plan(after.as_ref(), wanted, US, None), Step::Nothing);
    }

    #[test]
    fn a_node_without_a_session_is_never_touched(seen in nodes(), wanted in wishes(), rival in prop::option::of(owners())) {
        prop_assume!(seen.as_ref().is_some_and(|node| node.owner != US && !node.is_ephemeral()));
        let step = plan(seen.as_ref(), wanted.as_deref(), US, rival);
        prop_assert_eq!(step, Step::Refuse(Refusal::NotEphemeral));
    }

    #[test]
    fn a_rival_is_not_withdrawn(owner in 1..i64::MAX, version in 0..5_i32) {
        prop_assume!(owner != US);
        let seen = node(owner, version, b"theirs");
        prop_assert_eq!(plan(Some(&seen), None, US, Some(owner)), Step::Nothing);
        prop_assert_eq!(plan(Some(&seen), None, US, None), Step::Delete { version });
    }
}

#[test]
fn a_content_that_zookeeper_refuses_is_not_sent() {
    let most = vec![0; MAX_CONTENT];
    assert_eq!(plan(None, Some(&most), US, None), Step::Create);
    let more = vec![0; MAX_CONTENT + 1];
    let refused = Step::Refuse(Refusal::TooLarge(1_000_001));
    assert_eq!(plan(None, Some(&more), US, None), refused);
    let ours = node(US, 3, b"old");
    assert_eq!(plan(Some(&ours), Some(&more), US, None), refused);
}

#[test]
fn our_own_session_may_look_like_a_time_to_live() {
    let session = 0xff00_0000_0000_0001_u64.cast_signed();
    let ours = node(session, 1, b"old");
    assert_eq!(plan(Some(&ours), Some(b"new"), session, None), Step::Set { version: 1 });
}
