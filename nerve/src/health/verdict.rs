//! What one probe said, and what all checks together say.

use std::error::Error;
use std::time::Duration;

use common::config::SecretError;

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
    pub fn word(self) -> &'static str {
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

/// What all checks of a service say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// At least one check has not reported yet.
    Unknown,
    /// All pass.
    Healthy,
    /// At least one fails: the reason of the first.
    Unhealthy(String),
}

impl Health {
    /// All must pass. `None` is a check that has not reported; `Some(Err)` one that fails, with its reason.
    pub fn of<'a>(checks: impl IntoIterator<Item = Option<Result<(), &'a str>>>) -> Self {
        let mut health = Self::Healthy;
        for check in checks {
            match check {
                None => return Self::Unknown,
                Some(Err(reason)) if health == Self::Healthy => health = Self::Unhealthy(reason.to_owned()),
                Some(_) => {}
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
        assert_eq!(Health::of([Some(Ok(())), None, Some(Err("x"))]), Health::Unknown);
        assert_eq!(Health::of([Some(Ok(())), Some(Ok(()))]), Health::Healthy);
        let bad = Health::of([Some(Ok(())), Some(Err("first")), Some(Err("second"))]);
        assert_eq!(bad, Health::Unhealthy("first".to_owned()));
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
