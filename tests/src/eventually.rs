//! Waiting for a condition with a deadline in place of sleeping; when it passes, the last observation is reported.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(10);

/// A condition that did not come true in time.
#[derive(Debug, thiserror::Error)]
#[error("{what}: not within {within:?}; last seen: {last}")]
pub struct TooLate {
    what: String,
    within: Duration,
    last: String,
}

/// Calls `probe` until it returns `Ok`; its last `Err` explains the failure.
pub async fn wait_for<T>(
    what: &str,
    within: Duration,
    mut probe: impl AsyncFnMut() -> Result<T, String>,
) -> Result<T, TooLate> {
    let deadline = Instant::now() + within;
    loop {
        match probe().await {
            Ok(found) => return Ok(found),
            Err(last) if Instant::now() >= deadline => {
                return Err(TooLate {
                    what: what.to_owned(),
                    within,
                    last,
                });
            }
            Err(_) => sleep(POLL).await,
        }
    }
}

/// [`wait_for`], for a test: panics when it is too late.
pub async fn eventually<T>(what: &str, within: Duration, probe: impl AsyncFnMut() -> Result<T, String>) -> T {
    wait_for(what, within, probe)
        .await
        .unwrap_or_else(|too_late| panic!("{too_late}"))
}

/// Calls `probe` during the whole of `span` and panics at its first `Err`: what must stay true.
pub async fn throughout(what: &str, span: Duration, mut probe: impl AsyncFnMut() -> Result<(), String>) {
    let started = Instant::now();
    while started.elapsed() < span {
        if let Err(seen) = probe().await {
            panic!("{what}: broken after {:?} of {span:?}: {seen}", started.elapsed());
        }
        sleep(POLL).await;
    }
}

/// `Ok` when `condition` holds, else what was seen instead.
pub fn ensure(condition: bool, seen: impl FnOnce() -> String) -> Result<(), String> {
    if condition { Ok(()) } else { Err(seen()) }
}
