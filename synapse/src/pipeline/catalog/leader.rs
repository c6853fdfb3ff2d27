//! `leaderElection`: of those that registered under sequential names, the first. Pure.
//!
//! Every consumer sees the same names, so all agree. A name without a number means that the candidates are not all in the
//! same election; then no leader is better than the wrong one.

use std::sync::Arc;

use common::report::encoded;

use super::{Selection, Verdict};

/// How many digits ZooKeeper appends.
const DIGITS: usize = 10;

/// Keeps the one with the lowest sequence number.
pub(crate) fn elect(selection: &mut Selection<'_>) {
    let nodes = || selection.kept.iter().map(|candidate| &candidate.server.node);
    if let Some(without) = nodes().filter(|node| sequence(node).is_none()).min() {
        let without = Arc::clone(without);
        return selection.leave_out(|_| Some(Verdict::NoLeader(Arc::clone(&without))));
    }
    let Some(leader) = nodes().min_by_key(|node| (sequence(node), *node)).cloned() else {
        return;
    };
    selection.leave_out(|candidate| (candidate.server.node != leader).then(|| Verdict::Follower(Arc::clone(&leader))));
}

/// The number after the last `_`, or else the digits that ZooKeeper appended.
fn sequence(node: &str) -> Option<u64> {
    encoded::sequence(node).or_else(|| encoded::number(node.get(node.len().checked_sub(DIGITS)?..)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::sequence;

    #[test]
    fn the_sequence_is_what_zookeeper_appended() {
        for (node, expected) in [
            ("i-1_0000000007", Some(7)),
            ("i-1_7", Some(7)),
            ("web_10.0.0.1_c_0123456789abcdef0123456789abcdef0000000042", Some(42)),
            ("base64_8_eyJhIjp9_0000000003", Some(3)),
            ("n0000000001", Some(1)),
            ("i-1_", None),
            ("i-1_+7", None),
            ("i-1_x7", None),
            ("123", None),
            ("é000000000", None),
            ("_-000000001", None),
            ("", None),
        ] {
            assert_eq!(sequence(node), expected, "{node}");
        }
    }

    proptest! {
        #[test]
        fn any_name_is_read_without_harm(node in any::<String>(), number in any::<u32>()) {
            sequence(&node);
            prop_assert_eq!(sequence(&format!("{node}_{number:010}")), Some(u64::from(number)));
        }
    }
}
