//! What operators say of a service besides its checks, from wherever they say it. Pure, but for [`spool`].
//!
//! Every voice is heard at once: the words given through the API, which are kept until they are taken back or expire,
//! the files of hacheck's spool, and nerve's own stop. Any voice that says down wins over all others; only an operator
//! can force; without any of these the checks decide. A voice that falls silent or expires leaves the others as they are.

pub mod hacheck;
pub mod spool;
pub mod words;

use serde::{Deserialize, Serialize};

use crate::health::verdict::cut;
use crate::lifecycle::machine::Intent;

/// Who says something, why, and for how long.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Why; may be empty.
    pub reason: String,
    /// Who; may be empty.
    pub author: String,
    /// Since when, milliseconds since the Unix epoch.
    pub since: u64,
    /// Until when, milliseconds since the Unix epoch; `None`: until it is taken back.
    pub expires: Option<u64>,
}

impl Note {
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
pub enum Says {
    /// Not available whatever the checks say.
    Down,
    /// Available whatever the checks say.
    Forced,
    /// The full weight.
    Weight(u8),
}

/// A word that is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Voice {
    /// Where it comes from.
    pub source: Source,
    /// What it says.
    pub says: Says,
    /// Who says it, why, and for how long.
    pub note: Note,
}

/// What all voices together say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The operator's word in short.
    pub intent: Intent,
    /// Why it is down; empty when nobody said why.
    pub why: String,
    /// The full weight, when one is told.
    pub weight: Option<u8>,
}

/// Down when any voice says so, else forced when one says so, else enabled.
pub fn decide(voices: &[Voice]) -> Decision {
    let of = |says| voices.iter().filter(move |voice| voice.says == says);
    let intent = if of(Says::Down).next().is_some() {
        Intent::Disabled
    } else if of(Says::Forced).next().is_some() {
        Intent::Forced
    } else {
        Intent::Enabled
    };
    let why = of(Says::Down)
        .map(|voice| &voice.note.reason)
        .find(|why| !why.is_empty());
    let weight = voices.iter().find_map(|voice| match voice.says {
        Says::Weight(weight) => Some(weight),
        Says::Down | Says::Forced => None,
    });
    Decision {
        intent,
        why: why.cloned().unwrap_or_default(),
        weight,
    }
}

#[cfg(test)]
mod tests;
