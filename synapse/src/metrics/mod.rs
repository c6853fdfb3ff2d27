//! The metrics, computed from the published states at each scrape: what is gone from a state is gone from the next
//! scrape, and everything that is configured is there from the first.
//!
//! The first four are Go-Synapse's, with its names, labels and type (gauges, though two of them count).

mod guard;
mod haproxy;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt::Error;
use std::sync::Arc;

use common::zk::reflector::Freshness;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use tokio::time::Instant;

use crate::api::age_seconds;
use crate::haproxy::{HaproxyStatus, ReloadResult};
use crate::pipeline::catalog::{Outcome, ServiceOutcome};
use crate::pipeline::guard::Guarded;
use crate::running::RunningState;
use crate::running::{RouterHandle, RunningRouter};

/// Reads the routers' states.
#[derive(Debug)]
pub struct Metrics {
    running: RunningState,
    started: Instant,
}

impl Metrics {
    /// Metrics of the routers in `running`; `started` is when the daemon did.
    pub fn new(running: RunningState, started: Instant) -> Self {
        Self { running, started }
    }
}

/// By service of all routers: the name, or the id where a name is not unique.
fn labels(routers: &[RunningRouter]) -> Vec<&str> {
    let services = || routers.iter().flat_map(|router| &router.services);
    let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
    for service in services() {
        *seen.entry(&service.name).or_default() += 1;
    }
    services()
        .map(|service| match seen.get(service.name.as_str()) {
            Some(1) => service.name.as_str(),
            _ => service.id.as_str(),
        })
        .collect()
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let running = self.running.load();
        let outcomes: Vec<Arc<Outcome>> = running
            .routers
            .iter()
            .map(|router| router.pipeline.outcome.borrow().clone())
            .collect();
        let services: Vec<(&str, &ServiceOutcome)> = labels(&running.routers)
            .into_iter()
            .zip(outcomes.iter().flat_map(|outcome| &outcome.services))
            .collect();
        let haproxies: Vec<Arc<HaproxyStatus>> = running
            .routers
            .iter()
            .filter_map(|router| match &router.handle {
                RouterHandle::Haproxy(haproxy) => Some(haproxy.status()),
                RouterHandle::Plain(..) => None,
            })
            .collect();
        encode_updates(&mut encoder, &running.routers, &haproxies)?;
        encode_services(&mut encoder, &services, self.started)?;
        let guarded: Vec<Arc<Vec<Guarded>>> = running
            .routers
            .iter()
            .map(|router| router.pipeline.guarded.borrow().clone())
            .collect();
        let guards: Vec<(&str, &Guarded)> = labels(&running.routers)
            .into_iter()
            .zip(guarded.iter().flat_map(|router| router.iter()))
            .collect();
        guard::encode(&mut encoder, &guards)?;
        if haproxies.is_empty() {
            return Ok(());
        }
        haproxy::encode(&mut encoder, &haproxies)
    }
}

/// `synapse_router_update_failure{type}`: summed over the routers of a type.
fn encode_updates(
    encoder: &mut DescriptorEncoder<'_>,
    routers: &[RunningRouter],
    haproxies: &[Arc<HaproxyStatus>],
) -> Result<(), Error> {
    let mut failures: BTreeMap<&str, u64> = BTreeMap::new();
    for router in routers {
        match &router.handle {
            RouterHandle::Plain(name, applier) => *failures.entry(name).or_default() += applier.status().failures,
            RouterHandle::Haproxy(_) => {}
        }
    }
    for status in haproxies {
        *failures.entry("haproxy").or_default() += status.reloads(ReloadResult::Failed);
        *failures.entry("haproxy_socket").or_default() += status.runtime_commands_failed;
    }
    gauges(
        encoder,
        "synapse_router_update_failure",
        "Updates that a router could not make, since the start.",
        failures.into_iter().map(|(kind, count)| ([("type", kind)], count)),
    )
}

fn encode_services(
    encoder: &mut DescriptorEncoder<'_>,
    services: &[(&str, &ServiceOutcome)],
    started: Instant,
) -> Result<(), Error> {
    let each = |value: fn(&ServiceOutcome) -> u64| {
        services
            .iter()
            .map(move |(label, outcome)| ([("service", *label)], value(outcome)))
    };
    gauges(
        encoder,
        "synapse_service_available_count",
        "Instances of the service that are used.",
        each(|outcome| outcome.used() as u64),
    )?;
    gauges(
        encoder,
        "synapse_service_unavailable_count",
        "Registered instances of the service that are not used, for any reason.",
        each(|outcome| (outcome.left_out.len() + outcome.state.skipped.len()) as u64),
    )?;
    gauges(
        encoder,
        "synapse_watcher_failure",
        "Failures to read the source (watch) or one of its entries (content), since the start.",
        services.iter().flat_map(|(label, outcome)| {
            let failures = outcome.state.failures;
            [("watch", failures.watch), ("content", failures.content)]
                .map(|(kind, count)| ([("service", *label), ("type", kind)], count))
        }),
    )?;
    let now = Instant::now();
    gauges(
        encoder,
        "synapse_data_age_seconds",
        "How old the known instances are: 0 while the source is watched.",
        services.iter().map(|(label, outcome)| {
            let age = age_seconds(outcome.state.freshness, started, now);
            ([("service", *label)], age)
        }),
    )?;
    gauges(
        encoder,
        "synapse_stale",
        "1 while the source is not watched and the last known instances are used.",
        each(|outcome| u64::from(outcome.state.freshness != Freshness::Live)),
    )
}

/// One family of gauges.
fn gauges<'l, const N: usize>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = ([(&'l str, &'l str); N], u64)>,
) -> Result<(), Error> {
    let gauge = |value| ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
    family(encoder, name, help, MetricType::Gauge, values, gauge)
}

/// One family of counters; the encoder adds `_total` to the name.
fn counters<'l, const N: usize>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = ([(&'l str, &'l str); N], u64)>,
) -> Result<(), Error> {
    family(
        encoder,
        name,
        help,
        MetricType::Counter,
        values,
        ConstCounter::<u64>::new,
    )
}

fn family<'l, const N: usize, M: EncodeMetric>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    kind: MetricType,
    values: impl IntoIterator<Item = ([(&'l str, &'l str); N], u64)>,
    metric: impl Fn(u64) -> M,
) -> Result<(), Error> {
    let mut family = encoder.encode_descriptor(name, help, None, kind)?;
    for (labels, value) in values {
        let metric = metric(value);
        if N == 0 {
            // Without labels there is one value, and no set of labels may be written.
            return metric.encode(family);
        }
        metric.encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}
