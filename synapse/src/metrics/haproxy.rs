//! The metrics of HAProxy routers, summed where there are several.

use std::collections::BTreeMap;
use std::fmt::Error;
use std::sync::Arc;

use prometheus_client::encoding::DescriptorEncoder;

use super::{counters, gauges};
use crate::haproxy::{HaproxyStatus, RELOAD_REASONS};

pub(super) fn encode(encoder: &mut DescriptorEncoder<'_>, all: &[Arc<HaproxyStatus>]) -> Result<(), Error> {
    let sum = |of: fn(&HaproxyStatus) -> u64| all.iter().map(|status| of(status)).sum::<u64>();
    let every = RELOAD_REASONS
        .iter()
        .flat_map(|reason| ["ok", "failed"].map(|result| ((*reason, result), 0)));
    let mut reloads: BTreeMap<(&str, &str), u64> = every.collect();
    for reload in all.iter().flat_map(|status| &status.reloads) {
        *reloads.entry((reload.reason, reload.result.as_str())).or_default() += reload.count;
    }
    counters(
        encoder,
        "synapse_haproxy_reloads",
        "Reloads and starts of HAProxy.",
        reloads
            .into_iter()
            .map(|((reason, result), count)| ([("reason", reason), ("result", result)], count)),
    )?;
    counters(
        encoder,
        "synapse_runtime_commands",
        "Commands sent to the running HAProxy.",
        [
            ([("result", "ok")], sum(|status| status.runtime_commands_ok)),
            ([("result", "failed")], sum(|status| status.runtime_commands_failed)),
        ],
    )?;
    counters(
        encoder,
        "synapse_drift_repairs",
        "Servers that were changed by another program and repaired.",
        [([], sum(|status| status.drift_repairs))],
    )?;
    gauges(
        encoder,
        "synapse_in_sync",
        "1 while every HAProxy was last seen to be exactly as desired.",
        [([], u64::from(all.iter().all(|status| status.in_sync)))],
    )?;
    gauges(
        encoder,
        "synapse_haproxy_old_workers",
        "Workers that a reload has replaced and that still have connections.",
        [([], sum(|status| status.old_workers as u64))],
    )?;
    let services = || all.iter().flat_map(|status| &status.services);
    let ruled = services().filter_map(|service| Some((service.id.as_str(), service.panic_threshold.as_ref()?)));
    gauges(
        encoder,
        "synapse_panic_threshold_active",
        "1 while too few servers of the service are healthy for its panicThreshold; `service` is its id.",
        ruled.map(|(id, rule)| ([("service", id)], u64::from(rule.active))),
    )?;
    gauges(
        encoder,
        "synapse_quarantined",
        "1 while HAProxy refuses the service or options of its instances; `service` is its id.",
        services().map(|service| {
            (
                [("service", service.id.as_str())],
                u64::from(service.quarantined.is_some()),
            )
        }),
    )
}
