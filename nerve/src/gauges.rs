//! The gauges of running services, computed at scrape time.

use std::fmt;

use common::zk::session::SessionState;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use tokio::runtime::Handle;

use crate::delivery::ReporterKind;
use crate::metrics::{Labels, labels};
use crate::running::{Running, RunningState};
use crate::service::ServiceHandle;

/// The gauges, computed when they are read.
#[derive(Debug)]
pub struct Gauges {
    /// The running state.
    pub running: RunningState,
}

fn shown(running: &Running) -> impl Iterator<Item = &ServiceHandle> {
    let services = running.services.iter();
    services.filter(|service| !service.config.no_metrics)
}

impl Collector for Gauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let running = self.running.load();
        let weights = shown(&running).map(|service| (labels(&service.config), service.state().status.weight.into()));
        gauge(
            &mut encoder,
            "nerve_service_available",
            "The weight it is announced with; 0 when it is not",
            weights,
        )?;

        let nodes = shown(&running).flat_map(|service| {
            let nodes = service
                .reporters
                .iter()
                .filter(|reporter| reporter.kind == ReporterKind::Zookeeper);
            nodes.map(move |node| {
                let labels = vec![("name", service.config.name.clone()), ("path", node.target.clone())];
                (labels, node.is_reported().into())
            })
        });
        gauge(
            &mut encoder,
            "nerve_registered",
            "1 when its node was read back as wanted",
            nodes,
        )?;

        let sessions = running.ensembles.iter().flat_map(|ensemble| {
            let state = session_state(&ensemble.state());
            ["connecting", "connected", "suspended", "closed"].map(|name| {
                let labels = vec![("ensemble", ensemble.name().to_owned()), ("state", name.to_owned())];
                (labels, i64::from(name == state))
            })
        });
        gauge(
            &mut encoder,
            "nerve_zk_session_state",
            "1 for the state a ZooKeeper session is in",
            sessions,
        )?;

        // Without a runtime nothing is served.
        let tasks = Handle::try_current().map_or(0, |runtime| runtime.metrics().num_alive_tasks());
        let tasks = ConstGauge::new(i64::try_from(tasks).unwrap_or(i64::MAX));
        tasks.encode(encoder.encode_descriptor("nerve_tasks", "Tasks that run", None, MetricType::Gauge)?)
    }
}

fn session_state(link: &SessionState) -> &'static str {
    match link {
        SessionState::Connecting { .. } => "connecting",
        SessionState::Connected(_) => "connected",
        SessionState::Suspended(..) => "suspended",
        SessionState::Closed => "closed",
    }
}

fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl Iterator<Item = (Labels, i64)>,
) -> fmt::Result {
    let mut values = values.peekable();
    if values.peek().is_none() {
        return Ok(());
    }
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in values {
        ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use common::ready::Readiness;
    use common::telemetry::metrics::encode;
    use common::zk::session::{EnsembleConfig, ensemble};
    use tokio::sync::watch;

    use std::time::Duration;

    use crate::lifecycle::machine::CommandKind;
    use crate::metrics::Metrics;
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::config::testing;
    use crate::delivery::{ReporterHandle, ReporterState};
    use crate::service::{Context, service};

    fn exposition(keys: &str) -> String {
        let config = testing::service(&format!("{{ name: web, port: 80, {keys} }}"));
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        metrics.check(&config, "tcp").observe(Duration::from_millis(3), false);
        metrics.reporter(&config, "zookeeper");
        let (_sender, state) = watch::channel(ReporterState::Reported);
        let node = ReporterHandle {
            kind: ReporterKind::Zookeeper,
            target: "/services/web".to_owned(),
            state,
        };
        let ready = Readiness::default().latch("web");
        let (handle, ..) = service(config, vec![node], &Context::new(metrics), ready);
        let (_ensemble, task) = ensemble(EnsembleConfig {
            hosts: vec!["zk:2181".to_owned()],
            session_timeout: Duration::from_secs(10),
            security: common::zk::security::Security::default(),
        });
        let running = RunningState::default();
        running.publish(Running {
            services: vec![handle],
            ensembles: vec![task.observer()],
            effective: "".into(),
        });
        registry.register_collector(Box::new(Gauges { running }));
        encode(&registry)
    }

    /// The series, without their values and the histogram's buckets.
    fn series(text: &str) -> BTreeSet<&str> {
        text.lines()
            .filter(|line| !line.starts_with('#') && !line.contains("_bucket"))
            .filter_map(|line| line.rsplit_once(' ').map(|(series, _)| series))
            .collect()
    }

    #[test]
    fn the_names_and_labels_are_stable() {
        let text = exposition("noMetrics: false");
        let expected = "\
nerve_check_lateness_seconds_count
nerve_check_lateness_seconds_sum
nerve_check_duration_seconds_count{name=\"web\",ip=\"127.0.0.1\",port=\"80\",type=\"tcp\"}
nerve_check_duration_seconds_sum{name=\"web\",ip=\"127.0.0.1\",port=\"80\",type=\"tcp\"}
nerve_checker_failure_total{name=\"web\",ip=\"127.0.0.1\",port=\"80\",type=\"tcp\"}
nerve_exec_failure_total{name=\"web\",ip=\"127.0.0.1\",port=\"80\",type=\"check-stable\"}
nerve_exec_failure_total{name=\"web\",ip=\"127.0.0.1\",port=\"80\",type=\"disable-grace\"}
nerve_exec_failure_total{name=\"web\",ip=\"127.0.0.1\",port=\"80\",type=\"disable-shutdown\"}
nerve_exec_failure_total{name=\"web\",ip=\"127.0.0.1\",port=\"80\",type=\"pre-available\"}
nerve_registered{name=\"web\",path=\"/services/web\"}
nerve_reporter_failure_total{name=\"web\",ip=\"127.0.0.1\",port=\"80\",type=\"zookeeper\"}
nerve_service_available{name=\"web\",ip=\"127.0.0.1\",port=\"80\"}
nerve_tasks
nerve_zk_session_state{ensemble=\"zk:2181\",state=\"closed\"}
nerve_zk_session_state{ensemble=\"zk:2181\",state=\"connected\"}
nerve_zk_session_state{ensemble=\"zk:2181\",state=\"connecting\"}
nerve_zk_session_state{ensemble=\"zk:2181\",state=\"suspended\"}";
        assert_eq!(series(&text), expected.lines().collect());
        assert!(text.contains("nerve_checker_failure_total{name=\"web\",ip=\"127.0.0.1\",port=\"80\",type=\"tcp\"} 1"));
    }

    #[test]
    fn a_removed_service_has_no_series() {
        let config =
            testing::service("{ name: web, port: 80, checks: [{ type: tcp }, { type: exec, command: [true] }] }");
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        for check in &config.checks {
            metrics
                .check(&config, check.kind.as_str())
                .observe(Duration::from_millis(3), false);
        }
        metrics.reporter(&config, "console");
        for kind in CommandKind::ALL {
            metrics.command(&config, kind);
        }
        assert!(encode(&registry).contains("web"));
        metrics.forget(&config);
        let text = encode(&registry);
        assert!(!text.contains("web"), "{text}");
    }

    #[test]
    fn a_service_without_metrics_has_none() {
        let text = exposition("noMetrics: true");
        assert!(!text.contains("name=\"web\""), "{text}");
    }
}
