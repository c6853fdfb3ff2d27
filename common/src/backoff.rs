//! Capped exponential backoff with full jitter, forgotten only after a healthy spell.
//!
//! Pure: the clock and the chance are arguments.

use std::time::Duration;

use tokio::time::Instant;

/// The bounds of a [`Backoff`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackoffConfig {
    /// The ceiling of the first wait; every wait is at least half of it.
    pub min: Duration,
    /// The ceiling of every wait.
    pub max: Duration,
    /// How long things must have gone well before the next failure counts as the first again.
    pub healthy_after: Duration,
}

/// How long to wait before trying again.
#[derive(Debug, Clone)]
pub struct Backoff {
    config: BackoffConfig,
    failures: u32,
    healthy_since: Option<Instant>,
}

impl Backoff {
    /// A backoff that has seen no failure.
    pub fn new(config: BackoffConfig) -> Self {
        Self {
            config,
            failures: 0,
            healthy_since: None,
        }
    }

    /// Things work since `now`; a failure within `healthy_after` of it still counts on from the last one.
    pub fn succeeded(&mut self, now: Instant) {
        self.healthy_since.get_or_insert(now);
    }

    /// A failure at `now`: how long to wait before the next try. `chance` is uniform in `0.0..1.0`.
    pub fn failed(&mut self, now: Instant, chance: f64) -> Duration {
        if self
            .healthy_since
            .take()
            .is_some_and(|since| now.duration_since(since) >= self.config.healthy_after)
        {
            self.failures = 0;
        }
        let ceiling = self.config.max.min(
            self.config
                .min
                .saturating_mul(2_u32.saturating_pow(self.failures.min(16))),
        );
        self.failures = self.failures.saturating_add(1);
        let floor = self.config.min / 2;
        floor + ceiling.saturating_sub(floor).mul_f64(chance.clamp(0.0, 1.0))
    }

    /// How many failures in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}
