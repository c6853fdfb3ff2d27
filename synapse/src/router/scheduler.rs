//! When a router applies what is wanted. Pure: the clock and the chance are arguments.
//!
//! Changes are gathered until none has come for a while, but never for longer than the maximum delay, so that steady churn
//! delays none without end. No more are applied in a span than the budget allows; a delayed change is not lost, because the
//! state of the moment is applied then. Failures back off.

use std::collections::VecDeque;
use std::time::Duration;

use common::backoff::{Backoff, BackoffConfig};
use tokio::time::Instant;

use crate::config::{ApplyBudget, PaceConfig};

/// How much haste a need has, the least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Urgency {
    /// Other hosts may have it at this very moment: gathered, then put off by a chance of this host's own.
    Jittered,
    /// More of its kind may come: worth a wait.
    Debounced,
    /// An instance has no place until then: gathered, but no longer for what comes later.
    DebouncedOnce,
    /// As soon as the budget allows.
    Immediate,
    /// HAProxy does not serve: as soon as failures allow.
    Startup,
}

/// What is left of a budget.
#[derive(Debug)]
pub(crate) struct RateLimit {
    budget: ApplyBudget,
    /// When it was last drawn on: as often as the budget allows in a span.
    spent: VecDeque<Instant>,
}

impl RateLimit {
    /// All of it.
    pub(crate) fn new(budget: ApplyBudget) -> Self {
        Self {
            budget,
            spent: VecDeque::new(),
        }
    }

    /// When it allows one more; `None` if it always did.
    pub(crate) fn next(&self) -> Option<Instant> {
        let ApplyBudget { applies, per } = self.budget;
        self.spent
            .front()
            .filter(|_| self.spent.len() >= applies)
            .map(|&oldest| oldest + per)
    }

    /// One was drawn at `now`.
    pub(crate) fn spend(&mut self, now: Instant) {
        self.spent.push_back(now);
        while self.spent.len() > self.budget.applies {
            self.spent.pop_front();
        }
    }
}

/// The clock of one router.
#[derive(Debug)]
pub(crate) struct ApplyScheduler {
    config: PaceConfig,
    pending: Option<PendingNeed>,
    allowance: Option<RateLimit>,
    /// The wait after failures.
    backed_off: Option<Instant>,
    backoff: Backoff,
}

/// A need.
#[derive(Debug, Clone, Copy)]
struct PendingNeed {
    /// When it arose.
    first: Instant,
    /// When it last grew.
    last: Instant,
    /// This host's share of the jitter.
    hold: Duration,
}

impl ApplyScheduler {
    /// A clock for which nothing was applied yet.
    pub(crate) fn new(config: PaceConfig) -> Self {
        let backoff = BackoffConfig {
            min: Duration::from_secs(1),
            max: Duration::from_mins(1),
            healthy_after: Duration::ZERO,
        };
        Self {
            allowance: config.budget.map(RateLimit::new),
            config,
            pending: None,
            backed_off: None,
            backoff: Backoff::new(backoff),
        }
    }

    /// The need exists, `grown` if the desired state changed since the last call. `chance` is uniform in
    /// `0.0..1.0`, and counts once for each need.
    pub(crate) fn want(&mut self, now: Instant, grown: bool, chance: f64) {
        let wanted = self.pending.get_or_insert_with(|| PendingNeed {
            first: now,
            last: now,
            hold: self.config.jitter.mul_f64(chance.clamp(0.0, 1.0)),
        });
        if grown {
            wanted.last = now;
        }
    }

    /// Whether there is a need.
    pub(crate) fn is_wanted(&self) -> bool {
        self.pending.is_some()
    }

    /// The need is gone.
    pub(crate) fn forget(&mut self) {
        self.pending = None;
    }

    /// What failed is not what is wanted now: that is a need of its own, and does not wait for the failure.
    pub(crate) fn clear_backoff(&mut self) {
        if self.backed_off.take().is_some() {
            self.pending = None;
        }
    }

    /// When to act. `None` when nothing is wanted.
    pub(crate) fn due(&self, urgency: Urgency) -> Option<Instant> {
        let PendingNeed { first, last, hold } = self.pending?;
        let gathered = (last + self.config.buffer).min(first + self.config.max_buffer);
        let (at, not_before) = match urgency {
            Urgency::Jittered => (gathered + hold, self.affordable().max(self.backed_off)),
            Urgency::Debounced => (gathered, self.affordable().max(self.backed_off)),
            Urgency::DebouncedOnce => (
                gathered.min(first + self.config.buffer),
                self.affordable().max(self.backed_off),
            ),
            Urgency::Immediate => (first, self.affordable().max(self.backed_off)),
            Urgency::Startup => (first, self.backed_off),
        };
        Some(not_before.map_or(at, |not_before| at.max(not_before)))
    }

    /// When the budget allows one more.
    fn affordable(&self) -> Option<Instant> {
        self.allowance.as_ref()?.next()
    }

    /// Something was applied, or could not be, at `now`.
    pub(crate) fn ended(&mut self, now: Instant, worked: bool, chance: f64) {
        self.pending = None;
        if let Some(allowance) = &mut self.allowance {
            allowance.spend(now);
        }
        if worked {
            self.worked(now);
        } else {
            self.backed_off = Some(now + self.backoff.failed(now, chance));
        }
    }

    /// All is well at `now`, for which nothing had to be applied.
    pub(crate) fn worked(&mut self, now: Instant) {
        self.pending = None;
        self.backoff.succeeded(now);
        self.backed_off = None;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn config(budget: Option<ApplyBudget>) -> PaceConfig {
        PaceConfig {
            buffer: 500 * MS,
            max_buffer: 2000 * MS,
            budget,
            jitter: Duration::ZERO,
        }
    }

    fn pace() -> (ApplyScheduler, Instant) {
        let budget = ApplyBudget {
            applies: 1,
            per: Duration::from_secs(2),
        };
        (ApplyScheduler::new(config(Some(budget))), Instant::now())
    }

    #[test]
    fn gathers_while_changes_come_but_not_for_ever() {
        let (mut pace, start) = pace();
        assert_eq!(pace.due(Urgency::Debounced), None);
        for tick in 0..100 {
            pace.want(start + 100 * MS * tick, true, 0.0);
        }
        assert_eq!(pace.due(Urgency::Debounced), Some(start + Duration::from_secs(2)));
        assert_eq!(pace.due(Urgency::Immediate), Some(start));
    }

    #[test]
    fn an_instance_that_waits_for_a_slot_is_not_delayed_by_later_ones() {
        let (mut pace, start) = pace();
        for change in 0..10 {
            pace.want(start + change * 100 * MS, true, 0.0);
            assert_eq!(pace.due(Urgency::DebouncedOnce), Some(start + 500 * MS));
        }
        assert!(pace.due(Urgency::Debounced) > pace.due(Urgency::DebouncedOnce));
    }

    #[test]
    fn a_quiet_need_waits_one_buffer() {
        let (mut pace, start) = pace();
        pace.want(start, true, 0.0);
        pace.want(start + 400 * MS, false, 0.0);
        assert_eq!(pace.due(Urgency::Debounced), Some(start + 500 * MS));
    }

    #[test]
    fn reloads_keep_their_distance_and_failures_back_off() {
        let (mut pace, start) = pace();
        pace.ended(start, true, 1.0);
        pace.want(start, true, 0.0);
        assert_eq!(pace.due(Urgency::Immediate), Some(start + Duration::from_secs(2)));
        let mut waits = Vec::new();
        for _ in 0..8 {
            pace.ended(start, false, 1.0);
            pace.want(start, false, 0.0);
            waits.push(pace.due(Urgency::Immediate).unwrap() - start);
        }
        assert!(waits.is_sorted());
        assert_eq!(waits.last(), Some(&Duration::from_mins(1)));
        pace.ended(start, true, 1.0);
        pace.want(start, false, 0.0);
        assert_eq!(pace.due(Urgency::Startup), Some(start));
        pace.ended(start, false, 1.0);
        pace.want(start, false, 0.0);
        assert_eq!(pace.due(Urgency::Startup), Some(start + Duration::from_secs(1)));
        assert_eq!(pace.due(Urgency::Immediate), Some(start + Duration::from_secs(2)));
    }

    #[test]
    fn what_is_new_is_tried_without_the_wait_for_what_failed() {
        let mut pace = ApplyScheduler::new(config(None));
        let start = Instant::now();
        for _ in 0..8 {
            pace.ended(start, false, 1.0);
        }
        pace.want(start, true, 0.0);
        assert_eq!(pace.due(Urgency::Debounced), Some(start + Duration::from_mins(1)));
        pace.clear_backoff();
        assert_eq!(pace.due(Urgency::Debounced), None);
        pace.want(start, true, 0.0);
        assert_eq!(pace.due(Urgency::Debounced), Some(start + 500 * MS));
        pace.ended(start, false, 1.0);
        pace.want(start, false, 0.0);
        let due = pace.due(Urgency::Debounced);
        assert_eq!(due, Some(start + Duration::from_mins(1)), "the failures still count");
    }

    #[test]
    fn jitter_is_drawn_once_for_each_need_and_for_no_other_urgency() {
        let mut pace = ApplyScheduler::new(PaceConfig {
            jitter: Duration::from_mins(1),
            ..config(None)
        });
        let start = Instant::now();
        pace.want(start, true, 0.5);
        pace.want(start + 100 * MS, true, 0.9);
        assert_eq!(
            pace.due(Urgency::Jittered),
            Some(start + 600 * MS + Duration::from_secs(30))
        );
        assert_eq!(pace.due(Urgency::Debounced), Some(start + 600 * MS));
        assert_eq!(pace.due(Urgency::Startup), Some(start));
        pace.ended(start, true, 0.0);
        pace.want(start, true, 0.1);
        assert_eq!(
            pace.due(Urgency::Jittered),
            Some(start + 500 * MS + Duration::from_secs(6))
        );
    }

    /// When the changes at these moments are applied, and which was the last that each apply had seen.
    fn play(config: PaceConfig, start: Instant, changes: &[Instant]) -> Vec<(Instant, usize)> {
        let mut pace = ApplyScheduler::new(config);
        let (mut applied, mut seen, mut now) = (Vec::new(), 0, start);
        loop {
            let next = changes.get(seen).copied();
            let due = pace.due(Urgency::Debounced);
            match (next, due) {
                (Some(next), due) if due.is_none_or(|due| next <= due) => {
                    now = now.max(next);
                    seen += 1;
                    pace.want(now, true, 0.0);
                }
                (_, Some(due)) => {
                    now = now.max(due);
                    pace.ended(now, true, 0.0);
                    applied.push((now, seen));
                }
                (_, None) => return applied,
            }
        }
    }

    proptest! {
        #[test]
        fn the_budget_holds_and_the_last_change_is_applied(
            gaps in prop::collection::vec(0_u32..3000, 1..80),
            applies in 1_usize..5,
            per in 1_u32..10_000,
        ) {
            let start = Instant::now();
            let moments = gaps.iter().scan(start, |at, gap| {
                *at += *gap * MS;
                Some(*at)
            });
            let changes: Vec<Instant> = moments.collect();
            let budget = ApplyBudget { applies, per: per * MS };
            let applied = play(config(Some(budget)), start, &changes);
            prop_assert_eq!(applied.last().map(|(_, seen)| *seen), Some(changes.len()));
            for few in applied.windows(applies + 1) {
                prop_assert!(few[applies].0 - few[0].0 >= per * MS, "{:?}", few);
            }
        }

        #[test]
        fn no_change_waits_longer_than_the_longest_wait(gaps in prop::collection::vec(0_u32..3000, 1..80)) {
            let start = Instant::now();
            let moments = gaps.iter().scan(start, |at, gap| {
                *at += *gap * MS;
                Some(*at)
            });
            let changes: Vec<Instant> = moments.collect();
            let applied = play(config(None), start, &changes);
            for (nth, change) in changes.iter().enumerate() {
                let at = applied.iter().find(|(_, seen)| *seen > nth).map(|(at, _)| *at);
                prop_assert!(at.is_some_and(|at| at <= *change + 2000 * MS));
            }
        }
    }
}
