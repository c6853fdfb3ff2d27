//! `serverCorrelation`: a service leaves out the server that another one has in the first place.
//!
//! What counts is the other's order before its own correlation, so the result depends neither on the order of the
//! services nor on which of them changed last, and two services may exclude each other's first. A server is recognised
//! by its registered name, as in Go-Synapse: the two services usually have different ports.

use super::{Selection, Verdict};
use crate::config::ServiceConfig;

/// Excludes; returns which services are unknown: those that were, and those that depend on one that was.
pub(super) fn exclude(services: &[ServiceConfig], selections: &mut [Selection<'_>], unknown: &[bool]) -> Vec<bool> {
    let firsts: Vec<Option<String>> = selections
        .iter()
        .map(|selection| selection.kept.first().map(|first| first.server.name.clone()))
        .collect();
    let mut result = unknown.to_vec();
    for ((service, selection), result) in services.iter().zip(selections).zip(&mut result) {
        let Some(correlation) = &service.correlation else {
            continue;
        };
        let other = services.iter().zip(&firsts).zip(unknown);
        let other = other
            .filter(|((other, _), _)| other.name == correlation.other_service)
            .map(|((_, first), unknown)| (first, unknown))
            .next();
        let Some((first, unknown)) = other else {
            continue;
        };
        *result |= unknown;
        if let Some(first) = first {
            selection.leave_out(|candidate| {
                (candidate.server.name == *first).then(|| Verdict::ExcludedBy(correlation.other_service.clone()))
            });
        }
    }
    result
}
