//! The metrics: those of Go-Nerve under their names, and nerve's own.
//!
//! Counters are zero from the start. Gauges are computed from the published state when they are read, so no series outlives
//! its service.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::config::ServiceConfig;
use crate::lifecycle::machine::CommandKind;

pub(crate) type Labels = Vec<(&'static str, String)>;
type Histograms = Family<Labels, Histogram, fn() -> Histogram>;

const SECONDS: [f64; 10] = [0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

/// The counters of a daemon.
#[derive(Debug, Clone)]
pub struct Metrics {
    check_failures: Family<Labels, Counter>,
    check_lateness: Histogram,
    check_seconds: Histograms,
    command_failures: Family<Labels, Counter>,
    report_failures: Family<Labels, Counter>,
}

/// The counters of a check.
#[derive(Debug, Clone)]
pub struct CheckMetrics {
    failures: Counter,
    lateness: Histogram,
    seconds: Histogram,
}

impl CheckMetrics {
    /// Records by how much the start of a probe was late.
    pub fn started(&self, late: Duration) {
        self.lateness.observe(late.as_secs_f64());
    }

    /// Records the end of a probe.
    pub fn observe(&self, latency: Duration, passed: bool) {
        self.seconds.observe(latency.as_secs_f64());
        if !passed {
            self.failures.inc();
        }
    }
}

impl Metrics {
    /// Registers the counters in `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            check_failures: Family::default(),
            check_lateness: Histogram::new(SECONDS),
            check_seconds: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            command_failures: Family::default(),
            report_failures: Family::default(),
        };
        let counters = [
            ("nerve_checker_failure", "Probes that failed", &metrics.check_failures),
            (
                "nerve_exec_failure",
                "Lifecycle commands that failed",
                &metrics.command_failures,
            ),
            (
                "nerve_reporter_failure",
                "Reports that could not be delivered",
                &metrics.report_failures,
            ),
        ];
        for (name, help, family) in counters {
            registry.register(name, help, family.clone());
        }
        registry.register(
            "nerve_check_lateness_seconds",
            "How long after they were due probes started",
            metrics.check_lateness.clone(),
        );
        registry.register(
            "nerve_check_duration_seconds",
            "How long probes take",
            metrics.check_seconds.clone(),
        );
        metrics
    }

    /// Returns the counters of a check; those of a service with `noMetrics` are not registered.
    pub fn check(&self, service: &ServiceConfig, kind: &str) -> CheckMetrics {
        if service.no_metrics {
            return CheckMetrics {
                failures: Counter::default(),
                lateness: self.check_lateness.clone(),
                seconds: Histogram::new([]),
            };
        }
        let labels = typed(service, kind);
        CheckMetrics {
            failures: self.check_failures.get_or_create(&labels).clone(),
            lateness: self.check_lateness.clone(),
            seconds: self.check_seconds.get_or_create(&labels).clone(),
        }
    }

    /// Returns the counter of a lifecycle command's failures.
    pub fn command(&self, service: &ServiceConfig, kind: CommandKind) -> Counter {
        counter(&self.command_failures, service, kind.as_str())
    }

    /// Returns the counter of a reporter's failures.
    pub fn reporter(&self, service: &ServiceConfig, kind: &str) -> Counter {
        counter(&self.report_failures, service, kind)
    }

    /// Removes the series of a service. The caller ensures that no other service has its name and address.
    pub fn forget(&self, service: &ServiceConfig) {
        for check in &service.checks {
            let labels = typed(service, check.kind.as_str());
            self.check_failures.remove(&labels);
            self.check_seconds.remove(&labels);
        }
        for kind in CommandKind::ALL {
            self.command_failures.remove(&typed(service, kind.as_str()));
        }
        for reporter in &service.reporters {
            self.report_failures.remove(&typed(service, reporter.as_str()));
        }
    }
}

fn counter(family: &Family<Labels, Counter>, service: &ServiceConfig, kind: &str) -> Counter {
    if service.no_metrics {
        return Counter::default();
    }
    family.get_or_create(&typed(service, kind)).clone()
}

pub(crate) fn labels(service: &ServiceConfig) -> Labels {
    vec![
        ("name", service.name.clone()),
        ("ip", service.host.clone()),
        ("port", service.port.to_string()),
    ]
}

pub(crate) fn typed(service: &ServiceConfig, kind: &str) -> Labels {
    let mut labels = labels(service);
    labels.push(("type", kind.to_owned()));
    labels
}
