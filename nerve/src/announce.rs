//! From a service's state to the report that its reporters deliver. Pure.

use common::report::Report;

use crate::config::ServiceConfig;
use crate::lifecycle::machine::Stand;

/// What is to be said of a service; `None` when there is nothing new to say: what was said last stays.
pub fn announce(config: &ServiceConfig, stand: &Stand) -> Option<Report> {
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

/// The bytes a ZooKeeper node should hold; `None` when it should not be there.
pub fn node_content(report: &Report, expose_on_unavailable: bool) -> Option<Vec<u8>> {
    (report.available || expose_on_unavailable).then(|| report.encode())
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
