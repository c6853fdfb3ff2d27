//! The service reports itself: each heartbeat holds for its time to live, then the check fails.
//!
//! The check has no result before the first heartbeat or before the first time to live has passed, so that a restart of
//! nerve does not withdraw a service that is about to report.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::config::PushConfig;
use crate::health::verdict::{Failure, FailureKind};

/// A service's report of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// Whether it is well.
    pub passing: bool,
    /// Its note.
    pub note: String,
    /// How long it holds.
    pub ttl: Duration,
}

#[derive(Debug)]
struct Heard {
    heartbeat: Heartbeat,
    at: Instant,
}

/// Where heartbeats of one check go in.
#[derive(Debug, Clone)]
pub struct Mailbox {
    /// The check's name.
    pub name: String,
    /// How long a heartbeat without a time to live holds.
    pub ttl: Duration,
    heard: watch::Sender<Option<Heard>>,
}

impl Mailbox {
    /// Takes a heartbeat in.
    pub fn push(&self, heartbeat: Heartbeat) {
        let at = Instant::now();
        self.heard.send_replace(Some(Heard { heartbeat, at }));
    }
}

#[derive(Debug)]
pub(super) struct PushProbe {
    pub(super) mailbox: Mailbox,
    started: Instant,
}

impl PushProbe {
    pub(super) fn new(PushConfig { name, ttl }: &PushConfig) -> Self {
        Self {
            mailbox: Mailbox {
                name: name.clone(),
                ttl: *ttl,
                heard: watch::Sender::new(None),
            },
            started: Instant::now(),
        }
    }

    pub(super) async fn probe(&self) -> Result<String, Failure> {
        let mut heard = self.mailbox.heard.subscribe();
        let first = heard.wait_for(Option::is_some);
        let verdict = match timeout_at(self.started + self.mailbox.ttl, first).await {
            Ok(Ok(heard)) => heard.as_ref().map(|heard| judge(heard, Instant::now())),
            _ => None,
        };
        let ttl = self.mailbox.ttl;
        verdict.unwrap_or_else(|| {
            Err(Failure::new(
                FailureKind::Timeout,
                format!("no heartbeat within {ttl:?}"),
            ))
        })
    }
}

fn judge(Heard { heartbeat, at }: &Heard, now: Instant) -> Result<String, Failure> {
    let Heartbeat { passing, note, ttl } = heartbeat;
    if now.saturating_duration_since(*at) > *ttl {
        let text = format!("the last heartbeat is older than {ttl:?}");
        return Err(Failure::new(FailureKind::Timeout, text));
    }
    match (passing, note.as_str()) {
        (true, note) => Ok(note.to_owned()),
        (false, "") => Err(Failure::new(
            FailureKind::Answer,
            "the service reports that it is not healthy",
        )),
        (false, note) => Err(Failure::new(FailureKind::Answer, note)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(10);

    fn heartbeat(passing: bool) -> Heartbeat {
        Heartbeat {
            passing,
            note: "words".to_owned(),
            ttl: TTL,
        }
    }

    #[test]
    fn a_heartbeat_holds_for_its_time() {
        let at = Instant::now();
        let heard = |passing| Heard {
            heartbeat: heartbeat(passing),
            at,
        };
        assert_eq!(judge(&heard(true), at + TTL), Ok("words".to_owned()));
        let late = judge(&heard(true), at + TTL + Duration::from_millis(1));
        assert_eq!(late.expect_err("stale").kind, FailureKind::Timeout);
        let unwell = judge(&heard(false), at).expect_err("not well");
        assert_eq!((unwell.kind, unwell.detail.as_str()), (FailureKind::Answer, "words"));
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_word_is_waited_for() {
        let probe = PushProbe::new(&PushConfig {
            name: "push".to_owned(),
            ttl: TTL,
        });
        let started = Instant::now();
        assert_eq!(probe.probe().await.expect_err("no report").kind, FailureKind::Timeout);
        assert!(started.elapsed() >= TTL);
        probe.mailbox.push(heartbeat(true));
        assert!(probe.probe().await.is_ok());
        assert!(started.elapsed() < 2 * TTL, "later probes do not wait");
    }
}
