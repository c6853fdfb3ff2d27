//! One state out of several. Pure.
//!
//! A source that has not answered yet, or can't be read, is given some time ([`Combining::patience`]); then the others go
//! on without it. What was read before stays in force all the while.

use std::sync::Arc;
use std::time::Duration;

use common::zk::reflector::Freshness;
use tokio::time::Instant;

use crate::config::Combine;
use crate::watcher::{Candidate, Failures, Skipped, WatcherState};

/// How sources are combined.
#[derive(Debug, Clone, Copy)]
pub(super) struct Combining {
    pub(super) method: Combine,
    pub(super) patience: Duration,
    /// When waiting for the first answers began.
    pub(super) started: Instant,
}

/// One of the sources.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) name: String,
    pub(super) state: Arc<WatcherState>,
}

/// The combined content.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Combined {
    pub(super) state: WatcherState,
    /// The one that is used; `None` when it is all of them, or none yet.
    pub(super) used: Option<usize>,
    /// When the answer may be another although no source has changed.
    pub(super) look_again: Option<Instant>,
}

/// Whether to go by a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It is read, or was until lately.
    Good { until: Option<Instant> },
    /// It has not answered, and there is still time.
    Awaited { until: Instant },
    /// It has not been read for too long.
    Lost,
}

impl Combining {
    pub(super) fn combine(&self, parts: &[Part], now: Instant) -> Combined {
        match self.method {
            Combine::Union => self.union(parts, now),
            Combine::Sequential => self.first(parts, now),
        }
    }

    fn standing(&self, state: &WatcherState, now: Instant) -> Standing {
        let until = |since: Instant| since + self.patience;
        match state.freshness {
            Freshness::Live => Standing::Good { until: None },
            Freshness::Stale { since } if now < until(since) => Standing::Good {
                until: Some(until(since)),
            },
            Freshness::Never if now < until(self.started) => Standing::Awaited {
                until: until(self.started),
            },
            Freshness::Stale { .. } | Freshness::Never => Standing::Lost,
        }
    }

    /// All of them: a part alone would be a service that has shrunk, so the first answer of each is awaited.
    fn union(&self, parts: &[Part], now: Instant) -> Combined {
        let mut state = WatcherState {
            failures: failures(parts),
            error: errors(parts.iter()),
            ..WatcherState::default()
        };
        let awaited = parts.iter().find_map(|part| match self.standing(&part.state, now) {
            Standing::Awaited { until } => Some(until),
            Standing::Good { .. } | Standing::Lost => None,
        });
        if awaited.is_none() {
            state.freshness = self.freshness(parts);
            for part in parts {
                part.add_to(&mut state);
            }
            state.candidates.sort_by(|a, b| a.server.node.cmp(&b.server.node));
            state.skipped.sort();
        }
        Combined {
            state,
            used: None,
            look_again: awaited,
        }
    }

    /// As old as the oldest; one that never spoke is as old as the daemon.
    fn freshness(&self, parts: &[Part]) -> Freshness {
        let since = parts.iter().filter_map(|part| match part.state.freshness {
            Freshness::Live => None,
            Freshness::Stale { since } => Some(since),
            Freshness::Never => Some(self.started),
        });
        match since.min() {
            None => Freshness::Live,
            Some(_) if parts.iter().all(|part| part.state.freshness == Freshness::Never) => Freshness::Never,
            Some(since) => Freshness::Stale { since },
        }
    }

    /// The first that is good and has an available server; if there is none, the first that ever had one; else the first
    /// that ever answered.
    fn first(&self, parts: &[Part], now: Instant) -> Combined {
        let mut look_again: Option<Instant> = None;
        let mut at = |until: Instant| look_again = Some(look_again.map_or(until, |at| at.min(until)));
        let (mut chosen, mut is_awaiting) = (None, false);
        for (number, part) in parts.iter().enumerate() {
            match self.standing(&part.state, now) {
                Standing::Awaited { until } => {
                    at(until);
                    is_awaiting = true;
                    break;
                }
                Standing::Good { until } => {
                    until.into_iter().for_each(&mut at);
                    if part.serves() {
                        chosen = Some(number);
                        break;
                    }
                }
                Standing::Lost => {}
            }
        }
        if chosen.is_none() && !is_awaiting {
            let said = |part: &Part| part.state.freshness != Freshness::Never;
            chosen = parts
                .iter()
                .position(Part::serves)
                .or_else(|| parts.iter().position(said));
        }
        let mut state = WatcherState {
            failures: failures(parts),
            error: errors(parts.iter().take(chosen.map_or(parts.len(), |chosen| chosen + 1))),
            ..WatcherState::default()
        };
        if let Some(part) = chosen.and_then(|chosen| parts.get(chosen)) {
            state.freshness = part.state.freshness;
            part.add_to(&mut state);
        }
        Combined {
            state,
            used: chosen,
            look_again,
        }
    }
}

impl Part {
    /// Whether it has an instance that takes requests.
    fn serves(&self) -> bool {
        self.state
            .candidates
            .iter()
            .any(|candidate| candidate.unavailable.is_none())
    }

    /// Its nodes may have the names of another's, and are others.
    fn add_to(&self, state: &mut WatcherState) {
        let named = |node: &Arc<str>| Arc::from(format!("{}/{node}", self.name));
        state.candidates.extend(self.state.candidates.iter().map(|candidate| {
            let mut candidate: Candidate = candidate.clone();
            candidate.server.node = named(&candidate.server.node);
            candidate
        }));
        state.skipped.extend(self.state.skipped.iter().map(|skipped| Skipped {
            node: named(&skipped.node),
            reason: skipped.reason.clone(),
        }));
    }
}

fn failures(parts: &[Part]) -> Failures {
    let each = parts.iter().map(|part| part.state.failures);
    each.fold(Failures::default(), |sum, failures| Failures {
        watch: sum.watch + failures.watch,
        content: sum.content + failures.content,
    })
}

fn errors<'p>(parts: impl Iterator<Item = &'p Part>) -> String {
    let failing = parts.filter(|part| !part.state.error.is_empty());
    let errors: Vec<String> = failing
        .map(|part| format!("{}: {}", part.name, part.state.error))
        .collect();
    errors.join("; ")
}

#[cfg(test)]
mod tests;
