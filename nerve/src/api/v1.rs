//! `/v1`: the same services as JSON in `lowerCamelCase`, and the routes that Go-Nerve does not have.

use common::http::{Method, Reply, Request, reload_route};
use serde::Serialize;
use serde_json::Value;

use super::commands::{Body, CommandRequest, Outcome};
use super::view::{probe_view, service_view};
use super::{App, changes, events, no_route, push, read_only, unknown};
use crate::service::ServiceHandle;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct OutcomeView {
    service: String,
    outcome: String,
    waited_ms: u64,
}

impl App {
    /// Answers a path below `/v1`.
    pub(super) async fn v1(&self, request: &Request, path: &[&str]) -> Reply {
        match path {
            ["services"] => read_only(request, || {
                let views: Vec<_> = self.running.load().services.iter().map(shown).collect();
                Reply::json(200, &views)
            }),
            // Arguments of commands may hold secrets that no key marks as such.
            ["config"] if request.refusal.is_some() => Reply::problem(
                403,
                "Forbidden",
                "The configuration is shown to programs of this machine only.",
            ),
            ["config"] => read_only(request, || Reply::json_text(200, &*self.running.load().effective)),
            ["events"] => read_only(request, || {
                events::listen(self.running.clone(), &self.changes, &self.listeners)
            }),
            ["reload"] => reload_route(request, &self.reloads, "nerve").await,
            ["services", name, rest @ ..] => match (rest, self.service(name)) {
                ([] | ["checks" | "disable" | "enable" | "weight"] | ["checks", _, "push"], None) => unknown(name),
                ([], Some(service)) => read_only(request, || Reply::json(200, &shown(&service))),
                (["checks"], Some(service)) => read_only(request, || Reply::json(200, &checks(&service))),
                (["checks", check, "push"], Some(service)) if changes(request.method) => {
                    push::push(request, &service, check)
                }
                (["checks", _, "push"], Some(_)) => Reply::method_not_allowed("PUT, POST"),
                ([name @ ("disable" | "enable" | "weight")], Some(service)) => {
                    self.command(request, &service, name).await
                }
                _ => no_route(request),
            },
            _ => no_route(request),
        }
    }

    async fn command(&self, request: &Request, service: &ServiceHandle, name: &str) -> Reply {
        let now = common::clock::unix_millis();
        let command = match (request.method, name) {
            (Method::Put | Method::Post, _) => {
                Body::read(request).and_then(|body| body.and_query(request).command(name, None, now))
            }
            (Method::Delete, "weight") => Ok(Some(CommandRequest::configured_weight(now))),
            (_, "weight") => return Reply::method_not_allowed("PUT, POST, DELETE"),
            _ => return Reply::method_not_allowed("PUT, POST"),
        };
        match command {
            Ok(Some(command)) => match command.carry_out(&[service], &self.state_store).await.pop() {
                Some(outcome) => answer(outcome),
                None => no_route(request),
            },
            Ok(None) => no_route(request),
            Err(reply) => reply,
        }
    }
}

fn answer(outcome: Outcome) -> Reply {
    match outcome.status {
        200 => Reply::json(
            200,
            &OutcomeView {
                service: outcome.service,
                outcome: outcome.text,
                waited_ms: u64::try_from(outcome.waited.as_millis()).unwrap_or(u64::MAX),
            },
        ),
        409 => Reply::problem(409, "Enabled meanwhile", outcome.text),
        status => Reply::problem(status, "Stopping", outcome.text),
    }
}

/// Returns a service as in `/status`, with keys in `lowerCamelCase`.
fn shown(service: &ServiceHandle) -> Value {
    camel(serde_json::to_value(service_view(service)).unwrap_or_default())
}

/// Returns the checks of a service with their last results, the latest first.
fn checks(service: &ServiceHandle) -> Value {
    let state = service.state();
    let checks = service_view(service).checks.into_iter().zip(&state.checks);
    let views = checks.map(|(view, check)| {
        let mut view = serde_json::to_value(view).unwrap_or_default();
        let history: Vec<_> = check.history.iter().map(probe_view).collect();
        if let (Value::Object(view), Ok(history)) = (&mut view, serde_json::to_value(history)) {
            view.insert("History".to_owned(), history);
        }
        camel(view)
    });
    Value::Array(views.collect())
}

/// Converts the first letter of each key to lower case.
fn camel(value: Value) -> Value {
    match value {
        Value::Array(values) => Value::Array(values.into_iter().map(camel).collect()),
        Value::Object(map) => {
            let lower = |key: String| {
                let mut rest = key.chars();
                let first = rest.next().map(|first| first.to_ascii_lowercase());
                first.into_iter().chain(rest).collect()
            };
            Value::Object(map.into_iter().map(|(key, value)| (lower(key), camel(value))).collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}
