use bytes::Bytes;
use proptest::prelude::*;

use super::*;

fn child(zxid: i64) -> Child {
    Child {
        data: Bytes::from(zxid.to_string()),
        czxid: 1,
        mzxid: zxid,
        ctime: 0,
    }
}

fn reads(content: &BTreeMap<String, i64>) -> Vec<Read> {
    content
        .iter()
        .map(|(name, &zxid)| (Arc::from(name.as_str()), Some(child(zxid))))
        .collect()
}

fn content(state: &ReflectState) -> BTreeMap<String, i64> {
    let children = state.snapshot().children.iter();
    children.map(|(name, child)| (name.to_string(), child.mzxid)).collect()
}

fn contents() -> impl Strategy<Value = BTreeMap<String, i64>> {
    prop::collection::btree_map("[a-e]", 0..4_i64, 0..5)
}

proptest! {
    /// During any reconnection readers see the old content until they see the new one.
    #[test]
    fn a_reconnection_takes_nothing_away(old in contents(), new in contents()) {
        let now = Instant::now();
        let mut state = ReflectState::new();
        state.swap(reads(&old));
        let generation = state.snapshot().generation;
        prop_assert!(state.stale(now));
        prop_assert!(!state.stale(now + GATHER));
        state.note_error("refused");
        prop_assert_eq!(content(&state), old.clone());
        prop_assert_eq!(state.snapshot().freshness, Freshness::Stale { since: now });
        prop_assert_eq!(state.snapshot().generation, generation);

        prop_assert_eq!(state.swap(reads(&new)), old != new);
        prop_assert_eq!(content(&state), new.clone());
        prop_assert_eq!(state.snapshot().freshness, Freshness::Live);
        prop_assert_eq!(state.snapshot().error.as_str(), "");
        prop_assert_eq!(state.snapshot().generation, generation + u64::from(old != new));
    }

    /// Reading what an event spoke of leads to the same content as reading all.
    #[test]
    fn merging_the_difference_equals_swapping(old in contents(), new in contents()) {
        let mut state = ReflectState::new();
        state.swap(reads(&old));
        let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        let differences = names
            .into_iter()
            .map(|name| (Arc::from(name.as_str()), new.get(name).map(|&zxid| child(zxid))));
        prop_assert_eq!(state.merge(differences), old != new);
        prop_assert_eq!(content(&state), new);
    }

    #[test]
    fn chunks_are_bounded_and_lose_nothing(lengths in prop::collection::vec(1..4_000_usize, 0..1_500)) {
        let names: Vec<Arc<str>> = lengths.iter().map(|&length| Arc::from("n".repeat(length))).collect();
        let chunks = chunks("/services/", &names);
        for chunk in &chunks {
            prop_assert!(!chunk.is_empty() && chunk.len() <= CHUNK_NAMES);
            prop_assert!(chunk.iter().map(|name| name.len() + 10).sum::<usize>() <= CHUNK_BYTES);
        }
        prop_assert_eq!(chunks.concat(), names);
    }
}

#[test]
fn nothing_read_is_not_an_empty_list() {
    let mut state = ReflectState::new();
    assert!(!state.stale(Instant::now()));
    assert_eq!(state.snapshot().freshness, Freshness::Never);
    assert_eq!(state.snapshot().generation, 0);
    state.swap([]);
    assert_eq!(state.snapshot().freshness, Freshness::Live);
    assert_eq!(state.snapshot().generation, 1);
}

#[test]
fn an_unchanged_child_is_the_same_allocation() {
    let mut state = ReflectState::new();
    let both = BTreeMap::from([("a".to_owned(), 1), ("b".to_owned(), 2)]);
    state.swap(reads(&both));
    let before = Arc::clone(&state.snapshot().children["a"]);
    state.stale(Instant::now());
    state.swap(reads(&BTreeMap::from([("a".to_owned(), 1), ("b".to_owned(), 3)])));
    assert!(Arc::ptr_eq(&before, &state.snapshot().children["a"]));
}

#[test]
fn the_first_event_is_read_at_once_and_a_burst_is_gathered() {
    let start = Instant::now();
    let mut dirty = Dirty::default();
    assert_eq!(dirty.due(start), None);
    dirty.add("a");
    assert_eq!(dirty.due(start), Some(start));
    assert_eq!(dirty.take(start), [Arc::from("a")]);
    assert_eq!(dirty.due(start), None);
    dirty.add("b");
    dirty.add("c");
    dirty.add("b");
    assert_eq!(dirty.due(start), Some(start + GATHER));
    let later = start + GATHER * 5;
    assert!(dirty.due(later) <= Some(later), "a quiet spell is over");
    assert_eq!(dirty.take(later), [Arc::from("b"), Arc::from("c")]);
}

#[test]
fn only_direct_children_have_a_name() {
    let prefix = child_prefix("/services/web");
    assert_eq!(child_name(&prefix, "/services/web/a"), Some("a"));
    assert_eq!(child_name(&prefix, "/services/web"), None);
    assert_eq!(child_name(&prefix, "/services/web/a/b"), None);
    assert_eq!(child_name(&prefix, "/services/website"), None);
    assert_eq!(child_name(&child_prefix("/"), "/a"), Some("a"));
}
