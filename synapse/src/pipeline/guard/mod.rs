//! Holds back removals that a failing registry causes. Pure.
//!
//! ```text
//! WatcherState ─▶ GuardState::step ─▶ WatcherState with the held among its candidates ─▶ catalog
//!                     ▲ Health, Guard (policy), an operator's command, the time
//! ```
//!
//! An instance *vanishes* when neither its node nor its address is listed any more. An instance marked as unavailable has
//! not vanished, because its own nerve withdrew it; nor has one whose check fails in HAProxy, because two witnesses agree.
//! Of the rest, a vanishing is doubted in two cases, and then the instance is *held*, in rotation as before:
//!
//! - **The source is young**: it was away for [`MIN_OUTAGE`] or more and has been back for less than `settle`. The sessions
//!   of the instances' own registrars may have expired meanwhile, so even a single vanishing is doubted. After `settle`,
//!   those that are still missing are judged together, by the next rule.
//! - **Too many vanish**: more than `share` of the largest set within `window`, and at least `least`; or the last one, with
//!   another within `window`. Those up to [`BURST_WINDOW`] before are restored; earlier ones stay removed.
//!
//! A held instance is released when its check fails, when it is listed again, when as many are listed as there were (they
//! were replaced), when `holdTime` has passed, or when an operator releases it. While the source is away, no hold expires,
//! because there is no newer information.
//!
//! With the policy `defaults` those that are held are not used; that there are any is what the service's default servers
//! are added for ([`Guarded::needs_help`]).
//!
//! What was remembered from before a start ([`crate::snapshot`]) is shown as long as the source has never answered, and
//! its first answer is judged like any other.

mod sliding_max;
mod state;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::watcher::{Candidate, WatcherState};

pub use state::{GuardState, Step};

/// Shortest interruption that makes a source young: ZooKeeper grants no session shorter than two of its ticks (4 s by
/// default), so no session has expired in a shorter one.
pub const MIN_OUTAGE: Duration = Duration::from_secs(1);

/// Removals within this window count as one event. Shorter than any graceful drain.
pub const BURST_WINDOW: Duration = Duration::from_secs(1);

/// Why a removal is held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldReason {
    /// The source is back for a short time only.
    Young,
    /// So many of so many have gone within the window.
    Share {
        /// How many.
        gone: usize,
        /// Of how many.
        of: usize,
    },
    /// No instance is left, and so many have vanished within the window.
    Empty {
        /// How many.
        gone: usize,
    },
}

impl HoldReason {
    /// A command of a fixed set, for metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Young => "young",
            Self::Share { .. } => "share",
            Self::Empty { .. } => "empty",
        }
    }
}

/// All values of [`HoldReason::label`].
pub const LABELS: [&str; 3] = ["young", "share", "empty"];

impl fmt::Display for HoldReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Young => f.write_str("the source was away and is back for a short time only"),
            Self::Share { gone, of } => write!(f, "{gone} of {of} vanished within the window"),
            Self::Empty { gone } => write!(f, "no instance is left, {gone} vanished within the window"),
        }
    }
}

/// An instance whose removal is held back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldInstance {
    /// As it was last listed.
    pub candidate: Candidate,
    /// When it vanished.
    pub since: Instant,
    /// When it is let go at the latest, as long as the source answers.
    pub until: Instant,
    /// Why it is held.
    pub why: HoldReason,
    /// By an operator's command.
    pub kept: bool,
}

/// Why an instance is held no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReleaseReason {
    /// It is listed again.
    Listed,
    /// Its check fails.
    Failing,
    /// As many are listed as there were.
    Replaced,
    /// The source is no longer young, and few enough are missing.
    Believed,
    /// Its time is over.
    Time,
    /// By an operator's command.
    Operator,
}

impl fmt::Display for ReleaseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Listed => "listed again",
            Self::Failing => "its check fails",
            Self::Replaced => "as many are listed as there were",
            Self::Believed => "the source is settled and few are missing",
            Self::Time => "its time is over",
            Self::Operator => "released by an operator",
        })
    }
}

/// What one service has after its guard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guarded {
    /// The content of the source, with the held among its candidates if they are used.
    pub state: Arc<WatcherState>,
    /// The held, by address.
    pub held: BTreeMap<SocketAddr, HeldInstance>,
    /// Whether they are used.
    pub holds: bool,
    /// Whether all of it is what was remembered from before the start.
    pub remembered: bool,
}

impl Guarded {
    /// Whether an instance is missing that default servers have to replace.
    pub fn needs_help(&self) -> bool {
        !self.holds && !self.held.is_empty()
    }

    /// The state to remember: with the held instances, so that a successor judges them again.
    pub fn whole(&self) -> Arc<WatcherState> {
        if self.needs_help() {
            with_held(&self.state, &self.held)
        } else {
            Arc::clone(&self.state)
        }
    }

    /// The held instance that is registered as `node`.
    pub fn held_as(&self, node: &str) -> Option<&HeldInstance> {
        self.held.values().find(|held| &*held.candidate.server.node == node)
    }
}

/// The content of the source with the held instances added.
fn with_held(state: &WatcherState, held: &BTreeMap<SocketAddr, HeldInstance>) -> Arc<WatcherState> {
    let mut all = state.clone();
    all.candidates.extend(held.values().map(|held| held.candidate.clone()));
    all.candidates.sort_by(|a, b| a.server.node.cmp(&b.server.node));
    Arc::new(all)
}

/// An operator's command for all that is held of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuardCommand {
    /// The registry is right: let them go now.
    Release,
    /// The registry is wrong: hold them for this long from now, regardless of what is listed. A failing check still ends it.
    Keep(Duration),
}
