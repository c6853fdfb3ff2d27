//! Attribution of the alerts of `haproxy -c` to services. Pure.

use std::collections::BTreeMap;

use crate::haproxy::cfg::render::Rendered;

/// The alerts of one check.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Alerts {
    /// The texts by service.
    pub(crate) services: BTreeMap<String, String>,
    /// The texts that point at no service.
    pub(crate) rest: Vec<String>,
}

/// Attributes the alerts of `haproxy -c` to the section they point at: by line number, or by a name in quotes.
pub(crate) fn attribute_alerts(output: &str, file: &Rendered) -> Alerts {
    let mut alerts = Alerts::default();
    for line in output.lines().filter(|line| line.contains("[ALERT]")) {
        let text = line.split_once(" : ").map_or(line, |(_, text)| text).trim();
        // The last two alerts of a refusal report only that there were others.
        if text.contains("rror(s) found in configuration file") || text.contains("Fatal errors found in configuration")
        {
            continue;
        }
        let Some(service) = service(text, file) else {
            alerts.rest.push(text.to_owned());
            continue;
        };
        let known = alerts.services.entry(service).or_default();
        if !known.is_empty() {
            known.push_str("; ");
        }
        known.push_str(text);
    }
    alerts
}

fn service(text: &str, file: &Rendered) -> Option<String> {
    let by_line = text
        .split_once('[')
        .and_then(|(_, rest)| rest.split_once(']'))
        .and_then(|(place, _)| {
            let line: usize = place.rsplit_once(':')?.1.parse().ok()?;
            file.sections.iter().rev().find(|(start, _)| *start <= line)?.1.clone()
        });
    by_line.or_else(|| {
        let mut services = file.sections.iter().filter_map(|(_, service)| service.as_ref());
        let is_named = |id: &&String| text.contains(&format!("'{id}'")) || text.contains(&format!("'{id}/"));
        services.find(is_named).cloned()
    })
}
