//! Two living processes that register the same instance: seen, slowed down, told.
//!
//! A node of another session is taken over at once (it is a predecessor's), unless it took the node from us: then its
//! owner lives, would take it back at once, and both would write for ever. Each loss doubles the wait.

use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::{Backoff, BackoffConfig};

const TURN_BACKOFF: BackoffConfig = BackoffConfig {
    min: Duration::from_secs(2),
    max: Duration::from_mins(1),
    // Longer than the two longest waits of a pair that takes turns.
    healthy_after: Duration::from_secs(150),
};

/// Who holds the node, and since when we wait for it.
#[derive(Debug)]
pub(super) struct Contention {
    /// The session through which we hold the node.
    held: Option<i64>,
    /// The session that took it from us.
    rival: Option<i64>,
    /// Not to be taken back before.
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

    /// The node is ours, through `session`.
    pub(super) fn hold(&mut self, session: i64, now: Instant) {
        self.held = Some(session);
        self.not_before = None;
        self.backoff.succeeded(now);
    }

    /// The node was given up by our own desired.
    pub(super) fn release(&mut self) {
        self.held = None;
    }

    /// The node was seen owned by `owner`, ephemeral and not us; we are `session`. True when that is a new contention, to
    /// be told.
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
    fn turns_get_longer_up_to_a_minute_and_are_told_once() {
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
