//! `serverCorrelation`: a service leaves out what another one uses, or has in the first place. Pure.
//!
//! What counts is what the other would use without its own correlation, so the result depends neither on the order of
//! the services nor on which of them changed last, and two services may exclude each other's. A server is recognised by
//! its registered name, as in Go-Synapse: the two services usually have different ports.

use std::collections::BTreeSet;

use super::{Seed, Selection, Verdict, subset};
use crate::config::{Scope, ServiceConfig};
use crate::health::Health;

/// Excludes; returns which services are unknown: those that were, and those that depend on one that was.
pub(crate) fn exclude(
    services: &[ServiceConfig],
    selections: &mut [Selection<'_>],
    unknown: &[bool],
    health: &Health,
    seed: Seed,
) -> Vec<bool> {
    let excluded: Vec<Option<(BTreeSet<String>, bool)>> = services
        .iter()
        .map(|service| {
            let correlation = service.selection.correlation.as_ref()?;
            let place = services
                .iter()
                .position(|other| other.name == correlation.other_service)?;
            let (other, selection) = (services.get(place)?, selections.get(place)?);
            let used = subset::of(selection, other, health, seed);
            let count = match correlation.scope {
                Scope::First => 1,
                Scope::All => usize::MAX,
            };
            let names = used.iter().take(count).map(|used| used.server.name.clone());
            Some((names.collect(), unknown.get(place).copied().unwrap_or_default()))
        })
        .collect();
    let mut result = unknown.to_vec();
    for (((service, selection), result), excluded) in services.iter().zip(selections).zip(&mut result).zip(excluded) {
        let (Some(correlation), Some((names, is_unknown))) = (&service.selection.correlation, excluded) else {
            continue;
        };
        *result |= is_unknown;
        selection.leave_out(|candidate| {
            names.contains(&candidate.server.name).then(|| Verdict::ExcludedBy {
                service: correlation.other_service.clone(),
                scope: correlation.scope,
            })
        });
    }
    result
}
