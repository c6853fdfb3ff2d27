//! The last verdicts of a check.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::health::verdict::Verdict;

/// How many verdicts are kept.
pub const KEPT: usize = 20;

/// A check's last [`KEPT`] verdicts; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct History(VecDeque<Arc<Verdict>>);

impl History {
    /// Takes a verdict in; the oldest goes when there are too many.
    pub fn add(&mut self, verdict: Arc<Verdict>) {
        self.0.truncate(KEPT - 1);
        self.0.push_front(verdict);
    }

    /// The latest verdict.
    pub fn last(&self) -> Option<&Verdict> {
        self.0.front().map(AsRef::as_ref)
    }

    /// The verdicts, the latest first.
    pub fn iter(&self) -> impl Iterator<Item = &Verdict> {
        self.0.iter().map(AsRef::as_ref)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_latest_are_kept_and_come_first() {
        let mut history = History::default();
        assert!(history.last().is_none());
        for at in 1..=100 {
            history.add(Arc::new(Verdict {
                at,
                latency: Duration::ZERO,
                outcome: Ok(String::new()),
            }));
        }
        assert_eq!(history.last().map(|verdict| verdict.at), Some(100));
        assert!(history.iter().map(|verdict| verdict.at).eq((81..=100).rev()));
    }
}
