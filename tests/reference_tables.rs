//! The tables of keys in a `REFERENCE.md`, as both daemons' tests read them.

use std::collections::BTreeMap;

use common::config::KnownKeys;

/// The tables below headings like ``### `service` ``: rows of `` | `key` | default | meaning | ``. A section whose text has
/// "Has the keys of `check`." also has those of that section, where its own table does not have them again.
///
/// `known` are the sections of the code: another section is documentation that others refer to, and left out.
pub(crate) fn tables(text: &str, known: &KnownKeys) -> KnownKeys {
    let mut tables: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let mut inherits: BTreeMap<String, String> = BTreeMap::new();
    let mut section = String::new();
    let mut in_table = false;
    for line in text.lines() {
        if line.starts_with('#') {
            line.split('`').nth(1).unwrap_or_default().clone_into(&mut section);
        }
        if let Some(other) = line.split("Has the keys of `").nth(1) {
            inherits.insert(section.clone(), other.split('`').next().unwrap_or_default().to_owned());
        }
        in_table = line.starts_with("| key | default |") || in_table && line.starts_with('|');
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let ["", key, default, meaning, ..] = cells.as_slice() else {
            continue;
        };
        let Some(key) = key.strip_prefix('`').and_then(|key| key.strip_suffix('`')) else {
            continue;
        };
        if !in_table {
            continue; // a table of something else
        }
        assert!(!meaning.is_empty(), "`{key}` of `{section}` has no meaning");
        let table = tables.entry(section.clone()).or_default();
        let repeated = table.insert(key.to_owned(), default.trim_matches('`').to_owned());
        assert_eq!(repeated, None, "`{key}` of `{section}` is there twice");
    }
    for (section, other) in inherits {
        let inherited = tables.get(&other).cloned().unwrap_or_default();
        assert!(
            !inherited.is_empty(),
            "`{section}` has the keys of `{other}`, which has none"
        );
        let table = tables.entry(section).or_default();
        for (key, default) in inherited {
            table.entry(key).or_insert(default);
        }
    }
    tables.retain(|section, _| known.contains_key(section));
    tables
}
