//! `type: multi`.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use common::config::Section;

use super::watcher;
use crate::config::{Combine, MultiConfig};

pub(super) fn multi(section: &mut Section<'_>, base: &Path) -> Option<MultiConfig> {
    let method = section.choice_or(
        "method",
        "",
        &[("union", Combine::Union), ("sequential", Combine::Sequential)],
    );
    let patience = section.duration_or("patience", Duration::from_secs(10));
    let sections = section.sections("watchers", "watcher");
    if sections.is_empty() {
        section.problem(
            "watchers",
            "there is no source",
            "name them in their order: `watchers: [{name: eu, type: zookeeper, …}, {name: us, …}]`",
        );
    }
    let mut names = BTreeSet::new();
    let watchers: Vec<_> = sections
        .into_iter()
        .map(|mut section| {
            let name = name(&mut section, &mut names);
            let watcher = watcher(&mut section, base);
            Some((name?, watcher?))
        })
        .collect();
    Some(MultiConfig {
        method: method?,
        watchers: watchers.into_iter().collect::<Option<_>>()?,
        patience,
    })
}

/// The name is part of the names of the nodes, so it has no `/` and is unique.
fn name(section: &mut Section<'_>, names: &mut BTreeSet<String>) -> Option<String> {
    let Some(name) = section.text("name").filter(|name| !name.is_empty()) else {
        section.problem("name", "each source needs one", "a word, e.g. `name: eu`");
        return None;
    };
    let is_sound = name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    if !is_sound {
        section.problem(
            "name",
            format!("{name:?} is not a plain word"),
            "use letters, digits, `_`, `.` and `-`",
        );
    }
    if !names.insert(name.clone()) {
        section.problem(
            "name",
            format!("another source is called `{name}`"),
            "give each its own name",
        );
    }
    Some(name)
}
