//! What operators say of a service besides its checks, from wherever they say it. Pure, but for [`spool`].
//!
//! Every entry is heard at once: the words given through the API, which are kept until they are taken back or expire,
//! the files of hacheck's spool, and nerve's own stop. Any entry that says down wins over all others; only an operator
//! can force; without any of these the checks decide. A entry that falls silent or expires leaves the others as they are.

pub mod hacheck;
pub mod persisted;
pub mod spool;

use serde::{Deserialize, Serialize};

use crate::health::verdict::cut;
use crate::lifecycle::machine::Intent;

/// Who says something, why, and for how long.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// Why; may be empty.
    pub reason: String,
    /// Who; may be empty.
    pub author: String,
    /// Since when, milliseconds since the Unix epoch.
    pub since: u64,
    /// Until when, milliseconds since the Unix epoch; `None`: until it is taken back.
    pub expires: Option<u64>,
}

impl Metadata {
    /// A note; long texts are cut.
    pub fn new(reason: &str, author: &str, since: u64, expires: Option<u64>) -> Self {
        Self {
            reason: cut(reason.trim()),
            author: cut(author.trim()),
            since,
            expires,
        }
    }

    /// Whether it has not expired.
    pub fn holds(&self, now: u64) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }
}

/// Where a word comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The API.
    Operator,
    /// The file of this name in hacheck's spool.
    Hacheck(String),
    /// A hook said that the whole is about to stop.
    Hook,
    /// nerve stops.
    Stop,
}

/// What a word says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverrideKind {
    /// Not available whatever the checks say.
    Down,
    /// Available whatever the checks say.
    Forced,
    /// The full weight.
    Weight(u8),
}

/// A word that is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// Where it comes from.
    pub source: Source,
    /// What it says.
    pub kind: OverrideKind,
    /// Who says it, why, and for how long.
    pub note: Metadata,
}

/// What all overrides together say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The operator's word in short.
    pub intent: Intent,
    /// Why it is down; empty when nobody said why.
    pub why: String,
    /// The full weight, when one is told.
    pub weight: Option<u8>,
}

/// Down when any entry says so, else forced when one says so, else enabled.
pub fn decide(overrides: &[Override]) -> Decision {
    let of = |kind| overrides.iter().filter(move |entry| entry.kind == kind);
    let intent = if of(OverrideKind::Down).next().is_some() {
        Intent::Disabled
    } else if of(OverrideKind::Forced).next().is_some() {
        Intent::Forced
    } else {
        Intent::Enabled
    };
    let why = of(OverrideKind::Down)
        .map(|entry| &entry.note.reason)
        .find(|why| !why.is_empty());
    let weight = overrides.iter().find_map(|entry| match entry.kind {
        OverrideKind::Weight(weight) => Some(weight),
        OverrideKind::Down | OverrideKind::Forced => None,
    });
    Decision {
        intent,
        why: why.cloned().unwrap_or_default(),
        weight,
    }
}

#[cfg(test)]
mod tests;
