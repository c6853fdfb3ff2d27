//! The template language of `type: template`: Go's `text/template` over the services of one router. Pure.
//!
//! The data is the original's: a list of services, each with `.Service.Name` and `.Reports`, the servers to use. The
//! functions are those of the library it templates with (`functions`). What the original finds out when it renders,
//! or never, is a fault of the template here as soon as it is read (`check`): a function or a field that does not
//! exist.
//!
//! Text from the registry may hold anything but control characters, which are dropped: no instance adds a line to the
//! file. What else a format gives a meaning to is the template's to quote.

mod check;
mod functions;
mod source;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::template::blocks;
use gotmpl::Value;

use crate::desired::{Desired, Server};

/// The rounds of all `range` of one file: more than there are servers, and not endless.
const MAX_ROUNDS: u64 = 1_000_000;

/// A template that was read and found to be right.
pub struct Template {
    parsed: gotmpl::Template,
}

/// What is wrong with a template, or why it did not render.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TemplateError(String);

impl std::fmt::Debug for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Template").field("name", &self.parsed.name()).finish()
    }
}

impl Template {
    /// Reads `text`; `name` is what errors call it.
    pub fn parse(name: &str, text: &str) -> Result<Self, TemplateError> {
        let text = source::cleaned(text);
        let functions = functions::all();
        blocks::check(&text).map_err(|error| TemplateError(format!("{name}:{error}")))?;
        let faults = check::faults(name, &text, &functions).map_err(|error| of(name, &error))?;
        if !faults.is_empty() {
            let named = faults.iter().map(|fault| format!("{name}:{fault}"));
            return Err(TemplateError(named.collect::<Vec<_>>().join("; ")));
        }
        gotmpl::Template::new(name)
            .funcs(functions)
            .max_range_iters(MAX_ROUNDS)
            .parse(&text)
            .map(|parsed| Self { parsed })
            .map_err(|error| of(name, &error))
    }

    /// The file: the template rendered for `desired`, and a newline, as the original ends it. `names` are the services'
    /// names by id.
    pub fn render(&self, names: &BTreeMap<String, String>, desired: &Desired) -> Result<String, TemplateError> {
        let mut text = self
            .parsed
            .execute_to_string(&data(names, desired))
            .map_err(|error| of(self.parsed.name(), &error))?;
        text.push('\n');
        Ok(text)
    }
}

/// The engine's error with the template's name in front, once.
fn of(name: &str, error: &gotmpl::TemplateError) -> TemplateError {
    let text = error.to_string();
    let text = text.strip_prefix("template: ").unwrap_or(&text);
    let placed = text.strip_prefix(name).and_then(|text| text.strip_prefix(':'));
    TemplateError(placed.map_or_else(|| format!("{name}: {text}"), |text| format!("{name}:{text}")))
}

fn data(names: &BTreeMap<String, String>, desired: &Desired) -> Value {
    let service = |service: &crate::desired::Service| {
        let name = names.get(&service.id).unwrap_or(&service.id);
        let reports = service.servers.iter().flat_map(|servers| servers.iter()).map(report);
        map([
            ("Service", map([("Name", Value::from(name.as_str()))])),
            ("Reports", Value::from(reports.collect::<Vec<_>>())),
        ])
    };
    Value::from(desired.services.iter().map(service).collect::<Vec<_>>())
}

fn report(server: &Server) -> Value {
    let labels = server.labels.iter();
    let labels = labels.map(|(name, value)| (Arc::from(plain(name)), Value::from(plain(value))));
    map([
        ("Available", Value::Bool(true)),
        ("Backup", Value::Bool(server.backup)),
        ("CreationTime", Value::Int(server.created)),
        ("HaProxyServerOptions", Value::from(plain(&server.options))),
        ("Host", Value::from(server.address.ip().to_string())),
        ("Labels", Value::from(labels.collect::<BTreeMap<Arc<str>, Value>>())),
        ("Name", Value::from(plain(&server.name))),
        ("Port", Value::Int(server.address.port().into())),
        ("UnavailableReason", Value::from("")),
        (
            "Weight",
            server.weight.map_or(Value::Nil, |weight| Value::Int(weight.into())),
        ),
    ])
}

fn map<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::from(
        fields
            .map(|(name, value)| (Arc::from(name), value))
            .into_iter()
            .collect::<BTreeMap<Arc<str>, _>>(),
    )
}

/// Text from outside as one line.
fn plain(text: &str) -> String {
    let breaks = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    text.chars().filter(|c| !breaks(*c)).collect()
}

#[cfg(test)]
mod tests;
