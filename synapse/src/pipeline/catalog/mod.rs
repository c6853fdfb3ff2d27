//! Which servers each service should have. Pure.
//!
//! ```text
//! candidates ─▶ weights that count, portOverride ─▶ available ─▶ labels ─▶ one per address ─▶ leader ─▶ required zone
//!            ─▶ defaults, or those before ─▶ sort ─▶ correlate (what other services use) ─▶ subset ─▶ zone ─▶ Desired
//! ```
//!
//! Every candidate that is left out has a [`Verdict`] with the reason; one that is used otherwise than registered has
//! [`Note`]s. A service whose source never answered is unknown, which is not empty. The freshness of a source changes
//! nothing here: its last content stays in force.
//!
//! Two things are remembered from one decision to the next, both in the [`Outcome`]: the servers that a service had, and
//! how far its local ones reached.

mod correlate;
mod dedupe;
mod fallback;
mod filter;
mod leader;
mod sort;
mod subset;
mod verdict;
mod zone;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use common::zk::reflector::Freshness;

use crate::config::ServiceConfig;
use crate::desired::{Desired, Server, Service};
use crate::health::Health;
use crate::watcher::{Candidate, WatcherState};

use fallback::CandidatePool;
pub use sort::Seed;
pub use verdict::{Note, Verdict};

/// What became of the candidates of one router.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    /// For the router.
    pub desired: Arc<Desired>,
    /// For people, by service, in the file's order.
    pub services: Vec<ServiceOutcome>,
}

/// What became of the candidates of one service.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServiceOutcome {
    /// What was decided on.
    pub state: Arc<WatcherState>,
    /// Those that are left out, by node; all others are used.
    pub left_out: BTreeMap<Arc<str>, Verdict>,
    /// Notes on those that are used, by node.
    pub notes: BTreeMap<Arc<str>, Vec<Note>>,
    /// Those that are used and no candidates: default servers, and those that were there before.
    pub added: Vec<Server>,
    /// What the zone rule goes by.
    pub zone: Option<ZoneOutcome>,
    /// For `usePreviousServers`: the last that were selected.
    pub(crate) previous: Arc<[Candidate]>,
}

/// What the zone rule of a service goes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneOutcome {
    /// The zone of this host.
    pub local: String,
    /// With `spill-over`: how much of what local clients need the local servers can carry, in percent.
    pub covered: Option<u32>,
}

impl ServiceOutcome {
    /// How many servers are used.
    pub fn used(&self) -> usize {
        (self.state.candidates.len() + self.added.len()).saturating_sub(self.left_out.len())
    }
}

/// The candidates of one service on their way.
#[derive(Debug, Default)]
struct Selection<'c> {
    kept: Vec<&'c Candidate>,
    /// Those of them that the source does not list.
    unlisted: BTreeSet<Arc<str>>,
    left_out: BTreeMap<Arc<str>, Verdict>,
    notes: BTreeMap<Arc<str>, Vec<Note>>,
}

impl<'c> Selection<'c> {
    fn of(candidates: &'c [Candidate]) -> Self {
        Self {
            kept: candidates.iter().collect(),
            ..Self::default()
        }
    }

    /// Leaves out every candidate for which `verdict` returns one.
    fn leave_out(&mut self, verdict: impl Fn(&Candidate) -> Option<Verdict>) {
        self.kept.retain(|candidate| {
            let Some(verdict) = verdict(candidate) else {
                return true;
            };
            let node = &candidate.server.node;
            self.notes.remove(node);
            if !self.unlisted.contains(node) {
                self.left_out.insert(Arc::clone(node), verdict);
            }
            false
        });
    }

    fn note(&mut self, of: &Arc<str>, note: Note) {
        self.notes.entry(Arc::clone(of)).or_default().push(note);
    }

    /// Those that are used and that the source does not list.
    fn added(&self) -> Vec<Server> {
        let servers = self.kept.iter().map(|kept| &kept.server);
        let added = servers.filter(|server| self.unlisted.contains(&server.node));
        added.cloned().collect()
    }

    /// Whether it is one of the operator's own, which no rule about registrations touches.
    fn is_default(&self, candidate: &Candidate) -> bool {
        let notes = self.notes.get(&candidate.server.node);
        notes.is_some_and(|notes| notes.contains(&Note::Default))
    }
}

/// Decides for all services of one router; `states` are their sources', in the same order, and `previous` is what was
/// decided last.
pub fn outcome(
    services: &[ServiceConfig],
    states: &[Arc<WatcherState>],
    health: &Health,
    previous: &Outcome,
    seed: Seed,
) -> Outcome {
    debug_assert_eq!(services.len(), states.len());
    let stocks: Vec<CandidatePool<'_>> = services
        .iter()
        .zip(states)
        .map(|(service, state)| CandidatePool::of(&service.selection, state))
        .collect();
    let mut selections: Vec<Selection<'_>> = services
        .iter()
        .zip(&stocks)
        .enumerate()
        .map(|(nth, (service, stock))| select(service, stock, previous.services.get(nth), seed))
        .collect();
    // Before the correlation, which is of this moment and no property of the servers.
    let remembered: Vec<Arc<[Candidate]>> = services
        .iter()
        .zip(&selections)
        .map(|(service, selection)| fallback::remember(&service.selection, selection))
        .collect();
    let unknown: Vec<bool> = states.iter().map(|state| state.freshness == Freshness::Never).collect();
    let unknown = correlate::exclude(services, &mut selections, &unknown, health, seed);

    let mut outcome = Outcome::default();
    let mut desired = Vec::with_capacity(services.len());
    let decided = services.iter().zip(states).zip(selections).zip(remembered).zip(unknown);
    for (nth, ((((service, state), selection), remembered), unknown)) in decided.enumerate() {
        let before = previous.services.get(nth);
        let (servers, mut decided) = finish(service, state, selection, health, before, seed);
        decided.previous = remembered;
        // One that changed nothing shares its servers with the decision before.
        let known = previous
            .desired
            .services
            .get(nth)
            .and_then(|known| known.servers.as_ref());
        let servers = match known {
            Some(known) if **known == *servers => Arc::clone(known),
            _ => servers.into(),
        };
        desired.push(Service {
            id: service.id.clone(),
            servers: (!unknown).then_some(servers),
            remembered: false,
        });
        outcome.services.push(decided);
    }
    outcome.desired = Arc::new(Desired { services: desired });
    outcome
}

/// All that can be decided by looking at one service.
fn select<'c>(
    service: &ServiceConfig,
    stock: &'c CandidatePool<'_>,
    previous: Option<&'c ServiceOutcome>,
    seed: Seed,
) -> Selection<'c> {
    let rules = &service.selection;
    let mut selection = Selection::of(&stock.registered);
    filter::available(&mut selection);
    filter::labels(&mut selection, &rules.label_filters);
    dedupe::by_address(&mut selection);
    if rules.leader_election {
        leader::elect(&mut selection);
    }
    zone::require(&mut selection, rules.zone.as_ref());
    fallback::fall_back(&mut selection, rules, stock, previous);
    sort::sort(&mut selection.kept, rules.sort, seed);
    selection
}

/// Selects the servers after the other services: a subset of the candidates, each with its part in the zone.
fn finish(
    service: &ServiceConfig,
    state: &Arc<WatcherState>,
    mut selection: Selection<'_>,
    health: &Health,
    previous: Option<&ServiceOutcome>,
    seed: Seed,
) -> (Vec<Server>, ServiceOutcome) {
    let whole = selection.kept.clone();
    subset::choose(&mut selection, service, health, seed);
    if let Some(port) = service.selection.port_override {
        for candidate in selection.kept.clone() {
            selection.note(&candidate.server.node, Note::Port(port));
        }
    }
    let before = previous.and_then(|previous| previous.zone.as_ref()?.covered);
    let (servers, zone) = zone::place(&mut selection, &whole, service, health, before);
    let outcome = ServiceOutcome {
        state: Arc::clone(state),
        added: selection.added(),
        left_out: selection.left_out,
        notes: selection.notes,
        zone,
        ..ServiceOutcome::default()
    };
    (servers, outcome)
}
