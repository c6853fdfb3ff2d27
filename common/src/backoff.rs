//! Capped exponential backoff with full jitter, reset only after a healthy period.
//!
//! Pure: the clock and the chance are arguments.

use std::time::Duration;

use tokio::time::Instant;

/// The bounds of a [`Backoff`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackoffConfig {
    /// Upper bound of the first delay; every delay is at least half of it.
    pub min: Duration,
    /// Upper bound of every delay.
    pub max: Duration,
    /// Healthy period after which the next failure counts as the first again.
    pub healthy_after: Duration,
}

/// The delay before the next attempt.
///
/// ```
/// use std::time::Duration;
/// use common::backoff::{Backoff, BackoffConfig};
/// use tokio::time::Instant;
///
/// let (second, now) = (Duration::from_secs(1), Instant::now());
/// let mut backoff = Backoff::new(BackoffConfig { min: second, max: 5 * second, healthy_after: 10 * second });
/// let delays = [1.0, 1.0, 1.0, 1.0].map(|chance| backoff.failed(now, chance).as_secs());
/// assert_eq!(delays, [1, 2, 4, 5]);
/// ```
#[derive(Debug, Clone)]
pub struct Backoff {
    config: BackoffConfig,
    failures: u32,
    healthy_since: Option<Instant>,
}

impl Backoff {
    /// Returns a backoff without failures.
    pub fn new(config: BackoffConfig) -> Self {
        Self {
            config,
            failures: 0,
            healthy_since: None,
        }
    }

    /// Records a success at `now`; a failure within `healthy_after` of it still continues the series.
    pub fn succeeded(&mut self, now: Instant) {
        self.healthy_since.get_or_insert(now);
    }

    /// Records a failure at `now` and returns the delay before the next attempt. `chance` is uniform in `0.0..1.0`.
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
        let floor = ceiling.min(self.config.min / 2);
        floor + ceiling.saturating_sub(floor).mul_f64(chance.clamp(0.0, 1.0))
    }

    /// Returns the number of consecutive failures.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn config() -> impl Strategy<Value = BackoffConfig> {
        (1_u32..100_000, 0_u32..100_000_000, 0_u32..100_000).prop_map(|(min, above, healthy)| BackoffConfig {
            min: min * MS,
            max: (min + above) * MS,
            healthy_after: healthy * MS,
        })
    }

    proptest! {
        #[test]
        fn every_wait_is_within_its_bounds(config in config(), chances in prop::collection::vec(0.0..1.0, 1..60)) {
            let (mut backoff, now) = (Backoff::new(config), Instant::now());
            for (before, chance) in chances.into_iter().enumerate() {
                prop_assert_eq!(backoff.failures() as usize, before);
                let wait = backoff.failed(now, chance);
                prop_assert!(wait >= config.min / 2 && wait <= config.max);
                prop_assert!(before > 0 || wait <= config.min);
            }
        }

        #[test]
        fn the_ceiling_doubles_until_it_is_the_greatest(config in config()) {
            let (mut backoff, now) = (Backoff::new(config), Instant::now());
            let mut expected = config.min;
            for _ in 0..16 {
                let ceiling = backoff.failed(now, 1.0);
                prop_assert!(ceiling.abs_diff(expected) < MS / 100, "{ceiling:?} {expected:?}");
                expected = (expected * 2).min(config.max);
            }
        }

        #[test]
        fn only_a_healthy_period_resets_it(config in config(), failures in 1_u32..40, spell in 0_u32..200_000, again in 0_u32..200_000) {
            let (mut backoff, start) = (Backoff::new(config), Instant::now());
            for _ in 0..failures {
                backoff.failed(start, 0.5);
            }
            backoff.succeeded(start);
            // Another success does not begin a new period.
            backoff.succeeded(start + spell.min(again) * MS);
            backoff.failed(start + spell * MS, 0.5);
            let healthy = spell * MS >= config.healthy_after;
            prop_assert_eq!(backoff.failures(), if healthy { 1 } else { failures + 1 });
            // That period is over: time alone does not reset it.
            let before = backoff.failures();
            backoff.failed(start + spell * MS + config.healthy_after * 2, 0.5);
            prop_assert_eq!(backoff.failures(), before + 1);
        }
    }

    #[test]
    fn a_ceiling_below_the_least_wait_still_holds() {
        let mut backoff = Backoff::new(BackoffConfig {
            min: 100 * MS,
            max: 10 * MS,
            healthy_after: MS,
        });
        assert_eq!(backoff.failed(Instant::now(), 1.0), 10 * MS);
    }
}
