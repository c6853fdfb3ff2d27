//! The metrics of the guards.

use std::fmt::Error;

use prometheus_client::encoding::DescriptorEncoder;

use super::gauges;
use crate::pipeline::guard::{Guarded, LABELS};

/// The label of a service that is known from the snapshot only.
const SNAPSHOT: &str = "snapshot";

pub(super) fn encode(encoder: &mut DescriptorEncoder<'_>, services: &[(&str, &Guarded)]) -> Result<(), Error> {
    let active = services.iter().flat_map(|(service, guarded)| {
        let by_guard = LABELS.map(|label| (label, guarded.held.values().any(|held| held.why.label() == label)));
        by_guard
            .into_iter()
            .chain([(SNAPSHOT, guarded.remembered)])
            .map(|(label, active)| ([("service", *service), ("guard", label)], u64::from(active)))
    });
    gauges(
        encoder,
        "synapse_guard_active",
        "1 while the guard of the service holds instances that the registry removed: a young source, too large a share \
         or all instances that vanished, a source that never answered.",
        active,
    )?;
    gauges(
        encoder,
        "synapse_guard_held",
        "Instances whose removal is doubted: they stay in use, or default servers help.",
        services
            .iter()
            .map(|(service, guarded)| ([("service", *service)], guarded.held.len() as u64)),
    )
}
