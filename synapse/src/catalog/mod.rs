//! Which servers each service should have: filter, dedupe, sort, correlate. Pure.
//!
//! ```text
//! candidates ─▶ filter (available) ─▶ dedupe (address) ─▶ sort ─▶ correlate (another service's first) ─▶ Desired
//! ```
//!
//! Every candidate that is left out has a [`Verdict`] that says why. A service whose source never answered is unknown,
//! which is not empty. The freshness of a source changes nothing here: its last word stays in force.

mod correlate;
mod dedupe;
mod filter;
mod sort;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::zk::reflector::Freshness;

use crate::config::ServiceConfig;
use crate::desired::{Desired, Service};
use crate::watcher::{Candidate, WatcherState};

pub use sort::Seed;

/// Why a candidate is left out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Verdict {
    /// It says so of itself.
    #[error("not available: {}", if .0.is_empty() { "no reason given" } else { .0 })]
    NotAvailable(String),
    /// A newer node registers the same address.
    #[error("duplicate of {0}, which is newer")]
    DuplicateOf(Arc<str>),
    /// Another service has it in the first place.
    #[error("excluded by serverCorrelation: {0} has it first")]
    ExcludedBy(String),
}

/// What became of the candidates of one router.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    /// For the router.
    pub desired: Arc<Desired>,
    /// For people, by service, in the file's order.
    pub services: Vec<ServiceOutcome>,
}

/// What became of the candidates of one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceOutcome {
    /// What was decided on.
    pub state: Arc<WatcherState>,
    /// Those that are left out, by node; all others are used.
    pub left_out: BTreeMap<Arc<str>, Verdict>,
}

impl ServiceOutcome {
    /// How many servers are used.
    pub fn used(&self) -> usize {
        self.state.candidates.len() - self.left_out.len()
    }
}

/// The candidates of one service on their way.
#[derive(Debug, Default)]
struct Selection<'c> {
    kept: Vec<&'c Candidate>,
    left_out: BTreeMap<Arc<str>, Verdict>,
}

impl<'c> Selection<'c> {
    fn of(candidates: &'c [Candidate]) -> Self {
        Self {
            kept: candidates.iter().collect(),
            left_out: BTreeMap::new(),
        }
    }

    /// Leaves out every candidate that `verdict` says something of.
    fn leave_out(&mut self, verdict: impl Fn(&Candidate) -> Option<Verdict>) {
        self.kept.retain(|candidate| match verdict(candidate) {
            Some(verdict) => {
                self.left_out.insert(Arc::clone(&candidate.server.node), verdict);
                false
            }
            None => true,
        });
    }
}

/// Decides for all services of one router; `states` are their sources', in the same order.
pub fn outcome(services: &[ServiceConfig], states: &[Arc<WatcherState>], seed: Seed) -> Outcome {
    debug_assert_eq!(services.len(), states.len());
    let mut selections: Vec<Selection<'_>> = services
        .iter()
        .zip(states)
        .map(|(service, state)| {
            let mut selection = Selection::of(&state.candidates);
            filter::available(&mut selection);
            dedupe::by_address(&mut selection);
            sort::sort(&mut selection.kept, service.sort, seed);
            selection
        })
        .collect();
    let unknown: Vec<bool> = states.iter().map(|state| state.freshness == Freshness::Never).collect();
    let unknown = correlate::exclude(services, &mut selections, &unknown);

    let desired = services.iter().zip(&selections).zip(unknown);
    let desired = desired.map(|((service, selection), unknown)| Service {
        id: service.id.clone(),
        servers: (!unknown).then(|| selection.kept.iter().map(|kept| kept.server.clone()).collect()),
        remembered: false,
    });
    Outcome {
        desired: Arc::new(Desired {
            services: desired.collect(),
        }),
        services: states
            .iter()
            .zip(selections)
            .map(|(state, selection)| ServiceOutcome {
                state: Arc::clone(state),
                left_out: selection.left_out,
            })
            .collect(),
    }
}
