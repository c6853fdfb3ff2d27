//! From a service's status to the report that its reporters deliver. Pure.

use common::report::Report;

use crate::config::ServiceConfig;
use crate::lifecycle::machine::LifecycleStatus;

/// Returns the report of a service; `None` when the last report stays in force.
pub(super) fn report_for(config: &ServiceConfig, status: &LifecycleStatus) -> Option<Report> {
    let available = status.available?;
    Some(Report {
        available,
        unavailable_reason: if available {
            String::new()
        } else {
            status.reason.clone()
        },
        host: config.host.clone(),
        port: config.port,
        name: config.report_name.clone(),
        haproxy_server_options: config.haproxy_server_options.clone(),
        weight: Some(u16::from(status.weight)),
        labels: config.labels.clone(),
    })
}
