//! How often a registration may be written, and when the next write is due. Pure.
//!
//! Invariants: one session never makes more than the budget's writes in any span of its length; a withdrawal is never put
//! off, for each announcement leaves the write that its withdrawal needs. What is put off is only the moment: the registration
//! is then written as it is wanted by then.

use std::collections::VecDeque;

use tokio::time::Instant;

use super::node::WriteBudget;

/// The writes of the last span.
#[derive(Debug)]
pub(super) struct Budget {
    limit: WriteBudget,
    session: Option<i64>,
    writes: VecDeque<Instant>,
}

impl Budget {
    pub(super) fn new(limit: WriteBudget) -> Self {
        Self {
            limit,
            session: None,
            writes: VecDeque::new(),
        }
    }

    /// From now on `session` writes. A session that is new has lost its predecessor's nodes: to bring them back at once is
    /// no flapping, so it starts with nothing spent.
    pub(super) fn of_session(&mut self, session: i64) {
        if self.session.replace(session) != Some(session) {
            self.writes.clear();
        }
    }

    /// Until when an announcement has to wait; `None` when it may be made now.
    pub(super) fn wait(&mut self, now: Instant) -> Option<Instant> {
        while self.writes.front().is_some_and(|&write| write + self.limit.per <= now) {
            self.writes.pop_front();
        }
        let too_many = (self.writes.len() + 2).checked_sub(self.limit.writes.max(2))?;
        let last = self.writes.get(too_many.checked_sub(1)?)?;
        Some(*last + self.limit.per)
    }

    /// Something was written.
    pub(super) fn spend(&mut self, now: Instant) {
        self.writes.push_back(now);
    }

    /// Whether nothing was written for a whole span.
    pub(super) fn is_fresh(&self) -> bool {
        self.writes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn within(writes: &[Instant], from: Instant, span: Duration) -> usize {
        writes
            .iter()
            .filter(|&&write| from <= write && write < from + span)
            .count()
    }

    /// What is written, when, for wishes that change at these moments: `Some` is a content, `None` a withdrawal.
    fn play(limit: WriteBudget, wishes: &[(Instant, Option<u8>)], end: Instant) -> (Vec<Instant>, Option<u8>) {
        let (mut budget, mut node, mut writes) = (Budget::new(limit), None, Vec::new());
        let mut moments: Vec<Instant> = wishes.iter().map(|(at, _)| *at).collect();
        while let Some(now) = moments.iter().min().copied().filter(|now| *now <= end) {
            moments.retain(|moment| *moment > now);
            let desired = wishes
                .iter()
                .rfind(|(at, _)| *at <= now)
                .and_then(|(_, desired)| *desired);
            if node == desired {
                continue;
            }
            let wait = budget.wait(now).filter(|_| desired.is_some());
            if let Some(until) = wait {
                assert!(until > now);
                moments.push(until);
                continue;
            }
            budget.spend(now);
            writes.push(now);
            node = desired;
        }
        (writes, node)
    }

    proptest! {
        #[test]
        fn the_budget_holds_in_every_span_and_the_last_word_gets_through(
            number in 2_usize..8,
            steps in prop::collection::vec((0_u64..2_000, prop::option::of(0_u8..3)), 0..200),
        ) {
            let limit = WriteBudget { writes: number, per: Duration::from_secs(10) };
            let start = Instant::now();
            let mut now = start;
            let mut wishes = Vec::new();
            for (pause, desired) in steps {
                now += Duration::from_millis(pause);
                wishes.push((now, desired));
            }
            let (writes, node) = play(limit, &wishes, now + limit.per * 2);
            prop_assert_eq!(node, wishes.last().and_then(|(_, desired)| *desired));
            for &write in &writes {
                prop_assert!(within(&writes, write, limit.per) <= number);
            }
        }
    }

    #[test]
    fn a_new_session_starts_with_nothing_spent() {
        let (limit, now) = (
            WriteBudget {
                writes: 2,
                per: Duration::from_mins(1),
            },
            Instant::now(),
        );
        let mut budget = Budget::new(limit);
        budget.of_session(1);
        budget.spend(now);
        assert_eq!(budget.wait(now), Some(now + limit.per));
        budget.of_session(1);
        assert_eq!(budget.wait(now), Some(now + limit.per));
        budget.of_session(2);
        assert_eq!(budget.wait(now), None);
    }

    #[test]
    fn two_warm_ups_a_minute_pass_untouched() {
        let mut budget = Budget::new(WriteBudget::DEFAULT);
        let mut now = Instant::now();
        for _ in 0..2 {
            for _ in 0..13 {
                assert_eq!(budget.wait(now), None);
                budget.spend(now);
                now += Duration::from_millis(100);
            }
            // The withdrawal between them.
            budget.spend(now);
        }
    }
}
