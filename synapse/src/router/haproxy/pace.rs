//! When a reload is due. Pure: the clock and the chance are arguments.
//!
//! Reloads of the same kind of need are gathered for a while, but never for longer than [`MAX_WAIT`] buffers, so that
//! steady churn does not starve them; no two are closer than the minimum interval; failures back off.

use std::time::Duration;

use common::backoff::{Backoff, BackoffConfig};
use tokio::time::Instant;

/// The longest wait, in buffers.
const MAX_WAIT: u32 = 4;

/// How much haste a need has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Urgency {
    /// More of its kind may come: worth a wait.
    Gathers,
    /// As soon as the minimum interval allows.
    Now,
    /// Nobody serves: as soon as failures allow.
    Start,
}

/// The clock of reloads.
#[derive(Debug)]
pub(super) struct Pace {
    buffer: Duration,
    min_interval: Duration,
    /// When the need arose, and when it last grew.
    wanted: Option<(Instant, Instant)>,
    /// The minimum interval after the last one.
    spaced: Option<Instant>,
    /// The wait after failures.
    backed_off: Option<Instant>,
    backoff: Backoff,
}

impl Pace {
    /// A clock for which no reload has happened yet.
    pub(super) fn new(buffer: Duration, min_interval: Duration) -> Self {
        let backoff = BackoffConfig {
            min: Duration::from_secs(1),
            max: Duration::from_secs(60),
            healthy_after: Duration::ZERO,
        };
        Self {
            buffer,
            min_interval,
            wanted: None,
            spaced: None,
            backed_off: None,
            backoff: Backoff::new(backoff),
        }
    }

    /// The need is there, `grown` if the desired state changed since it was last said.
    pub(super) fn want(&mut self, now: Instant, grown: bool) {
        let (first, last) = self.wanted.unwrap_or((now, now));
        self.wanted = Some((first, if grown { now } else { last }));
    }

    /// The need is gone.
    pub(super) fn forget(&mut self) {
        self.wanted = None;
    }

    /// When to act. `None` when nothing is wanted.
    pub(super) fn due(&self, urgency: Urgency) -> Option<Instant> {
        let (first, last) = self.wanted?;
        let gathered = (last + self.buffer).min(first + self.buffer.saturating_mul(MAX_WAIT));
        let (at, not_before) = match urgency {
            Urgency::Gathers => (gathered, self.spaced.max(self.backed_off)),
            Urgency::Now => (first, self.spaced.max(self.backed_off)),
            Urgency::Start => (first, self.backed_off),
        };
        Some(not_before.map_or(at, |not_before| at.max(not_before)))
    }

    /// A reload ended at `now`.
    pub(super) fn ended(&mut self, now: Instant, worked: bool, chance: f64) {
        self.wanted = None;
        self.spaced = Some(now + self.min_interval);
        if worked {
            self.backoff.succeeded(now);
            self.backed_off = None;
        } else {
            self.backed_off = Some(now + self.backoff.failed(now, chance));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace() -> (Pace, Instant) {
        (
            Pace::new(Duration::from_millis(500), Duration::from_secs(2)),
            Instant::now(),
        )
    }

    #[test]
    fn gathers_while_changes_come_but_not_for_ever() {
        let (mut pace, start) = pace();
        assert_eq!(pace.due(Urgency::Gathers), None);
        for tick in 0..100 {
            pace.want(start + Duration::from_millis(100 * tick), true);
        }
        assert_eq!(pace.due(Urgency::Gathers), Some(start + Duration::from_secs(2)));
        assert_eq!(pace.due(Urgency::Now), Some(start));
    }

    #[test]
    fn a_quiet_need_waits_one_buffer() {
        let (mut pace, start) = pace();
        pace.want(start, true);
        pace.want(start + Duration::from_millis(400), false);
        assert_eq!(pace.due(Urgency::Gathers), Some(start + Duration::from_millis(500)));
    }

    #[test]
    fn reloads_keep_their_distance_and_failures_back_off() {
        let (mut pace, start) = pace();
        pace.ended(start, true, 1.0);
        pace.want(start, true);
        assert_eq!(pace.due(Urgency::Now), Some(start + Duration::from_secs(2)));
        let mut waits = Vec::new();
        for _ in 0..8 {
            pace.ended(start, false, 1.0);
            pace.want(start, false);
            waits.push(pace.due(Urgency::Now).unwrap() - start);
        }
        assert!(waits.is_sorted());
        assert_eq!(waits.last(), Some(&Duration::from_secs(60)));
        pace.ended(start, true, 1.0);
        pace.want(start, false);
        assert_eq!(pace.due(Urgency::Start), Some(start));
        pace.ended(start, false, 1.0);
        pace.want(start, false);
        assert_eq!(pace.due(Urgency::Start), Some(start + Duration::from_secs(1)));
        assert_eq!(pace.due(Urgency::Now), Some(start + Duration::from_secs(2)));
    }
}
