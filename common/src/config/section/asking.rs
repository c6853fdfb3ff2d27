//! How a section finds a value, and how it says what is wrong with one.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use super::super::diagnostics::{Diagnostic, Diagnostics, NodePath};
use super::super::nearest::nearest;
use super::super::value::{Mismatch, NO_VALUE, Value};
use super::super::yaml::{End, Node};
use super::{Section, did_you_mean};

/// YAML's key for "and all the keys of that other map".
pub(super) const MERGE_KEY: &str = "<<";

/// Whether keys that differ in case alone are the same key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    Kept,
    Ignored,
}

impl<'a> Section<'a> {
    /// The document's outermost map, called `root`; a null is an empty one.
    pub(in super::super) fn root(diagnostics: &'a Diagnostics, node: &'a Node) -> Option<Self> {
        let value = Value {
            node,
            place: NodePath(Vec::new()),
            key: String::new(),
        };
        match node {
            Node::Null => Some(Self::of(diagnostics, &[], value, "root")),
            Node::Map(entries) => Some(Self::of(diagnostics, entries, value, "root")),
            _ => {
                let Mismatch { what, help } = value.mismatch("a map of keys", "");
                diagnostics.problems.borrow_mut().push(Diagnostic {
                    place: value.place,
                    end: End::Value,
                    key: value.key,
                    what,
                    help,
                });
                None
            }
        }
    }

    fn of(diagnostics: &'a Diagnostics, entries: &'a [(String, Node)], value: Value<'a>, name: &str) -> Self {
        let section = Self {
            diagnostics,
            entries,
            place: value.place,
            key: value.key,
            name: name.to_owned(),
            asked: BTreeMap::new(),
            aborted: false,
        };
        section.check_keys(entries, &section.place, &section.key, Case::Ignored);
        section
    }

    pub(super) fn section_of(&self, value: Value<'a>, name: &str) -> Option<Self> {
        if let Node::Map(entries) = value.node {
            return Some(Self::of(self.diagnostics, entries, value, name));
        }
        self.report(&value, value.mismatch("a map of keys", ""));
        None
    }

    /// Records the question; the value when it is there and not null.
    pub(super) fn ask(&mut self, key: &'static str, default: &str) -> Option<Value<'a>> {
        self.asked.insert(key, default.to_owned());
        self.find(key)
    }

    pub(super) fn find(&self, key: &str) -> Option<Value<'a>> {
        let entries: &'a [(String, Node)] = self.entries;
        let mut entries = entries.iter().enumerate();
        let (index, (written, node)) =
            entries.find(|(_, (name, node))| name.eq_ignore_ascii_case(key) && *node != Node::Null)?;
        Some(Value {
            node,
            place: self.place.child(index),
            key: join_path(&self.key, written),
        })
    }

    /// What was read, or a problem and nothing.
    pub(super) fn take<T>(&self, value: &Value<'_>, read: Result<T, Mismatch>) -> Option<T> {
        read.map_err(|mismatch| self.report(value, mismatch)).ok()
    }

    /// Text. What a template printed for a variable that is not set is legal text, but hardly meant.
    pub(super) fn text_of(&self, value: &Value<'_>) -> Option<String> {
        let text = self.take(value, value.text())?;
        if text.contains(NO_VALUE) {
            let (place, key) = (value.place.clone(), value.key.clone());
            self.diagnostics.doubt(Diagnostic {
                place,
                end: End::Value,
                key,
                what: format!("has {NO_VALUE} in it, which a template prints for a variable that is not set"),
                help: "set the variable, or give it a default: `{{ or .VARIABLE \"default\" }}`".to_owned(),
            });
        }
        Some(text)
    }

    pub(super) fn report(&self, value: &Value<'_>, Mismatch { what, help }: Mismatch) {
        let (place, key) = (value.place.clone(), value.key.clone());
        self.diagnostics.problems.borrow_mut().push(Diagnostic {
            place,
            end: End::Value,
            key,
            what,
            help,
        });
    }

    /// A problem or warning of this section's reader.
    pub(super) fn finding(&self, key: &str, what: String, help: String) -> Diagnostic {
        let (place, key) = match self.find(key) {
            Some(value) => (value.place, value.key),
            None => (self.place.clone(), join_path(&self.key, key)),
        };
        Diagnostic {
            place,
            end: End::Value,
            key,
            what,
            help,
        }
    }

    /// A required key is not there. When an unknown one looks like it, that is the likelier mistake.
    pub(super) fn missing(&mut self, key: &'static str, help: String) {
        self.aborted = true;
        let unasked = self
            .entries
            .iter()
            .map(|(name, _)| name.as_str())
            .filter(|name| !self.is_asked(name));
        let misspelt = unasked.into_iter().find(|name| nearest(name, [key]).is_some());
        let help = misspelt.map_or(help, |name| format!("there is a `{name}`: {}", did_you_mean(key)));
        let finding = self.finding(key, "is required".to_owned(), help);
        self.diagnostics.problems.borrow_mut().push(finding);
    }

    pub(super) fn is_asked(&self, name: &str) -> bool {
        self.asked.keys().any(|key| key.eq_ignore_ascii_case(name))
    }

    /// A whole number within `range`. A 0 outside of it means the same as no value.
    pub(super) fn number(&mut self, key: &'static str, default: &str, range: &RangeInclusive<u64>) -> Option<u64> {
        let value = self.ask(key, default)?;
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        let number = self.take(&value, value.integer(&expected))?;
        if number == 0 && *range.start() > 0 {
            return None;
        }
        let within = u64::try_from(number).ok().filter(|number| range.contains(number));
        self.take(&value, within.ok_or_else(|| value.mismatch(&expected, "")))
    }

    pub(super) fn texts_of(&self, value: &Value<'a>) -> Vec<String> {
        let Node::List(nodes) = value.node else {
            let help = if matches!(value.node, Node::Text(_)) {
                "put it in brackets: `[…]`"
            } else {
                ""
            };
            self.report(value, value.mismatch("a list of texts", help));
            return Vec::new();
        };
        let elements = nodes.iter().enumerate().map(|(index, node)| value.element(index, node));
        elements.filter_map(|element| self.text_of(&element)).collect()
    }

    /// The entries of a map whose keys the operator chooses, nulls included.
    pub(super) fn free_map(&mut self, key: &'static str, expected: &str) -> Vec<(String, Value<'a>)> {
        let Some(map) = self.ask(key, super::NO_DEFAULT) else {
            return Vec::new();
        };
        let Node::Map(entries) = map.node else {
            self.report(&map, map.mismatch(expected, ""));
            return Vec::new();
        };
        self.check_keys(entries, &map.place, &map.key, Case::Kept);
        let value = |(index, (name, node)): (usize, &'a (String, Node))| {
            (
                name.clone(),
                Value {
                    node,
                    place: map.place.child(index),
                    key: join_path(&map.key, name),
                },
            )
        };
        entries
            .iter()
            .enumerate()
            .filter(|(_, (name, _))| name != MERGE_KEY)
            .map(value)
            .collect()
    }

    /// Refuses repeated keys and merge keys.
    fn check_keys(&self, entries: &[(String, Node)], place: &NodePath, path: &str, case: Case) {
        let mut seen = BTreeSet::new();
        for (index, (name, _)) in entries.iter().enumerate() {
            let folded = if case == Case::Kept {
                name.clone()
            } else {
                name.to_ascii_lowercase()
            };
            let (what, help) = if name == MERGE_KEY {
                ("merge keys are not supported", "write the keys out")
            } else if seen.insert(folded) {
                continue;
            } else if case == Case::Kept {
                ("is here a second time", "keep one of the two")
            } else {
                (
                    "is here a second time",
                    "keep one of the two; upper and lower case are the same here",
                )
            };
            self.diagnostics.problems.borrow_mut().push(Diagnostic {
                place: place.child(index),
                end: End::Key,
                key: join_path(path, name),
                what: what.to_owned(),
                help: help.to_owned(),
            });
        }
    }
}

/// `key` below `path`; either may be empty.
pub(super) fn join_path(path: &str, key: &str) -> String {
    let dot = if path.is_empty() || key.is_empty() { "" } else { "." };
    format!("{path}{dot}{key}")
}
