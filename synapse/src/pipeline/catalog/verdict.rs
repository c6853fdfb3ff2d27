//! The verdict on a candidate. Pure.

use std::fmt;
use std::num::NonZeroU16;
use std::sync::Arc;

use crate::config::{Condition, Scope};

/// Why a candidate is left out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Verdict {
    /// Its registration marks it as unavailable.
    #[error("not available: {}", if .0.is_empty() { "no reason given" } else { .0 })]
    NotAvailable(String),
    /// A label filter does not hold.
    #[error("labelFilters: {label} is {}, and `{condition}` is required", Value(.value.as_deref()))]
    Filtered {
        /// The label.
        label: String,
        /// What it has there.
        value: Option<String>,
        /// What it should have.
        condition: Condition,
    },
    /// A newer node registers the same address.
    #[error("duplicate of {0}, which is newer")]
    DuplicateOf(Arc<str>),
    /// Another node has a lower sequence number.
    #[error("leaderElection: the leader is {0}")]
    Follower(Arc<str>),
    /// There is no leader while this node takes part.
    #[error("leaderElection: there is no leader while {0} has no sequence number")]
    NoLeader(Arc<str>),
    /// It is in another zone than this host, and `policy` is `require`.
    #[error("zone: it is in {}, and {local} is required", Value(.zone.as_deref()))]
    OtherZone {
        /// Its zone.
        zone: Option<String>,
        /// This host's.
        local: String,
    },
    /// Another service uses it.
    #[error("excluded by serverCorrelation: {service} {}", match .scope { Scope::First => "has it first", Scope::All => "uses it" })]
    ExcludedBy {
        /// The other service.
        service: String,
        /// How much of it is left out.
        scope: Scope,
    },
    /// This host uses others.
    #[error("subsetSize: not among the {0} that this host uses")]
    NotInSubset(usize),
}

/// A note on a server that is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// One of `defaultServers`.
    Default,
    /// One of those that were used before nothing was left: `usePreviousServers`.
    Previous,
    /// It has this port by `portOverride`.
    Port(NonZeroU16),
    /// It takes traffic only while no local server can.
    Backup {
        /// Its zone.
        zone: Option<String>,
    },
    /// Its weight holds the part of its zone.
    Weight {
        /// What it has.
        used: u16,
        /// What it would have.
        registered: u16,
        /// Its zone.
        zone: Option<String>,
    },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("a default server"),
            Self::Previous => f.write_str("used before, and nothing else is left"),
            Self::Port(port) => write!(f, "port {port} by portOverride"),
            Self::Backup { zone } => write!(f, "backup, being in {}", Value(zone.as_deref())),
            Self::Weight { used, registered, zone } => {
                write!(
                    f,
                    "weight {used} (registered: {registered}), being in {}",
                    Value(zone.as_deref())
                )
            }
        }
    }
}

/// The value of a label that may not be there.
struct Value<'v>(Option<&'v str>);

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.unwrap_or("(unknown)"))
    }
}
