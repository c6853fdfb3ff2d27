//! A service as `/status` shows it: Go-Nerve's fields first, then ours. Pure.

use serde::Serialize;

use crate::service::ServiceHandle;

/// One service.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ServiceView {
    /// Its name.
    pub name: String,
    /// Its announced host.
    pub host: String,
    /// Its announced port.
    pub port: u16,
    /// `enabled`, `disabled` or `forced`: the operator's word.
    pub status: &'static str,
    /// The full weight.
    pub max_weight: u8,
    /// The weight now.
    pub current_weight: u8,
    /// Whether it is announced as available.
    pub available: bool,
    /// Why it is not; empty when it is.
    pub reason: String,
    /// The lifecycle's phase.
    pub lifecycle: &'static str,
    /// Since when it is in this phase, milliseconds since the Unix epoch.
    pub since: u64,
    /// Its checks.
    pub checks: Vec<CheckView>,
    /// Where it is reported.
    pub reporters: Vec<ReporterView>,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CheckView {
    /// Its type.
    #[serde(rename = "Type")]
    pub kind: &'static str,
    /// What it probes.
    pub target: String,
    /// Its word after rise and fall; null before the first probe.
    pub ok: Option<bool>,
    /// What kind of failure the last probe was, in a word; null when it passed.
    pub failure: Option<&'static str>,
    /// What the last probe said.
    pub detail: String,
    /// How long the last probe took.
    pub latency_ms: Option<f64>,
    /// When the last probe ended, milliseconds since the Unix epoch.
    pub at: Option<u64>,
}

/// One reporter.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ReporterView {
    /// Its type.
    #[serde(rename = "Type")]
    pub kind: &'static str,
    /// Where it reports.
    pub target: String,
    /// Where it stands.
    pub state: &'static str,
    /// Why it is not as it should be; empty when it is.
    pub detail: String,
}

/// A service's view.
pub fn service_view(service: &ServiceHandle) -> ServiceView {
    let config = &service.config;
    let state = service.state();
    let stand = &state.stand;
    let checks = config.checks.iter().zip(&state.checks).map(|(config, state)| {
        let last = state.history.last();
        CheckView {
            kind: config.kind.word(),
            target: config.target(),
            ok: state.up,
            failure: last
                .and_then(|verdict| verdict.outcome.as_ref().err())
                .map(|failure| failure.kind.word()),
            detail: last.map_or_else(String::new, |verdict| match &verdict.outcome {
                Ok(detail) => detail.clone(),
                Err(failure) => failure.detail.clone(),
            }),
            latency_ms: last.map(|verdict| verdict.latency.as_secs_f64() * 1000.0),
            at: last.map(|verdict| verdict.at),
        }
    });
    let reporters = service.reporters.iter().map(|reporter| {
        let state = reporter.state.borrow();
        ReporterView {
            kind: reporter.kind,
            target: reporter.target.clone(),
            state: state.word(),
            detail: state.detail().to_owned(),
        }
    });
    ServiceView {
        name: config.name.clone(),
        host: config.host.clone(),
        port: config.port,
        status: stand.intent.word(),
        max_weight: stand.full_weight,
        current_weight: stand.weight,
        available: stand.available == Some(true),
        reason: stand.reason.clone(),
        lifecycle: stand.phase,
        since: state.since,
        checks: checks.collect(),
        reporters: reporters.collect(),
    }
}
