//! A service as in `/status`: Go-Nerve's fields first, then nerve's own. Pure.

use serde::Serialize;

use crate::health::verdict::{Importance, Verdict};
use crate::overrides::{Override, OverrideKind, Source};
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
    /// The operator's intent: `enabled`, `disabled` or `forced`.
    pub status: &'static str,
    /// The full weight.
    pub max_weight: u8,
    /// The current weight.
    pub current_weight: u8,
    /// Whether it is reported as available.
    pub available: bool,
    /// The reason it is not; empty when it is.
    pub reason: String,
    /// The failure of an advisory check that lowers the weight; empty otherwise.
    pub degraded_reason: String,
    /// The lifecycle's phase.
    pub lifecycle: &'static str,
    /// The start of this phase, milliseconds since the Unix epoch.
    pub since: u64,
    /// The overrides in force.
    pub overrides: Vec<OverrideView>,
    /// Its checks.
    pub checks: Vec<CheckView>,
    /// Its reporters.
    pub reporters: Vec<ReporterView>,
}

/// One override.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct OverrideView {
    /// `operator`, `hacheck` with the name of its file, `hook` or `stop`.
    pub source: String,
    /// `down`, `forced` or `weight`.
    pub kind: &'static str,
    /// The full weight it sets; null for the other kinds.
    pub weight: Option<u8>,
    /// The reason.
    pub reason: String,
    /// The author.
    pub author: String,
    /// The start, milliseconds since the Unix epoch.
    pub since: u64,
    /// The end; null when it has none.
    pub expires: Option<u64>,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CheckView {
    /// Its type.
    #[serde(rename = "Type")]
    pub kind: &'static str,
    /// The target of its probes.
    pub target: String,
    /// Whether its failure makes the service unavailable; otherwise it lowers the weight.
    pub required: bool,
    /// Its result after rise and fall; null before the first probe.
    pub ok: Option<bool>,
    /// The kind of the last probe's failure; null when it passed.
    pub failure: Option<&'static str>,
    /// The detail of the last probe.
    pub detail: String,
    /// The duration of the last probe.
    pub latency_ms: Option<f64>,
    /// The end of the last probe, milliseconds since the Unix epoch.
    pub at: Option<u64>,
}

/// One probe.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ProbeView {
    /// Its end, milliseconds since the Unix epoch.
    pub at: u64,
    /// Whether it passed.
    pub ok: bool,
    /// The kind of its failure; null when it passed.
    pub failure: Option<&'static str>,
    /// Its detail.
    pub detail: String,
    /// Its duration.
    pub latency_ms: f64,
}

/// One reporter.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ReporterView {
    /// Its type.
    #[serde(rename = "Type")]
    pub kind: &'static str,
    /// The path of its node or file, or `stdout`.
    pub target: String,
    /// The state of its delivery.
    pub state: &'static str,
    /// The reason that it is not as desired; empty when it is.
    pub detail: String,
}

/// Returns the text of an override's source.
pub fn source_of(source: &Source) -> String {
    match source {
        Source::Operator => "operator".to_owned(),
        Source::Hacheck(file) => format!("hacheck {file}"),
        Source::Hook => "hook".to_owned(),
        Source::Stop => "stop".to_owned(),
    }
}

fn override_view(entry: &Override) -> OverrideView {
    let (kind, weight) = match entry.kind {
        OverrideKind::Down => ("down", None),
        OverrideKind::Forced => ("forced", None),
        OverrideKind::Weight(weight) => ("weight", Some(weight)),
    };
    OverrideView {
        source: source_of(&entry.source),
        kind,
        weight,
        reason: entry.metadata.reason.clone(),
        author: entry.metadata.author.clone(),
        since: entry.metadata.since,
        expires: entry.metadata.expires,
    }
}

/// Returns a probe's view.
pub fn probe_view(verdict: &Verdict) -> ProbeView {
    let failure = verdict.outcome.as_ref().err();
    ProbeView {
        at: verdict.at,
        ok: failure.is_none(),
        failure: failure.map(|failure| failure.kind.as_str()),
        detail: match &verdict.outcome {
            Ok(detail) => detail.clone(),
            Err(failure) => failure.detail.clone(),
        },
        latency_ms: verdict.latency.as_secs_f64() * 1000.0,
    }
}

/// Returns a service's view.
pub fn service_view(service: &ServiceHandle) -> ServiceView {
    let config = &service.config;
    let state = service.state();
    let status = &state.status;
    let checks = config.checks.iter().zip(&state.checks).map(|(config, state)| {
        let last = state.history.last().map(probe_view);
        CheckView {
            kind: config.kind.as_str(),
            target: config.target(),
            required: config.importance == Importance::Required,
            ok: state.up,
            failure: last.as_ref().and_then(|last| last.failure),
            latency_ms: last.as_ref().map(|last| last.latency_ms),
            at: last.as_ref().map(|last| last.at),
            detail: last.map_or_else(String::new, |last| last.detail),
        }
    });
    let reporters = service.reporters.iter().map(|reporter| {
        let state = reporter.state.borrow();
        ReporterView {
            kind: reporter.kind.as_str(),
            target: reporter.target.clone(),
            state: state.as_str(),
            detail: state.detail().to_owned(),
        }
    });
    ServiceView {
        name: config.name.clone(),
        host: config.host.clone(),
        port: config.port,
        status: status.intent.as_str(),
        max_weight: status.full_weight,
        current_weight: status.weight,
        available: status.available == Some(true),
        reason: status.reason.clone(),
        degraded_reason: status.degraded_reason.clone(),
        lifecycle: status.phase.as_str(),
        since: state.since,
        overrides: state.overrides.iter().map(override_view).collect(),
        checks: checks.collect(),
        reporters: reporters.collect(),
    }
}
