//! From a service's state to the report that its reporters deliver. Pure.

use common::clock::unix_millis;
use common::report::{Dialect, Report};

use crate::config::ServiceConfig;
use crate::lifecycle::machine::LifecycleStatus;

/// What is to be said of a service; `None` when there is nothing new to say: what was said last stays.
pub fn announce(config: &ServiceConfig, stand: &LifecycleStatus) -> Option<Report> {
    let available = stand.available?;
    Some(Report {
        available,
        unavailable_reason: if available { String::new() } else { stand.reason.clone() },
        host: config.host.clone(),
        port: config.port,
        name: config.report_name.clone(),
        haproxy_server_options: config.haproxy_server_options.clone(),
        weight: Some(u16::from(stand.weight)),
        labels: config.labels.clone(),
    })
}

/// How a ZooKeeper node words a report.
#[derive(Debug, Clone)]
pub struct PayloadEncoder {
    payload: Dialect,
    expose_on_unavailable: bool,
    /// Since when the instance is registered, milliseconds since the Unix epoch.
    since: u64,
}

impl PayloadEncoder {
    /// From now on.
    pub fn new(payload: Dialect, expose_on_unavailable: bool) -> Self {
        Self {
            payload,
            expose_on_unavailable,
            since: unix_millis(),
        }
    }

    /// The bytes a node should hold; `None` when it should not be there.
    pub fn content(&self, report: &Report) -> Option<Vec<u8>> {
        (report.available || self.expose_on_unavailable).then(|| self.payload.encode(report, self.since))
    }
}

/// The text a file or the console gets: a line, or with `blank_when_unavailable` nothing for an unavailable service.
pub fn line(report: &Report, blank_when_unavailable: bool) -> Vec<u8> {
    if !report.available && blank_when_unavailable {
        return Vec::new();
    }
    let mut line = report.encode();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::service;
    use crate::lifecycle::machine::Intent;

    fn node_content(report: &Report, expose_on_unavailable: bool) -> Option<Vec<u8>> {
        PayloadEncoder::new(Dialect::Go, expose_on_unavailable).content(report)
    }

    fn stand(available: Option<bool>) -> LifecycleStatus {
        LifecycleStatus {
            intent: Intent::Enabled,
            phase: "up",
            available,
            reason: if available == Some(true) {
                String::new()
            } else {
                "tcp: refused".to_owned()
            },
            full_weight: 255,
            degraded_reason: String::new(),
            weight: if available == Some(true) { 255 } else { 0 },
        }
    }

    fn report(available: bool) -> Report {
        let config = service("{ name: web, host: 10.0.0.1, port: 80, labels: { az: b } }");
        announce(&config, &stand(Some(available))).expect("there is something to say")
    }

    #[test]
    fn nothing_is_said_of_an_unknown_service() {
        assert_eq!(announce(&service("{ port: 80 }"), &stand(None)), None);
    }

    #[test]
    fn an_available_service_is_announced_everywhere() {
        let bytes = r#"{"available":true,"host":"10.0.0.1","port":80,"name":"web","weight":255,"labels":{"az":"b"}}"#;
        let report = report(true);
        assert_eq!(node_content(&report, false).as_deref(), Some(bytes.as_bytes()));
        assert_eq!(line(&report, true), format!("{bytes}\n").into_bytes());
    }

    #[test]
    fn an_unavailable_service_has_no_node_unless_exposed_and_an_empty_file() {
        let bytes = concat!(
            r#"{"available":false,"unavailable_reason":"tcp: refused","host":"10.0.0.1","port":80,"#,
            r#""name":"web","weight":0,"labels":{"az":"b"}}"#
        );
        let report = report(false);
        assert_eq!(node_content(&report, false), None);
        assert_eq!(node_content(&report, true).as_deref(), Some(bytes.as_bytes()));
        assert_eq!(line(&report, true), b"");
        assert_eq!(line(&report, false), format!("{bytes}\n").into_bytes());
    }
}
