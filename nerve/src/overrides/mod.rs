//! What overrides the checks of a service: one set per service, edited by commands. Pure, but for [`spool`].
//!
//! All entries are in force at once: those set through the API, which persist until they are removed or expire, the files
//! of hacheck's spool, a pre-stop hook and nerve's own stop. Any entry that is down wins; only an operator can force; without
//! an entry the checks decide. An entry that is removed or expires leaves the others in force.

pub mod hacheck;
pub mod spool;

use serde::{Deserialize, Serialize};

use crate::health::verdict::cut;

/// The reason, author and time of an override.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// The reason; may be empty.
    pub reason: String,
    /// The author; may be empty.
    pub author: String,
    /// The start, milliseconds since the Unix epoch.
    pub since: u64,
    /// The end, milliseconds since the Unix epoch; without end when `None`.
    pub expires: Option<u64>,
}

impl Metadata {
    /// Returns metadata; long texts are cut.
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

/// The origin of an override.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The API.
    Operator,
    /// The file of this name in hacheck's spool.
    Hacheck(String),
    /// The pre-stop hook.
    Hook,
    /// The stop of nerve.
    Stop,
}

/// The effect of an override.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OverrideKind {
    /// Not available, independent of the checks.
    #[serde(rename = "disabled")]
    Down,
    /// Available, independent of the checks.
    Forced,
    /// The full weight.
    Weight(u8),
}

/// An override in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// Its origin.
    pub source: Source,
    /// Its effect.
    pub kind: OverrideKind,
    /// Its reason, author and time.
    pub metadata: Metadata,
}

/// The operator's intent: whether the checks decide on the availability.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Intent {
    /// The checks decide.
    #[default]
    Enabled,
    /// Available, independent of the checks.
    Forced,
    /// Not available, independent of the checks.
    Disabled,
}

impl Intent {
    /// `Status` in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Forced => "forced",
            Self::Disabled => "disabled",
        }
    }
}

/// The result of all overrides in force.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Effective {
    /// The availability.
    pub intent: Intent,
    /// Whether the shutdown command runs while the service is disabled.
    pub shutdown: bool,
    /// The first reason given for being down; may be empty.
    pub reason: String,
    /// The full weight; the configured one when `None`.
    pub weight: Option<u8>,
}

/// An edit of the overrides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Withdraws the service.
    Disable {
        /// Whether the shutdown command runs.
        shutdown: bool,
    },
    /// Withdraws the service as a stop does, until it is enabled or this nerve ends: it is about to be stopped.
    Leave,
    /// Leaves the availability to the checks.
    Enable,
    /// Makes the service available, independent of its checks.
    Force,
    /// Sets the full weight, 1 to 255; the configured one when `None`.
    Weight(Option<u8>),
}

impl Action {
    /// Whether it begins a disable sequence.
    pub fn withdraws(self) -> bool {
        matches!(self, Self::Disable { .. } | Self::Leave)
    }
}

/// The operator's overrides, which outlive nerve. Keys as in the state file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PersistedOverrides {
    #[serde(rename = "standing", default, skip_serializing_if = "Option::is_none")]
    availability: Option<(OverrideKind, Metadata)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    weight: Option<(u8, Metadata)>,
}

/// The overrides of one service.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// Those of the operator.
    pub persisted: PersistedOverrides,
    /// Those in force at the last [`Overrides::refresh`].
    pub in_force: Vec<Override>,
    /// Whether the operator's disable includes the shutdown command.
    operator_shutdown: bool,
    /// Ends with this process, because the next one starts with the next instance of the service.
    hook: Option<Metadata>,
    stop: Option<Metadata>,
}

impl Overrides {
    /// Returns the set that an earlier nerve saved.
    pub fn new(persisted: PersistedOverrides) -> Self {
        Self {
            persisted,
            ..Self::default()
        }
    }

    /// Edits the set.
    pub fn apply(&mut self, action: Action, metadata: Metadata) {
        match action {
            Action::Disable { shutdown } => {
                self.operator_shutdown = shutdown;
                self.persisted.availability = Some((OverrideKind::Down, metadata));
            }
            // Repeated calls join the first: the entry keeps its start.
            Action::Leave => {
                self.hook.get_or_insert(metadata);
            }
            Action::Weight(weight) => {
                self.persisted.weight = weight.filter(|weight| *weight > 0).map(|weight| (weight, metadata));
            }
            Action::Enable | Action::Force => {
                self.hook = None;
                self.persisted.availability = (action == Action::Force).then_some((OverrideKind::Forced, metadata));
            }
        }
    }

    /// Withdraws the service because nerve stops at `now`.
    pub fn stop(&mut self, now: u64) {
        self.stop = Some(Metadata::new("", "", now, None));
    }

    /// Removes expired entries and collects those in force, with `hacheck`'s. Returns whether any of the operator's expired.
    pub fn refresh(&mut self, hacheck: Vec<Override>, now: u64) -> bool {
        let PersistedOverrides { availability, weight } = &mut self.persisted;
        let expired = [
            availability.take_if(|(_, metadata)| !metadata.holds(now)).is_some(),
            weight.take_if(|(_, metadata)| !metadata.holds(now)).is_some(),
        ];
        let entry = |source, kind, metadata: &Metadata| Override {
            source,
            kind,
            metadata: metadata.clone(),
        };
        let availability = availability
            .iter()
            .map(|(kind, data)| entry(Source::Operator, *kind, data));
        let weight = weight
            .iter()
            .map(|(weight, data)| entry(Source::Operator, OverrideKind::Weight(*weight), data));
        let hook = self
            .hook
            .iter()
            .map(|data| entry(Source::Hook, OverrideKind::Down, data));
        let stop = self
            .stop
            .iter()
            .map(|data| entry(Source::Stop, OverrideKind::Down, data));
        self.in_force = availability
            .chain(weight)
            .chain(hacheck)
            .chain(hook)
            .chain(stop)
            .collect();
        expired.contains(&true)
    }

    /// Returns the entries that keep the service down.
    pub fn down(&self) -> impl Iterator<Item = &Override> {
        self.in_force.iter().filter(|entry| entry.kind == OverrideKind::Down)
    }

    /// Returns the result of the entries in force: disabled when any is down, else forced when one is, else enabled.
    pub fn effective(&self) -> Effective {
        let is_forced = self.in_force.iter().any(|entry| entry.kind == OverrideKind::Forced);
        let intent = match self.down().next() {
            Some(_) => Intent::Disabled,
            None if is_forced => Intent::Forced,
            None => Intent::Enabled,
        };
        let shutdown = self.down().any(|entry| match entry.source {
            Source::Operator => self.operator_shutdown,
            Source::Hacheck(_) => false,
            Source::Hook | Source::Stop => true,
        });
        let mut reasons = self.down().map(|entry| &entry.metadata.reason);
        let reason = reasons.find(|reason| !reason.is_empty());
        let weight = self.in_force.iter().find_map(|entry| match entry.kind {
            OverrideKind::Weight(weight) => Some(weight),
            OverrideKind::Down | OverrideKind::Forced => None,
        });
        Effective {
            intent,
            shutdown,
            reason: reason.cloned().unwrap_or_default(),
            weight,
        }
    }
}

#[cfg(test)]
mod tests;
