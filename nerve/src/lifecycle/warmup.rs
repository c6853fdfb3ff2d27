//! The weight ramp: Fibonacci steps up to the full weight, as Go-Nerve's.

use tokio::time::Instant;

use crate::config::WarmUpConfig;

/// The share of the full weight at each step, of 233.
const SHARES: [u32; 13] = [0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233];
/// A warm-up lasts this many intervals: the steps, then ten at full weight in which the stability command still runs.
pub const INTERVALS: u32 = 23;

/// The weight at `step`, of a service whose full weight is `full`: at least 1, never falling, and `full` at the end.
pub fn weight(step: u32, full: u8) -> u8 {
    let share = usize::try_from(step)
        .ok()
        .and_then(|step| SHARES.get(step))
        .unwrap_or(&233);
    let weight = (share * u32::from(full)).div_ceil(233).max(1);
    u8::try_from(weight).unwrap_or(full)
}

/// A warm-up under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WarmUp {
    /// The step it is at.
    pub step: u32,
    started: Instant,
    next_step: Instant,
    /// When the stability command runs next; `None` while it runs, or when there is none.
    pub next_stable: Option<Instant>,
}

impl WarmUp {
    /// At its first step.
    pub fn start(now: Instant, config: &WarmUpConfig) -> Self {
        Self {
            step: 0,
            started: now,
            next_step: now + config.interval,
            next_stable: config.stable.as_ref().map(|_| now),
        }
    }

    /// When something is due.
    pub fn wake_at(&self) -> Instant {
        self.next_stable
            .map_or(self.next_step, |stable| stable.min(self.next_step))
    }

    /// Moves one step when it is due and somebody has the report; says whether the warm-up is over.
    pub fn advance(&mut self, now: Instant, reported: bool, config: &WarmUpConfig) -> bool {
        if now >= self.next_step {
            self.next_step = now + config.interval;
            if reported {
                self.step += 1;
            }
        }
        self.step >= INTERVALS || now.duration_since(self.started) >= config.max
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_ramp_to_255_is_the_originals() {
        let ramp: Vec<_> = (0..13).map(|step| weight(step, 255)).collect();
        assert_eq!(ramp, [1, 2, 3, 4, 6, 9, 15, 23, 38, 61, 98, 158, 255]);
    }

    proptest! {
        #[test]
        fn the_ramp_never_falls_and_ends_at_the_weight(full in 1_u8..=255) {
            let ramp: Vec<_> = (0..40).map(|step| weight(step, full)).collect();
            prop_assert!(ramp.is_sorted());
            prop_assert_eq!(ramp[0], 1);
            prop_assert!(ramp[12..].iter().all(|&weight| weight == full));
        }
    }
}
