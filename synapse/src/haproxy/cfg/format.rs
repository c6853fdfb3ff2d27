//! Lines of the file that are both written and read back. Pure.

use crate::haproxy::plan::model::{Assignment, NOWHERE, Slot};
use crate::haproxy::runtime::client::STRUCTURE;

/// First line of every file that synapse writes.
pub(crate) const HEADER: &str = "# Handled by synapse. Do not modify it.";

const INDENT: &str = "  ";

/// The line that sets the fingerprint of the structure.
pub(crate) fn structure_line(structure: &str) -> String {
    format!("{INDENT}setenv {STRUCTURE} {structure}\n")
}

/// The fingerprint in a line, split at blanks, that sets it.
pub(crate) fn parse_structure<'w>(words: &[&'w str]) -> Option<&'w str> {
    match words {
        ["setenv", STRUCTURE, structure] => Some(structure),
        _ => None,
    }
}

/// Appends the operator's line, or several, indented and without blank ones.
pub(crate) fn push_line(text: &mut String, line: &str) {
    for line in line.lines().map(str::trim).filter(|line| !line.is_empty()) {
        text.extend([INDENT, line, "\n"]);
    }
}

/// Appends the server line of each slot that is in the file.
pub(crate) fn push_servers(text: &mut String, slots: &[Slot]) {
    for slot in slots.iter().filter(|slot| slot.is_listed()) {
        let (address, weight, state) = match slot.assignment {
            Assignment::Active { address, weight } => (address, weight, "enabled"),
            Assignment::Free | Assignment::Draining { .. } | Assignment::Gone => (NOWHERE, 1, "disabled"),
        };
        let (name, id, options) = (&slot.name, slot.id, &slot.options);
        let line = format!("server {name} {address} id {id} weight {weight} {state} {options}");
        push_line(text, &line);
    }
}

/// The slot in a line, split at blanks, if it is a server line of synapse's.
pub(crate) fn parse_server(words: &[&str]) -> Option<Slot> {
    let ["server", name, address, "id", id, "weight", weight, state, options @ ..] = words else {
        return None;
    };
    let (address, weight) = (address.parse().ok()?, weight.parse().ok()?);
    Some(Slot {
        id: id.parse().ok()?,
        name: (*name).into(),
        options: options.join(" ").into(),
        assignment: match *state {
            "enabled" => Assignment::Active { address, weight },
            "disabled" => Assignment::Free,
            _ => return None,
        },
        dynamic: false,
    })
}
