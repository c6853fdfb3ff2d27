//! `policy: spill-over`: the weight of each server. Pure.
//!
//! HAProxy takes weights at run time, so none of this needs a reload. The demand of local clients is a share of the
//! capacity of all zones; as long as the local servers cover it, the others have the minimum weight. That minimum is what
//! HAProxy fails over to at once when all local checks fail, before synapse has seen it. The others make up for the
//! capacity that local servers lack.
//!
//! The registered weights of the servers whose check does not fail are the capacity. This host checks no server outside its
//! subset: those are assumed to fare like the ones that it checks.

use std::collections::BTreeSet;

use super::super::{Note, Selection};
use super::{is_local, zone_of};
use crate::config::ZoneConfig;
use crate::desired::Server;
use crate::watcher::Candidate;
use common::report::{DEFAULT_WEIGHT, MAX_WEIGHT};

/// What local clients need of their zone's equal part, in percent: no service runs with all its servers at their limit.
const LOCAL_DEMAND: u64 = 70;
/// The local reach in percent has to change by this much before weights follow, so that a server at the edge of its
/// check does not make them swing.
const DEADBAND: u32 = 10;

/// Every server with its weight.
pub(crate) fn apply_weights(selection: &mut Selection<'_>, rule: &ZoneConfig, weights: &Weights) -> Vec<Server> {
    let mut servers = Vec::with_capacity(selection.kept.len());
    for candidate in selection.kept.clone() {
        let mut server = candidate.server.clone();
        let registered = weight(candidate);
        let part = if selection.is_default(candidate) {
            Part::WHOLE
        } else if is_local(rule, candidate) {
            weights.local
        } else {
            weights.remote
        };
        let used = part.of(registered, weights.scale);
        server.weight = Some(used);
        let zone = zone_of(rule, candidate).cloned();
        selection.note(&server.node, Note::Weight { used, registered, zone });
        servers.push(server);
    }
    servers
}

fn weight(candidate: &Candidate) -> u16 {
    candidate.server.weight.unwrap_or(DEFAULT_WEIGHT).min(MAX_WEIGHT)
}

/// What one side (the local zone, or all others) can carry, in weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Side {
    /// Of all that there are.
    whole: u64,
    /// Of those that are used.
    used: u64,
    /// Of those that are used and don't fail.
    sound: u64,
}

impl Side {
    /// What all can carry, if the others fare as those that this host sees.
    fn carries(self) -> u64 {
        match self.used {
            0 => self.whole,
            used => self.whole * self.sound / used,
        }
    }
}

/// What there is, and what is needed of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Capacity {
    local: Side,
    remote: Side,
    /// What local clients need of the capacity of all: so many parts of so many.
    share: (u64, u64),
    /// The heaviest that is used.
    heaviest: u16,
}

impl Capacity {
    /// `None` while no server is local: then there is nothing to prefer.
    pub(crate) fn of(
        selection: &Selection<'_>,
        whole: &[&Candidate],
        rule: &ZoneConfig,
        local_share: Option<u8>,
        fails: impl Fn(&Candidate) -> bool,
    ) -> Option<Self> {
        let mut sides = [Side::default(); 2];
        let [local, remote] = &mut sides;
        let mut zones = BTreeSet::new();
        let mut has_local = false;
        for candidate in whole.iter().filter(|candidate| !selection.is_default(candidate)) {
            zones.insert(zone_of(rule, candidate));
            let side = if is_local(rule, candidate) {
                &mut *local
            } else {
                &mut *remote
            };
            side.whole += u64::from(weight(candidate));
        }
        for candidate in selection
            .kept
            .iter()
            .filter(|candidate| !selection.is_default(candidate))
        {
            let is_local = is_local(rule, candidate);
            has_local |= is_local;
            let side = if is_local { &mut *local } else { &mut *remote };
            let weight = u64::from(weight(candidate));
            side.used += weight;
            side.sound += if fails(candidate) { 0 } else { weight };
        }
        let share = match local_share {
            Some(percent) => (u64::from(percent), 100),
            None => (LOCAL_DEMAND, 100 * zones.len() as u64),
        };
        let heaviest = selection.kept.iter().map(|kept| weight(kept)).max()?;
        let [local, remote] = sides;
        has_local.then_some(Self {
            local,
            remote,
            share,
            heaviest,
        })
    }

    /// How much of what local clients need the local servers can carry, in percent.
    pub(crate) fn covered(&self) -> u32 {
        let (local, remote) = (self.local.carries(), self.remote.carries());
        let (parts, of) = self.share;
        let needed = (local + remote) * parts;
        let percent = (local * of * 100).checked_div(needed).unwrap_or_default();
        u32::try_from(percent).unwrap_or(u32::MAX)
    }

    /// The weights with which `covered` percent of the traffic (at most all of it) stays local.
    pub(crate) fn weights(&self, covered: u32) -> Weights {
        let here = u64::from(covered.min(100));
        let (local, remote) = (self.local.sound * (100 - here), self.remote.sound * here);
        // HAProxy gives by weight: `local.sound` keeps `here` if `remote.sound` is scaled by `local / remote`.
        let (local, remote) = match (local, remote) {
            (0, _) if here == 100 => (Part::WHOLE, Part::MIN_WEIGHT),
            // One of the sides is down: HAProxy gives all to the other, regardless of the weights.
            (0, _) | (_, 0) => (Part::WHOLE, Part::WHOLE),
            (local, remote) if local <= remote => (Part::WHOLE, Part(local, remote)),
            (local, remote) => (Part(remote, local), Part::WHOLE),
        };
        Weights {
            scale: scale(self.heaviest),
            local,
            remote,
        }
    }
}

/// The factor for registered weights, which may be too small to be split. A power of two, so that it changes seldom, and
/// with it no proportion.
fn scale(heaviest: u16) -> u16 {
    let mut scale = 1;
    while heaviest > 0 && heaviest * scale * 2 <= MAX_WEIGHT {
        scale *= 2;
    }
    scale
}

/// What was covered before, unless it is now another matter.
pub(crate) fn settle(covered: u32, before: Option<u32>) -> u32 {
    before
        .filter(|before| before.abs_diff(covered) < DEADBAND)
        .unwrap_or(covered)
}

/// The weights of both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Weights {
    scale: u16,
    local: Part,
    remote: Part,
}

/// So many parts of so many, at most the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part(u64, u64);

impl Part {
    const WHOLE: Self = Self(1, 1);
    const MIN_WEIGHT: Self = Self(0, 1);

    /// Of a weight. A server that has one keeps at least a trace of it, for HAProxy sends nothing at all to the others; one
    /// that drains goes on draining.
    fn of(self, weight: u16, scale: u16) -> u16 {
        let whole = u64::from(weight) * u64::from(scale);
        let part = (whole * self.0 + self.1 / 2) / self.1.max(1);
        let part = u16::try_from(part).unwrap_or(MAX_WEIGHT).min(MAX_WEIGHT);
        if weight == 0 { 0 } else { part.max(1) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn capacity(local: Side, remote: Side, share: (u64, u64)) -> Capacity {
        Capacity {
            local,
            remote,
            share,
            heaviest: 1,
        }
    }

    fn side() -> impl Strategy<Value = Side> {
        (1_u64..200, 0_u64..=100, 0_u64..=100).prop_map(|(whole, used, sound)| {
            let used = (whole * used / 100).max(1);
            Side {
                whole,
                used,
                sound: used * sound / 100,
            }
        })
    }

    #[test]
    fn the_scale_is_a_power_of_two_within_the_limit() {
        for (heaviest, expected) in [
            (0, 1),
            (1, 256),
            (2, 128),
            (3, 64),
            (100, 2),
            (128, 2),
            (129, 1),
            (256, 1),
        ] {
            assert_eq!(scale(heaviest), expected, "{heaviest}");
        }
    }

    #[test]
    fn a_part_keeps_the_minimum_and_a_draining_server_drains() {
        assert_eq!(Part(1, 3).of(3, 64), 64);
        assert_eq!(Part::MIN_WEIGHT.of(255, 1), 1);
        assert_eq!(Part::WHOLE.of(0, 256), 0);
        assert_eq!(Part::WHOLE.of(256, 1), 256);
    }

    #[test]
    fn weights_follow_a_change_that_counts_and_no_other() {
        let mut before = None;
        let mut settled = |covered| {
            let now = settle(covered, before);
            before = Some(now);
            now
        };
        let steps = [150, 102, 98, 93, 92, 99, 101, 103, 97, 108];
        assert_eq!(steps.map(&mut settled), [150, 102, 102, 102, 92, 92, 92, 103, 103, 103]);
    }

    proptest! {
        #[test]
        fn traffic_is_shared_by_the_local_coverage(local in side(), remote in side(), percent in 1_u64..=100) {
            let capacity = capacity(local, remote, (percent, 100));
            let covered = capacity.covered();
            let weights = capacity.weights(covered);
            prop_assert!(weights.local.0 <= weights.local.1 && weights.remote.0 <= weights.remote.1);
            if local.sound > 0 && remote.sound > 0 && covered > 0 {
                let here = u64::from(covered.min(100));
                // `here / there` is `covered` to the rest, multiplied out.
                prop_assert_eq!(
                    weights.local.0 * local.sound * weights.remote.1 * (100 - here),
                    weights.remote.0 * remote.sound * weights.local.1 * here
                );
            }
        }

        #[test]
        fn a_serving_server_has_a_weight_and_a_draining_one_none(
            parts in (0_u64..1000, 1_u64..1000),
            weight in 0_u16..=256,
        ) {
            let used = Part(parts.0.min(parts.1), parts.1).of(weight, scale(weight));
            prop_assert_eq!(used == 0, weight == 0);
            prop_assert!(used <= 256);
        }

        #[test]
        fn a_better_reach_never_sends_more_away(local in side(), remote in side(), percent in 1_u64..=100) {
            let before = capacity(local, remote, (percent, 100)).covered();
            let more = Side { sound: local.used, ..local };
            prop_assert!(capacity(more, remote, (percent, 100)).covered() >= before);
        }
    }
}
