//! Ownership line HAProxy refuses. Pure.

use std::collections::BTreeMap;

use crate::haproxy::cfg::render::Rendered;

/// What HAProxy says against whom.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Blame {
    /// HAProxy's own words, by service.
    pub(crate) services: BTreeMap<String, String>,
    /// Alerts that point at no service.
    pub(crate) rest: Vec<String>,
}

/// Sorts the alerts of `haproxy -c` by the section they point at: by line number, or by a name in quotes.
pub(crate) fn blame(output: &str, file: &Rendered) -> Blame {
    let mut blame = Blame::default();
    for line in output.lines().filter(|line| line.contains("[ALERT]")) {
        let words = line.split_once(" : ").map_or(line, |(_, words)| words).trim();
        // The last two alerts of a refusal say only that there were others.
        if words.contains("rror(s) found in configuration file")
            || words.contains("Fatal errors found in configuration")
        {
            continue;
        }
        match service(words, file) {
            Some(service) => {
                let said = blame.services.entry(service).or_default();
                if !said.is_empty() {
                    said.push_str("; ");
                }
                said.push_str(words);
            }
            None => blame.rest.push(words.to_owned()),
        }
    }
    blame
}

fn service(words: &str, file: &Rendered) -> Option<String> {
    let by_line = words
        .split_once('[')
        .and_then(|(_, rest)| rest.split_once(']'))
        .and_then(|(place, _)| {
            let line: usize = place.rsplit_once(':')?.1.parse().ok()?;
            file.sections.iter().rev().find(|(start, _)| *start <= line)?.1.clone()
        });
    by_line.or_else(|| {
        let mut services = file.sections.iter().filter_map(|(_, service)| service.as_ref());
        let named = |id: &&String| words.contains(&format!("'{id}'")) || words.contains(&format!("'{id}/"));
        services.find(named).cloned()
    })
}
