//! Polling with growing delays, for what HAProxy applies some time after its reply.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// The delay after the first attempt; it doubles after each further one.
const MIN_DELAY: Duration = Duration::from_millis(1);
const MAX_DELAY: Duration = Duration::from_millis(50);

/// The delays between the attempts of one poll.
#[derive(Debug)]
pub(crate) struct Poll {
    until: Instant,
    delay: Duration,
}

impl Poll {
    /// Starts a poll that ends after `timeout`.
    pub(crate) fn new(timeout: Duration) -> Self {
        Self {
            until: Instant::now() + timeout,
            delay: MIN_DELAY,
        }
    }

    /// Waits until the next attempt is due; returns `false` at once when the time is over.
    pub(crate) async fn wait(&mut self) -> bool {
        let in_time = Instant::now() < self.until;
        if in_time {
            sleep(self.delay).await;
            self.delay = (self.delay * 2).min(MAX_DELAY);
        }
        in_time
    }
}
