//! One task per check: probes at its interval, never two at once, and sends every verdict to its service.
//!
//! A probe that takes longer than the interval delays the next. The interval is jittered by a tenth, so that many
//! checks do not fall into step.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Check;
use crate::health::verdict::Verdict;
use crate::metrics::CheckMetrics;

/// A check with what it needs to run.
#[derive(Debug)]
pub struct Runner {
    /// The check.
    pub check: Check,
    /// Its place among its service's checks.
    pub index: usize,
    /// How long it waits before the first probe: checks start spread over their interval.
    pub delay: Duration,
    /// Where verdicts go. Bounded: nothing is lost, and a service never lets it wait.
    pub verdicts: mpsc::Sender<(usize, Verdict)>,
    /// What is counted.
    pub metrics: CheckMetrics,
}

impl Runner {
    /// Probes until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        stop.run_until_cancelled(self.probe_for_ever()).await;
    }

    async fn probe_for_ever(&self) {
        let mut next = Instant::now() + self.delay;
        let mut free = next;
        loop {
            sleep_until(next).await;
            let started = Instant::now();
            // A probe that outlasts its interval is the service's slowness, not ours.
            self.metrics.started(started - next.max(free));
            next = started + jittered(self.check.config.interval, fastrand::f64());
            let outcome = self.check.probe().await;
            free = Instant::now();
            let latency = free - started;
            self.metrics.observe(latency, outcome.is_ok());
            let verdict = Verdict {
                at: common::clock::unix_millis(),
                latency,
                outcome,
            };
            if self.verdicts.send((self.index, verdict)).await.is_err() {
                // The service stopped before its checks.
                std::future::pending::<()>().await;
            }
        }
    }
}

/// `interval`, give or take a tenth. `chance` is uniform in `0.0..1.0`.
fn jittered(interval: Duration, chance: f64) -> Duration {
    interval.mul_f64(0.9 + 0.2 * chance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_is_a_tenth() {
        let second = Duration::from_secs(1);
        assert_eq!(jittered(second, 0.0), Duration::from_millis(900));
        assert_eq!(jittered(second, 0.5), second);
        assert!(jittered(second, 0.999) < Duration::from_millis(1100));
    }
}
