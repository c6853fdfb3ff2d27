//! What was said of a service through the API.

use serde::{Deserialize, Serialize};

use super::{Note, Says, Source, Voice};

/// The words of the API that are in force for one service; kept over restarts of nerve.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Words {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    standing: Option<(Standing, Note)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    weight: Option<(u8, Note)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Standing {
    Disabled,
    Forced,
}

impl Words {
    /// Down, until it is enabled.
    pub fn disable(&mut self, note: Note) {
        self.standing = Some((Standing::Disabled, note));
    }

    /// The checks decide again.
    pub fn enable(&mut self) {
        self.standing = None;
    }

    /// Available whatever the checks say.
    pub fn force(&mut self, note: Note) {
        self.standing = Some((Standing::Forced, note));
    }

    /// The full weight, 1 to 255; `None`: the configured one again.
    pub fn weigh(&mut self, weight: Option<(u8, Note)>) {
        self.weight = weight.filter(|(weight, _)| *weight > 0);
    }

    /// Forgets what has expired; says whether anything had.
    pub fn expire(&mut self, now: u64) -> bool {
        let standing = self.standing.take_if(|(_, note)| !note.holds(now)).is_some();
        let weight = self.weight.take_if(|(_, note)| !note.holds(now)).is_some();
        standing || weight
    }

    /// The words as voices.
    pub fn voices(&self) -> impl Iterator<Item = Voice> {
        let standing = self.standing.as_ref().map(|(standing, note)| {
            let says = match standing {
                Standing::Disabled => Says::Down,
                Standing::Forced => Says::Forced,
            };
            (says, note)
        });
        let weight = self.weight.as_ref().map(|(weight, note)| (Says::Weight(*weight), note));
        standing.into_iter().chain(weight).map(|(says, note)| Voice {
            source: Source::Operator,
            says,
            note: note.clone(),
        })
    }
}
