use prometheus_client::registry::Registry;

use super::*;
use crate::haproxy::{HaproxyStatus, PanicThresholdStatus, ServiceStatus};
use crate::watcher::{Failures, WatcherState};

/// What a scrape shows of one service and one HAProxy.
#[derive(Debug)]
struct Scrape;

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let outcome = ServiceOutcome {
            state: Arc::new(WatcherState {
                failures: Failures { watch: 2, content: 3 },
                freshness: Freshness::Live,
                ..WatcherState::default()
            }),
            ..ServiceOutcome::default()
        };
        encode_services(&mut encoder, &[("web", &outcome)], Instant::now())?;
        let guarded = Guarded {
            state: Arc::clone(&outcome.state),
            held: BTreeMap::new(),
            holds: true,
            remembered: true,
        };
        guard::encode(&mut encoder, &[("web", &guarded)])?;
        let status = HaproxyStatus {
            in_sync: true,
            runtime_commands_ok: 7,
            old_workers: 1,
            services: vec![Arc::new(ServiceStatus {
                id: "web_1".to_owned(),
                quarantined: None,
                servers: Vec::new(),
                free_slots: 8,
                waiting: 0,
                skipped: Vec::new(),
                panic_threshold: Some(PanicThresholdStatus {
                    below: "50%".to_owned(),
                    then: "use-all",
                    healthy: 1,
                    all: 5,
                    active: true,
                    why: String::new(),
                }),
            })],
            ..HaproxyStatus::default()
        };
        haproxy::encode(&mut encoder, &[Arc::new(status)])
    }
}

#[test]
fn the_names_are_what_dashboards_know() {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape));
    let text = common::telemetry::metrics::encode(&registry);
    let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with("# HELP")).collect();
    insta::assert_snapshot!(samples.join("\n"));
}
