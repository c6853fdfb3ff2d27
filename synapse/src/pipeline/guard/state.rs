//! What is remembered of one service, and the step from one moment to the next. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use common::zk::reflector::Freshness;
use tokio::time::Instant;

use super::sliding_max::SlidingMax;
use super::{BURST_WINDOW, GuardCommand, Guarded, HeldInstance, HoldReason, MIN_OUTAGE, ReleaseReason, with_held};
use crate::config::{Guard, GuardPolicy};
use crate::health::Check;
use crate::watcher::{Candidate, WatcherState};

/// What is remembered of one service.
#[derive(Debug)]
pub struct GuardState {
    policy: Guard,
    source: Source,
    /// The last state that is assumed to be complete; a vanishing is a difference from it.
    last: Option<Arc<WatcherState>>,
    held: BTreeMap<SocketAddr, HeldInstance>,
    /// How many there were when the first of the held vanished.
    whole: usize,
    /// What vanished lately, let go or not.
    gone: BTreeMap<SocketAddr, Vanished>,
    /// How many were available.
    sizes: SlidingMax,
}

/// One that vanished.
#[derive(Debug)]
struct Vanished {
    at: Instant,
    candidate: Candidate,
}

/// How the source is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// Not read since then, or ever.
    Away { since: Instant },
    /// Watched; `young_until` when it has been away.
    Live { young_until: Option<Instant> },
}

/// What a step came to.
#[derive(Debug)]
pub struct Step {
    /// What the service has now.
    pub guarded: Guarded,
    /// How many more are held, by reason.
    pub began: Vec<(HoldReason, usize)>,
    /// The instances that are released, and why.
    pub ended: Vec<(Arc<str>, ReleaseReason)>,
    /// When the next step is due at the latest.
    pub wake_at: Option<Instant>,
}

impl GuardState {
    /// Nothing is known yet, but what is `remembered` from before the start: it was true at its time.
    pub fn new(policy: Guard, remembered: Option<Arc<WatcherState>>, now: Instant) -> Self {
        let mut memory = Self {
            policy,
            source: Source::Away { since: now },
            last: None,
            held: BTreeMap::new(),
            whole: 0,
            gone: BTreeMap::new(),
            sizes: SlidingMax::default(),
        };
        if let Some(state) = remembered {
            memory.sizes.note(now, available(&state).count());
            memory.last = Some(state);
        }
        memory
    }

    /// Applies the content of the source, HAProxy's check of each address, and the time.
    pub fn step(
        &mut self,
        state: &Arc<WatcherState>,
        check: impl Fn(SocketAddr) -> Option<Check>,
        now: Instant,
    ) -> Step {
        let fails = |address: SocketAddr| check(address) == Some(Check::Failing);
        let mut step = Changes::default();
        let failing = self.end(&mut step, ReleaseReason::Failing, |held| {
            fails(held.candidate.server.address)
        });
        self.discount(&failing);
        match state.freshness {
            Freshness::Never => {}
            Freshness::Stale { since } => {
                if let Source::Live { .. } = self.source {
                    self.source = Source::Away { since };
                }
            }
            Freshness::Live => self.live(&mut step, state, fails, now),
        }
        if self.held.is_empty() {
            self.whole = 0;
        }
        Step {
            guarded: self.guarded(state),
            began: step.began,
            ended: step.ended,
            wake_at: self.wake_at(),
        }
    }

    /// Applies an operator's command and returns what it released. The next step computes what is held.
    pub fn apply_command(&mut self, command: GuardCommand, now: Instant) -> Vec<(Arc<str>, ReleaseReason)> {
        let mut changes = Changes::default();
        match command {
            GuardCommand::Release => {
                self.end(&mut changes, ReleaseReason::Operator, |_| true);
                self.gone.clear();
                self.sizes.clear();
                if let Source::Live { young_until } = &mut self.source {
                    *young_until = None;
                }
            }
            GuardCommand::Keep(span) => {
                for held in self.held.values_mut() {
                    held.kept = true;
                    held.until = now + span;
                }
            }
        }
        changes.ended
    }

    /// Whether an instance is held.
    pub fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// The source is read and watched.
    fn live(
        &mut self,
        changes: &mut Changes,
        state: &Arc<WatcherState>,
        fails: impl Fn(SocketAddr) -> bool,
        now: Instant,
    ) {
        if let Source::Away { since } = self.source {
            let was_away = now.saturating_duration_since(since) >= MIN_OUTAGE;
            self.source = Source::Live {
                young_until: was_away.then(|| now + self.policy.settle),
            };
        }
        let listed = Listed::of(state);
        self.end(changes, ReleaseReason::Listed, |held| listed.has(&held.candidate));
        let window = self.policy.window;
        self.gone.retain(|address, gone| {
            !listed.addresses.contains(address) && now.saturating_duration_since(gone.at) < window
        });

        let mut vanished: BTreeMap<SocketAddr, Vanished> = BTreeMap::new();
        let mut left = BTreeSet::new();
        let last = self.last.take();
        for candidate in last.iter().flat_map(|last| available(last)) {
            let address = candidate.server.address;
            if listed.available.contains(&address) {
                continue;
            }
            if listed.has(candidate) || fails(address) {
                left.insert(address);
            } else {
                let candidate = candidate.clone();
                vanished.insert(address, Vanished { at: now, candidate });
            }
        }
        self.sizes.discount(left.len());
        let any = !vanished.is_empty();
        self.gone.extend(vanished);
        let largest = self.sizes.largest(now, window);
        let doubt = self.doubt(listed.available.len(), largest, now);
        if let Some((why, until)) = doubt.filter(|_| any) {
            self.hold(changes, listed.available.len(), why, until, fails, now);
        }
        self.sizes.note(now, listed.available.len());
        self.last = Some(Arc::clone(state));

        let replaced = listed.available.len() >= self.whole;
        self.end(changes, ReleaseReason::Replaced, |held| replaced && !held.kept);
        self.settle(changes, listed.available.len(), now);
        if self.young_until().is_none() {
            self.end(changes, ReleaseReason::Time, |held| held.until <= now);
        }
    }

    /// Why a vanishing at `now` is doubted, and until when at the latest; `listed` are left of `largest`.
    fn doubt(&self, listed: usize, largest: usize, now: Instant) -> Option<(HoldReason, Instant)> {
        if self.policy.policy == GuardPolicy::Trust {
            return None;
        }
        if let Some(until) = self.young_until().filter(|until| *until > now) {
            return Some((HoldReason::Young, until));
        }
        // Others have come in the place of some: those are not missing.
        let missing = self.gone.len().min(largest.saturating_sub(listed));
        self.too_many(missing, listed, largest)
            .map(|why| (why, now + self.policy.hold_time))
    }

    /// Holds those that vanish now, and those that vanished just before: an ensemble that expires many sessions at once
    /// reports them one by one.
    fn hold(
        &mut self,
        changes: &mut Changes,
        listed: usize,
        why: HoldReason,
        until: Instant,
        fails: impl Fn(SocketAddr) -> bool,
        now: Instant,
    ) {
        let before = self.held.len();
        for (address, gone) in &self.gone {
            if now.saturating_duration_since(gone.at) < BURST_WINDOW && !fails(*address) {
                self.held.entry(*address).or_insert_with(|| HeldInstance {
                    candidate: gone.candidate.clone(),
                    since: now,
                    until,
                    why,
                    kept: false,
                });
            }
        }
        changes.began.push((why, self.held.len().saturating_sub(before)));
        self.whole = self.whole.max(listed + self.held.len());
    }

    fn too_many(&self, missing: usize, listed: usize, of: usize) -> Option<HoldReason> {
        if listed == 0 && missing >= 2 {
            return Some(HoldReason::Empty { gone: missing });
        }
        (missing >= self.policy.least && self.policy.share.is_less_than(missing, of))
            .then_some(HoldReason::Share { gone: missing, of })
    }

    /// The source is no longer young: those that are missing since are judged together.
    fn settle(&mut self, changes: &mut Changes, listed: usize, now: Instant) {
        if self.young_until().is_none_or(|until| until > now) {
            return;
        }
        self.source = Source::Live { young_until: None };
        let missing = self.held.len();
        match self.too_many(missing, listed, listed + missing) {
            None => {
                self.end(changes, ReleaseReason::Believed, |held| {
                    held.why == HoldReason::Young && !held.kept
                });
            }
            Some(why) => {
                for held in self.held.values_mut().filter(|held| held.why == HoldReason::Young) {
                    held.why = why;
                    if !held.kept {
                        held.until = held.since + self.policy.hold_time;
                    }
                }
            }
        }
    }

    /// Releases those for which `is_so` is true and returns them.
    fn end(
        &mut self,
        changes: &mut Changes,
        ended: ReleaseReason,
        is_so: impl Fn(&HeldInstance) -> bool,
    ) -> Vec<SocketAddr> {
        let mut addresses = Vec::new();
        self.held.retain(|address, held| {
            let ends = is_so(held);
            if ends {
                addresses.push(*address);
                changes.ended.push((Arc::clone(&held.candidate.server.node), ended));
            }
            !ends
        });
        addresses
    }

    /// Their removal is confirmed, so it is no evidence against the registry.
    fn discount(&mut self, confirmed: &[SocketAddr]) {
        let known = confirmed.iter().filter(|address| self.gone.remove(address).is_some());
        let count = known.count();
        self.sizes.discount(count);
        self.whole = self.whole.saturating_sub(confirmed.len());
    }

    fn young_until(&self) -> Option<Instant> {
        match self.source {
            Source::Live { young_until } => young_until,
            Source::Away { .. } => None,
        }
    }

    fn wake_at(&self) -> Option<Instant> {
        let Source::Live { young_until } = self.source else {
            return None;
        };
        let first = self.held.values().map(|held| held.until).min();
        first.map(|first| young_until.map_or(first, |young| young.max(first)))
    }

    fn guarded(&self, state: &Arc<WatcherState>) -> Guarded {
        let holds = self.policy.policy == GuardPolicy::Hold;
        let remembered = match &self.last {
            Some(last) if state.freshness == Freshness::Never => Some(last),
            Some(_) | None => None,
        };
        let shown = match remembered {
            Some(last) => Arc::new(WatcherState {
                freshness: last.freshness,
                candidates: last.candidates.clone(),
                ..WatcherState::clone(state)
            }),
            None if self.held.is_empty() || !holds => Arc::clone(state),
            None => with_held(state, &self.held),
        };
        Guarded {
            state: shown,
            held: self.held.clone(),
            holds,
            remembered: remembered.is_some(),
        }
    }
}

/// What a step changes.
#[derive(Debug, Default)]
struct Changes {
    began: Vec<(HoldReason, usize)>,
    ended: Vec<(Arc<str>, ReleaseReason)>,
}

/// What a state lists.
struct Listed<'s> {
    nodes: BTreeSet<&'s str>,
    addresses: BTreeSet<SocketAddr>,
    /// The addresses of those that take traffic.
    available: BTreeSet<SocketAddr>,
}

impl<'s> Listed<'s> {
    fn of(state: &'s WatcherState) -> Self {
        let candidates = &state.candidates;
        Self {
            nodes: candidates.iter().map(|candidate| &*candidate.server.node).collect(),
            addresses: candidates.iter().map(|candidate| candidate.server.address).collect(),
            available: available(state).map(|candidate| candidate.server.address).collect(),
        }
    }

    fn has(&self, candidate: &Candidate) -> bool {
        self.nodes.contains(&*candidate.server.node) || self.addresses.contains(&candidate.server.address)
    }
}

fn available(state: &WatcherState) -> impl Iterator<Item = &Candidate> {
    state
        .candidates
        .iter()
        .filter(|candidate| candidate.unavailable.is_none())
}
