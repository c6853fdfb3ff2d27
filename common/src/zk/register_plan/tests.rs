use bytes::Bytes;
use proptest::prelude::*;

use super::*;

const SESSION: i64 = 0x0100_0000_0000_0001;
const KINDS: [NodeKind; 4] = [
    NodeKind::Ephemeral,
    NodeKind::EphemeralSequential,
    NodeKind::Persistent,
    NodeKind::PersistentSequential,
];

fn us(kind: NodeKind) -> Identity {
    Identity {
        kind,
        session: SESSION,
        rival: None,
    }
}

fn node(name: &str, owner: i64, version: i32, data: &[u8]) -> Node {
    Node {
        name: name.to_owned(),
        owner,
        version,
        czxid: 1,
        data: Bytes::copy_from_slice(data),
    }
}

fn target(node: &Node) -> Target {
    Target::of(node)
}

fn desired_node(content: &[u8]) -> DesiredNode<'_> {
    DesiredNode {
        base: "a",
        content,
        touch: false,
    }
}

/// What ZooKeeper would make of a step; `next` is the sequence number it would give.
fn carry_out(
    step: &Step,
    seen: &[Node],
    desired_node: Option<DesiredNode<'_>>,
    kind: NodeKind,
    next: u32,
) -> Vec<Node> {
    let mut nodes = seen.to_vec();
    let (Step::Set(old) | Step::TakeOver(old) | Step::Delete(old)) = step else {
        if let (Step::Create, Some(desired_node)) = (step, desired_node) {
            assert!(nodes.is_empty());
            nodes.push(created(desired_node, kind, next));
        }
        return nodes;
    };
    let at = nodes.iter().position(|node| target(node) == *old).expect("it was seen");
    match (step, desired_node) {
        (Step::Set(_), Some(desired_node)) => {
            nodes[at].version += 1;
            nodes[at].data = Bytes::copy_from_slice(desired_node.content);
        }
        (Step::TakeOver(_), Some(desired_node)) => nodes[at] = created(desired_node, kind, next),
        _ => drop(nodes.remove(at)),
    }
    nodes
}

fn created(desired_node: DesiredNode<'_>, kind: NodeKind, next: u32) -> Node {
    let number = if kind.is_sequential() {
        format!("{next:010}")
    } else {
        String::new()
    };
    let owner = if kind.is_persistent() { 0 } else { SESSION };
    node(
        &format!("{}{number}", desired_node.base),
        owner,
        0,
        desired_node.content,
    )
}

fn kinds() -> impl Strategy<Value = NodeKind> {
    prop::sample::select(KINDS.as_slice())
}

fn owners() -> impl Strategy<Value = i64> {
    prop_oneof![Just(SESSION), Just(0), Just(i64::MIN), Just(-1), 1..i64::MAX]
}

/// Nodes of different names; more than one only where names are numbered or the content identifies the instance.
fn nodes() -> impl Strategy<Value = Vec<Node>> {
    let one = (
        owners(),
        0..5_i32,
        prop::collection::vec(0..3_u8, 0..3),
        prop::bool::ANY,
    );
    prop::collection::vec(one, 0..5).prop_map(|nodes| {
        let numbered = nodes.into_iter().enumerate();
        numbered
            .map(|(index, (owner, version, data, base))| {
                let base = if base { "a" } else { "b" };
                node(&format!("{base}{index:010}"), owner, version, &data)
            })
            .collect()
    })
}

fn wishes() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop::option::of(prop::collection::vec(0..3_u8, 0..3))
}

proptest! {
    #[test]
    fn steps_lead_to_one_node_as_wanted_and_then_to_nothing(seen in nodes(), wanted in wishes(), kind in kinds()) {
        let desired_node = wanted.as_deref().map(desired_node);
        let mut now = seen.clone();
        for turn in 0..=seen.len() + 1 {
            let step = plan(&now, desired_node, us(kind));
            prop_assume!(!matches!(step, Step::Refuse(_)));
            if step == Step::Nothing {
                break;
            }
            let next = carry_out(&step, &now, desired_node, kind, 100 + u32::try_from(turn).expect("small"));
            // An announced instance stays announced by at least one node.
            prop_assert!(desired_node.is_none() || now.is_empty() || !next.is_empty());
            now = next;
        }
        prop_assert_eq!(plan(&now, desired_node, us(kind)), Step::Nothing);
        match (desired_node, now.as_slice()) {
            (None, []) => {}
            (Some(desired_node), [one]) => {
                prop_assert_eq!(one.data.as_ref(), desired_node.content);
                prop_assert!(us(kind).keeps(one) && kind.has_base(&one.name, desired_node.base));
            }
            other => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn what_is_nobodys_to_touch_is_never_touched(
        seen in nodes(),
        wanted in wishes(),
        kind in kinds(),
        rival in prop::option::of(owners()),
    ) {
        let us = Identity { rival, ..us(kind) };
        let taboo = |node: &Node| {
            node.owner != SESSION && !node.is_ephemeral() && (node.owner != 0 || !kind.is_persistent())
        };
        prop_assume!(seen.iter().any(taboo));
        let refused = matches!(plan(&seen, wanted.as_deref().map(desired_node), us), Step::Refuse(_));
        prop_assert!(refused);
    }

    #[test]
    fn a_rival_is_not_withdrawn(owner in 1..i64::MAX, version in 0..5_i32) {
        prop_assume!(owner != SESSION);
        let seen = [node("a", owner, version, b"theirs")];
        let us = us(NodeKind::Ephemeral);
        prop_assert_eq!(plan(&seen, None, Identity { rival: Some(owner), ..us }), Step::Nothing);
        prop_assert_eq!(plan(&seen, None, us), Step::Delete(target(&seen[0])));
    }
}

#[test]
fn a_content_that_zookeeper_refuses_is_not_sent() {
    let us = us(NodeKind::Ephemeral);
    let most = vec![0; MAX_CONTENT];
    assert_eq!(plan(&[], Some(desired_node(&most)), us), Step::Create);
    let more = vec![0; MAX_CONTENT + 1];
    let refused = Step::Refuse(Refusal::TooLarge(1_000_001));
    assert_eq!(plan(&[], Some(desired_node(&more)), us), refused);
    assert_eq!(
        plan(&[node("a", SESSION, 3, b"old")], Some(desired_node(&more)), us),
        refused
    );
}

#[test]
fn our_own_session_may_look_like_a_time_to_live() {
    let session = 0xff00_0000_0000_0001_u64.cast_signed();
    let ours = [node("a", session, 1, b"old")];
    let us = Identity {
        session,
        ..us(NodeKind::Ephemeral)
    };
    assert_eq!(plan(&ours, Some(desired_node(b"new")), us), Step::Set(target(&ours[0])));
}

#[test]
fn a_touch_writes_what_is_there() {
    let there = [node("a", 0, 7, b"x")];
    let touch = DesiredNode {
        touch: true,
        ..desired_node(b"x")
    };
    let us = us(NodeKind::Persistent);
    assert_eq!(plan(&there, Some(desired_node(b"x")), us), Step::Nothing);
    assert_eq!(plan(&there, Some(touch), us), Step::Set(target(&there[0])));
}

#[test]
fn a_changed_name_replaces_the_node_in_one_transaction() {
    let old = [node("b0000000001", SESSION, 0, b"x")];
    let us = us(NodeKind::EphemeralSequential);
    assert_eq!(
        plan(&old, Some(desired_node(b"x")), us),
        Step::TakeOver(target(&old[0]))
    );
}
