//! The delay after a failed call. Pure.
//!
//! A lost connection needs no delay because its return limits the rate, unless our own request causes the loss (a server
//! with a smaller `jute.maxbuffer` closes the connection of a larger request): that would repeat endlessly at full speed.

use std::time::Duration;

use tokio::time::Instant;

use super::error::CallError;
use crate::backoff::{Backoff, BackoffConfig};

const RETRY_BACKOFF: BackoffConfig = BackoffConfig {
    min: Duration::from_millis(200),
    max: Duration::from_secs(5),
    healthy_after: Duration::from_secs(10),
};

/// Consecutive losses of the connection without a delay.
const FREE_LOSSES: u32 = 3;

/// The failures since the last success.
#[derive(Debug)]
pub(super) struct Retry {
    backoff: Backoff,
    losses: u32,
}

impl Retry {
    pub(super) fn new() -> Self {
        Self {
            backoff: Backoff::new(RETRY_BACKOFF),
            losses: 0,
        }
    }

    /// Records a success at `now`.
    pub(super) fn succeeded(&mut self, now: Instant) {
        self.losses = 0;
        self.backoff.succeeded(now);
    }

    /// Returns the delay after this failure; `None` when the session's state determines it. `connected` is the
    /// session's state after the failure, `chance` is uniform in `0.0..1.0`.
    pub(super) fn failed(&mut self, error: &CallError, connected: bool, now: Instant, chance: f64) -> Option<Duration> {
        let lost = match error {
            CallError::NotConnected => return None,
            CallError::Unknown(_) | CallError::SessionLost(_) => !connected,
            CallError::Answer(_) => false,
        };
        if lost {
            self.losses = self.losses.saturating_add(1);
            if self.losses <= FREE_LOSSES {
                return None;
            }
        }
        Some(self.backoff.failed(now, chance))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_connection_has_no_delay() {
        let now = Instant::now();
        let mut retry = Retry::new();
        let lost = CallError::Unknown("connection lost".to_owned());
        for _ in 0..10 {
            assert_eq!(retry.failed(&lost, false, now, 0.5), None);
            retry.succeeded(now);
        }
        assert_eq!(retry.failed(&CallError::NotConnected, true, now, 0.5), None);
    }

    #[test]
    fn a_request_that_costs_the_connection_is_slowed_down() {
        let now = Instant::now();
        let mut retry = Retry::new();
        let lost = CallError::Unknown("connection lost".to_owned());
        let waits: Vec<_> = (0..20).map(|_| retry.failed(&lost, false, now, 1.0)).collect();
        assert_eq!(waits[..3], [None; 3]);
        assert_eq!(waits[3], Some(RETRY_BACKOFF.min));
        assert_eq!(waits[19], Some(RETRY_BACKOFF.max));
    }

    #[test]
    fn a_refused_request_is_delayed() {
        let mut retry = Retry::new();
        let answer = CallError::Answer(zookeeper_client::Error::NoAuth);
        let wait = retry.failed(&answer, true, Instant::now(), 0.0);
        assert_eq!(wait, Some(RETRY_BACKOFF.min / 2));
    }
}
