//! What a source other than ZooKeeper has read, as the snapshots of nodes that ZooKeeper's come in. Pure.
//!
//! What can't be read takes nothing away: the last content stays, marked with its age.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use common::zk::reflector::{Child, Freshness, Snapshot};
use tokio::time::Instant;

/// Nodes by name.
pub(super) type Nodes = BTreeMap<Arc<str>, Bytes>;

/// What a source has after another look at it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ReadResult {
    /// All that is known; `None` while nothing is.
    pub(super) nodes: Option<Nodes>,
    /// Why it is not all read now; empty when it is.
    pub(super) error: String,
}

/// Nothing was read yet.
pub(super) fn unread() -> Snapshot {
    Snapshot {
        children: Arc::default(),
        freshness: Freshness::Never,
        generation: 0,
        error: String::new(),
    }
}

/// Takes in what was seen at `now`. True when that is news.
pub(super) fn take_in(snapshot: &mut Snapshot, look: ReadResult, now: Instant) -> bool {
    let freshness = match (&look.nodes, snapshot.freshness) {
        (None, _) => Freshness::Never,
        (Some(_), _) if look.error.is_empty() => Freshness::Live,
        (Some(_), Freshness::Stale { since }) => Freshness::Stale { since },
        (Some(_), _) => Freshness::Stale { since: now },
    };
    let children = children(&snapshot.children, look.nodes.unwrap_or_default());
    let is_other = *snapshot.children != children;
    let is_news = is_other || freshness != snapshot.freshness || look.error != snapshot.error;
    if is_other {
        snapshot.children = Arc::new(children);
        snapshot.generation += 1;
    }
    snapshot.freshness = freshness;
    snapshot.error = look.error;
    is_news
}

/// An unchanged node stays the same allocation, so that comparing it is cheap.
fn children(before: &BTreeMap<Arc<str>, Arc<Child>>, nodes: Nodes) -> BTreeMap<Arc<str>, Arc<Child>> {
    let child = |(name, data): (Arc<str>, Bytes)| {
        let child = match before.get(&name) {
            Some(same) if same.data == data => Arc::clone(same),
            _ => Arc::new(Child {
                data,
                czxid: 0,
                mzxid: 0,
                ctime: 0,
            }),
        };
        (name, child)
    };
    nodes.into_iter().map(child).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(nodes: Option<&[(&str, &str)]>, error: &str) -> ReadResult {
        let node = |(name, data): &(&str, &str)| (Arc::from(*name), Bytes::copy_from_slice(data.as_bytes()));
        ReadResult {
            nodes: nodes.map(|nodes| nodes.iter().map(node).collect()),
            error: error.to_owned(),
        }
    }

    #[test]
    fn a_failure_marks_the_age_and_its_end_clears_it() {
        let (mut snapshot, start) = (unread(), Instant::now());
        let at = |seconds| start + std::time::Duration::from_secs(seconds);
        assert!(take_in(&mut snapshot, look(None, "no file"), at(0)));
        assert_eq!(
            (snapshot.freshness, snapshot.error.as_str()),
            (Freshness::Never, "no file")
        );

        assert!(take_in(&mut snapshot, look(Some(&[("a", "1")]), ""), at(1)));
        assert_eq!((snapshot.freshness, snapshot.generation), (Freshness::Live, 1));
        assert!(!take_in(&mut snapshot, look(Some(&[("a", "1")]), ""), at(2)));

        let first = Arc::clone(&snapshot.children["a"]);
        assert!(take_in(
            &mut snapshot,
            look(Some(&[("a", "1"), ("b", "2")]), "bad"),
            at(3)
        ));
        assert!(!take_in(
            &mut snapshot,
            look(Some(&[("a", "1"), ("b", "2")]), "bad"),
            at(4)
        ));
        assert_eq!(snapshot.freshness, Freshness::Stale { since: at(3) });
        assert!(Arc::ptr_eq(&first, &snapshot.children["a"]));

        assert!(take_in(&mut snapshot, look(Some(&[]), ""), at(5)));
        assert_eq!((snapshot.freshness, snapshot.children.len()), (Freshness::Live, 0));
    }
}
