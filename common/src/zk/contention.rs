//! Detects and slows down two live processes that register the same instance. Pure.
//!
//! A node of another session is taken over at once (it is a predecessor's), unless that session took the node from us:
//! then its owner is alive, would take it back at once, and both would write endlessly. Each loss doubles the wait.

use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::{Backoff, BackoffConfig};

const TURN_BACKOFF: BackoffConfig = BackoffConfig {
    min: Duration::from_secs(2),
    max: Duration::from_mins(1),
    // Longer than the two longest waits of two processes that take turns.
    healthy_after: Duration::from_secs(150),
};

/// The holder of the node and the wait for it.
#[derive(Debug)]
pub(super) struct Contention {
    /// The session through which we hold the node.
    held: Option<i64>,
    /// The session that took it from us.
    rival: Option<i64>,
    /// Earliest moment to take it back.
    not_before: Option<Instant>,
    backoff: Backoff,
}

impl Contention {
    pub(super) fn new() -> Self {
        Self {
            held: None,
            rival: None,
            not_before: None,
            backoff: Backoff::new(TURN_BACKOFF),
        }
    }

    /// Records that the node is ours, through `session`.
    pub(super) fn hold(&mut self, session: i64, now: Instant) {
        self.held = Some(session);
        self.not_before = None;
        self.backoff.succeeded(now);
    }

    /// Records that our own desired state gave the node up.
    pub(super) fn release(&mut self) {
        self.held = None;
    }

    /// Records an ephemeral node owned by `owner`, another session than our own `session`. True when that is a new
    /// contention, which is logged.
    pub(super) fn seen(&mut self, owner: i64, session: i64, now: Instant, chance: f64) -> bool {
        if self.held != Some(session) {
            return false;
        }
        self.held = None;
        self.rival = Some(owner);
        self.not_before = Some(now + self.backoff.failed(now, chance));
        self.backoff.failures() == 1
    }

    /// The session that took the node from us, if one did.
    pub(super) fn rival(&self) -> Option<i64> {
        self.rival
    }

    /// Until when a node of `owner` is to be left alone.
    pub(super) fn wait(&self, owner: i64, now: Instant) -> Option<Instant> {
        self.not_before
            .filter(|&until| self.rival == Some(owner) && until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: i64 = 1;
    const OTHER: i64 = 2;

    #[test]
    fn a_predecessor_is_no_rival() {
        let now = Instant::now();
        let mut contention = Contention::new();
        assert!(!contention.seen(OTHER, US, now, 0.5));
        assert_eq!(contention.wait(OTHER, now), None);
    }

    #[test]
    fn our_former_session_is_no_rival() {
        let now = Instant::now();
        let mut contention = Contention::new();
        contention.hold(OTHER, now);
        assert!(!contention.seen(OTHER, US, now, 0.5));
        assert_eq!(contention.wait(OTHER, now), None);
    }

    #[test]
    fn turns_get_longer_up_to_a_minute_and_are_reported_once() {
        let mut now = Instant::now();
        let mut contention = Contention::new();
        let mut waits = Vec::new();
        for turn in 0..10 {
            contention.hold(US, now);
            now += Duration::from_mins(1);
            assert_eq!(contention.seen(OTHER, US, now, 1.0), turn == 0);
            let until = contention.wait(OTHER, now).unwrap();
            waits.push(until - now);
            now = until;
            assert_eq!(contention.wait(OTHER, now), None);
        }
        assert_eq!(waits[..3], [2, 4, 8].map(Duration::from_secs));
        assert_eq!(waits[9], Duration::from_mins(1));
    }

    #[test]
    fn long_peace_ends_a_rivalry() {
        let now = Instant::now();
        let mut contention = Contention::new();
        contention.hold(US, now);
        assert!(contention.seen(OTHER, US, now, 1.0));
        contention.hold(US, now);
        assert!(contention.seen(OTHER, US, now + Duration::from_secs(151), 1.0));
    }
}
