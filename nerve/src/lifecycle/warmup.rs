//! The weight ramp: steps up to the full weight, in Go-Nerve's or another shape.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::config::warmup_shape::INTERVALS;
use crate::config::{Unstable, WarmUpConfig};

/// The warm-up progress of a service, from which a restarted nerve resumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WarmUpProgress {
    /// The step; [`INTERVALS`] when the service is warm.
    pub step: u32,
    /// The duration of the warm-up so far, in milliseconds.
    pub ran: u64,
}

impl WarmUpProgress {
    /// The progress of a warm service.
    pub const WARM: Self = Self {
        step: INTERVALS,
        ran: 0,
    };
}

/// A running warm-up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WarmUp {
    /// The current step.
    pub step: u32,
    /// The duration before nerve was restarted.
    before: Duration,
    started: Instant,
    next_step: Instant,
    /// The next start of the stability command; `None` while it runs, or when there is none.
    pub next_stable: Option<Instant>,
    /// The last result of the stability command.
    stable: bool,
}

impl WarmUp {
    /// Starts at the first step, or resumes.
    pub fn start(now: Instant, config: &WarmUpConfig, from: Option<WarmUpProgress>) -> Self {
        let from = from.unwrap_or(WarmUpProgress { step: 0, ran: 0 });
        Self {
            step: from.step,
            before: Duration::from_millis(from.ran),
            started: now,
            next_step: now + config.interval,
            next_stable: config.stable.as_ref().map(|_| now),
            stable: true,
        }
    }

    /// Returns the time of the next tick.
    pub fn wake_at(&self) -> Instant {
        self.next_stable
            .map_or(self.next_step, |stable| stable.min(self.next_step))
    }

    /// Returns the progress.
    pub fn progress(&self, now: Instant) -> WarmUpProgress {
        WarmUpProgress {
            step: self.step,
            ran: u64::try_from(self.ran(now).as_millis()).unwrap_or(u64::MAX),
        }
    }

    fn ran(&self, now: Instant) -> Duration {
        self.before.saturating_add(now.duration_since(self.started))
    }

    /// Advances one step if it is due, the service is stable and a report is delivered. Returns whether the warm-up is over.
    pub fn advance(&mut self, now: Instant, reported: bool, config: &WarmUpConfig) -> bool {
        if now >= self.next_step {
            self.next_step = now + config.interval;
            if reported && self.stable {
                self.step += 1;
            }
        }
        self.step >= INTERVALS || self.ran(now) >= config.max
    }

    /// Applies the end of the stability command.
    pub fn stability(&mut self, stable: bool, now: Instant, config: &WarmUpConfig) {
        self.next_stable = config.stable.as_ref().map(|command| now + command.interval);
        self.stable = stable;
        if !stable && config.unstable == Unstable::Reset {
            self.step = 0;
        }
    }
}
