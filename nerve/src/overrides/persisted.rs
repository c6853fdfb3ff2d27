//! What was said of a service through the API.

use serde::{Deserialize, Serialize};

use super::{Metadata, Override, OverrideKind, Source};

/// The words of the API that are in force for one service; kept over restarts of nerve.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PersistedOverrides {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    standing: Option<(Entry, Metadata)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    weight: Option<(u8, Metadata)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Entry {
    Disabled,
    Forced,
}

impl PersistedOverrides {
    /// Down, until it is enabled.
    pub fn disable(&mut self, note: Metadata) {
        self.standing = Some((Entry::Disabled, note));
    }

    /// The checks decide again.
    pub fn enable(&mut self) {
        self.standing = None;
    }

    /// Available whatever the checks say.
    pub fn force(&mut self, note: Metadata) {
        self.standing = Some((Entry::Forced, note));
    }

    /// The full weight, 1 to 255; `None`: the configured one again.
    pub fn weigh(&mut self, weight: Option<(u8, Metadata)>) {
        self.weight = weight.filter(|(weight, _)| *weight > 0);
    }

    /// Forgets what has expired; says whether anything had.
    pub fn expire(&mut self, now: u64) -> bool {
        let standing = self.standing.take_if(|(_, note)| !note.holds(now)).is_some();
        let weight = self.weight.take_if(|(_, note)| !note.holds(now)).is_some();
        standing || weight
    }

    /// The words as overrides.
    pub fn overrides(&self) -> impl Iterator<Item = Override> {
        let standing = self.standing.as_ref().map(|(standing, note)| {
            let kind = match standing {
                Entry::Disabled => OverrideKind::Down,
                Entry::Forced => OverrideKind::Forced,
            };
            (kind, note)
        });
        let weight = self
            .weight
            .as_ref()
            .map(|(weight, note)| (OverrideKind::Weight(*weight), note));
        standing.into_iter().chain(weight).map(|(kind, note)| Override {
            source: Source::Operator,
            kind,
            note: note.clone(),
        })
    }
}
