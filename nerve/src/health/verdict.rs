//! The result of one probe, and of all checks together.

use std::error::Error;
use std::time::Duration;

use common::config::SecretError;
use common::ratio::PerMille;

/// The outcome of one probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// When it ended, milliseconds since the Unix epoch.
    pub at: u64,
    /// How long it took.
    pub latency: Duration,
    /// What was seen (may be empty), or why it failed.
    pub outcome: Result<String, Failure>,
}

/// Why a probe failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What kind of failure.
    pub kind: FailureKind,
    /// What exactly, at most [`DETAIL_CAP`] bytes.
    pub detail: String,
}

/// The kinds of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// No answer within the deadline.
    Timeout,
    /// The host's name has no address.
    Unresolved,
    /// No connection, or it broke.
    Connection,
    /// An answer that is not a healthy one.
    Answer,
    /// The program can't be run, the file system does not answer.
    Program,
    /// A secret that the check needs can't be read, or makes no sense.
    Secret,
}

impl FailureKind {
    /// As `Failure` in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Unresolved => "unresolved",
            Self::Connection => "connection",
            Self::Answer => "answer",
            Self::Program => "program",
            Self::Secret => "secret",
        }
    }
}

/// How much of a failure's text is kept: it ends up in `/status` and, with `exposeOnUnavailable`, in ZooKeeper.
pub const DETAIL_CAP: usize = 512;

impl Failure {
    /// A failure; a long detail is cut.
    pub fn new(kind: FailureKind, detail: impl AsRef<str>) -> Self {
        Self {
            kind,
            detail: cut(detail.as_ref().trim()),
        }
    }
}

impl From<SecretError> for Failure {
    fn from(error: SecretError) -> Self {
        let cause = error.source().map(|cause| format!(" ({cause})")).unwrap_or_default();
        Self::new(FailureKind::Secret, format!("{error}{cause}"))
    }
}

/// The first [`DETAIL_CAP`] bytes, ending at a character; control characters become spaces.
pub fn cut(text: &str) -> String {
    let mut kept = String::new();
    for c in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
        if kept.len() + c.len_utf8() > DETAIL_CAP {
            break;
        }
        kept.push(c);
    }
    kept
}

/// The health of a service by all its checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// At least one check has not reported yet.
    Unknown,
    /// All pass.
    Healthy,
    /// All required ones pass; an advisory one fails.
    Degraded {
        /// What is left of the weight.
        share: PerMille,
        /// The reason of the first that fails.
        reason: String,
    },
    /// At least one required one fails: the reason of the first.
    Unhealthy(String),
}

/// What a check's failure does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Importance {
    /// It takes the service away.
    Required,
    /// It leaves this share of its weight.
    Advisory(PerMille),
}

/// What one check kind: `None` when it has not reported, `Some(Err)` with its reason when it fails.
pub type CheckResult<'a> = Option<Result<(), &'a str>>;

impl Health {
    /// All must have reported; all that are required must pass; the shares of advisory ones that fail are multiplied.
    pub fn of<'a>(checks: impl IntoIterator<Item = (Importance, CheckResult<'a>)>) -> Self {
        let mut health = Self::Healthy;
        for (importance, word) in checks {
            match (word, importance, &mut health) {
                (None, _, _) => return Self::Unknown,
                (Some(Ok(())), _, _) | (_, _, Self::Unhealthy(_)) => {}
                (Some(Err(reason)), Importance::Required, _) => health = Self::Unhealthy(reason.to_owned()),
                (Some(Err(_)), Importance::Advisory(more), Self::Degraded { share, .. }) => {
                    *share = share.times(more);
                }
                (Some(Err(reason)), Importance::Advisory(share), _) => {
                    let reason = reason.to_owned();
                    health = Self::Degraded { share, reason };
                }
            }
        }
        health
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_check_must_have_reported_and_pass() {
        let health = |words: [CheckResult<'_>; 3]| Health::of(words.map(|word| (Importance::Required, word)));
        assert_eq!(health([Some(Ok(())), None, Some(Err("x"))]), Health::Unknown);
        assert_eq!(health([Some(Ok(())); 3]), Health::Healthy);
        let bad = health([Some(Ok(())), Some(Err("first")), Some(Err("second"))]);
        assert_eq!(bad, Health::Unhealthy("first".to_owned()));
    }

    #[test]
    fn advisory_checks_lower_the_weight_and_take_nothing_away() {
        let half = Importance::Advisory(PerMille::from_percent(50));
        let degraded_reason = |percent, reason: &str| Health::Degraded {
            share: PerMille::from_percent(percent),
            reason: reason.to_owned(),
        };
        let required = (Importance::Required, Some(Ok(())));
        assert_eq!(
            Health::of([required, (half, Some(Err("slow")))]),
            degraded_reason(50, "slow")
        );
        let both = [(half, Some(Err("slow"))), (half, Some(Err("full"))), required];
        assert_eq!(Health::of(both), degraded_reason(25, "slow"));
        let one = [(half, Some(Err("slow"))), (Importance::Required, Some(Err("down")))];
        assert_eq!(Health::of(one), Health::Unhealthy("down".to_owned()));
        let unheard = [required, (half, None)];
        assert_eq!(Health::of(unheard), Health::Unknown);
    }

    proptest! {
        #[test]
        fn a_detail_is_short_and_on_one_line(text in ".{0,2000}") {
            let kept = cut(&text);
            prop_assert!(kept.len() <= DETAIL_CAP);
            prop_assert!(!kept.chars().any(char::is_control));
        }
    }
}
