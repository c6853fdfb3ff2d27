//! A service as `/status` shows it: Go-Nerve's fields first, then ours. Pure.

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
    /// Why its weight is less than it would be: an advisory check that fails. Empty otherwise.
    pub degraded_reason: String,
    /// The lifecycle's phase.
    pub lifecycle: &'static str,
    /// Since when it is in this phase, milliseconds since the Unix epoch.
    pub since: u64,
    /// What is said of it besides its checks.
    pub overrides: Vec<OverrideView>,
    /// Its checks.
    pub checks: Vec<CheckView>,
    /// Where it is reported.
    pub reporters: Vec<ReporterView>,
}

/// Something that is said of a service besides its checks.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct OverrideView {
    /// `operator`, `hacheck` with the name of its file, or `stop`.
    pub source: String,
    /// `down`, `forced` or `weight`.
    pub kind: &'static str,
    /// The full weight it kind; null when it says something else.
    pub weight: Option<u8>,
    /// Why.
    pub reason: String,
    /// Who says it.
    pub author: String,
    /// Since when, milliseconds since the Unix epoch.
    pub since: u64,
    /// Until when; null: until it is taken back.
    pub expires: Option<u64>,
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
    /// Whether its failure takes the service away, and not just from its weight.
    pub required: bool,
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

/// One probe.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ProbeView {
    /// When it ended, milliseconds since the Unix epoch.
    pub at: u64,
    /// Whether it passed.
    pub ok: bool,
    /// What kind of failure it was, in a word; null when it passed.
    pub failure: Option<&'static str>,
    /// What it said.
    pub detail: String,
    /// How long it took.
    pub latency_ms: f64,
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

/// Where a entry comes from.
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
        reason: entry.note.reason.clone(),
        author: entry.note.author.clone(),
        since: entry.note.since,
        expires: entry.note.expires,
    }
}

/// A probe's view.
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

/// A service's view.
pub fn service_view(service: &ServiceHandle) -> ServiceView {
    let config = &service.config;
    let state = service.state();
    let stand = &state.stand;
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
            kind: reporter.kind,
            target: reporter.target.clone(),
            state: state.as_str(),
            detail: state.detail().to_owned(),
        }
    });
    ServiceView {
        name: config.name.clone(),
        host: config.host.clone(),
        port: config.port,
        status: stand.intent.as_str(),
        max_weight: stand.full_weight,
        current_weight: stand.weight,
        available: stand.available == Some(true),
        reason: stand.reason.clone(),
        degraded_reason: stand.degraded_reason.clone(),
        lifecycle: stand.phase,
        since: state.since,
        overrides: state.overrides.iter().map(override_view).collect(),
        checks: checks.collect(),
        reporters: reporters.collect(),
    }
}
