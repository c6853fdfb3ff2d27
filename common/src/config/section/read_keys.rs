//! Looks up and checks the values of a section.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use super::super::diagnostics::{Diagnostics, Severity};
use super::super::nearest::nearest;
use super::super::path::NodePath;
use super::super::problem::Message;
use super::super::value::{NO_VALUE, Value};
use super::super::yaml::{End, Node};
use super::{NO_DEFAULT, Section, did_you_mean};

/// YAML's key that includes the keys of another map.
pub(super) const MERGE_KEY: &str = "<<";

/// Whether keys that differ in case alone are the same key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    Kept,
    Ignored,
}

impl<'a> Section<'a> {
    /// Returns the document's outermost map, called `root`; a null is an empty one.
    pub(in super::super) fn root(diagnostics: &'a Diagnostics, node: &'a Node) -> Option<Self> {
        let at = NodePath::default();
        match node {
            Node::Null => Some(Self::new(diagnostics, &[], at, "root")),
            _ => Self::from_value(diagnostics, Value { node, at }, "root"),
        }
    }

    fn new(diagnostics: &'a Diagnostics, entries: &'a [(String, Node)], at: NodePath, name: &str) -> Self {
        let section = Self {
            diagnostics,
            entries,
            at,
            name: name.to_owned(),
            read_keys: BTreeMap::new(),
            aborted: false,
        };
        section.check_keys(entries, &section.at, Case::Ignored);
        section
    }

    pub(super) fn from_value(diagnostics: &'a Diagnostics, value: Value<'a>, name: &str) -> Option<Self> {
        if let Node::Map(entries) = value.node {
            return Some(Self::new(diagnostics, entries, value.at, name));
        }
        let message = value.mismatch("a map of keys", "");
        diagnostics.add(Severity::Problem, value.at, End::Value, message);
        None
    }

    /// Registers the key with its default and returns its value when it is present and not null.
    pub(super) fn lookup(&mut self, key: &'static str, default: &str) -> Option<Value<'a>> {
        self.read_keys.insert(key, default.to_owned());
        self.find(key)
    }

    pub(super) fn find(&self, key: &str) -> Option<Value<'a>> {
        let mut entries = self.entries.iter().enumerate();
        let (index, (written, node)) =
            entries.find(|(_, (name, node))| name.eq_ignore_ascii_case(key) && *node != Node::Null)?;
        Some(Value {
            node,
            at: self.at.entry(index, written),
        })
    }

    /// Returns what was read; otherwise reports the message.
    pub(super) fn accept<T>(&self, value: &Value<'_>, read: Result<T, Message>) -> Option<T> {
        read.map_err(|message| self.report(value, message)).ok()
    }

    /// Reads text. The output of a template for an unset variable is legal text, but hardly intended.
    pub(super) fn text_of(&self, value: &Value<'_>) -> Option<String> {
        let text = self.accept(value, value.text())?;
        if text.contains(NO_VALUE) {
            let message = Message::new(
                format!("has {NO_VALUE} in it, which a template prints for a variable that is not set"),
                "set the variable, or give it a default: `{{ or .VARIABLE \"default\" }}`",
            );
            self.diagnostics
                .add(Severity::Doubt, value.at.clone(), End::Value, message);
        }
        Some(text)
    }

    pub(super) fn report(&self, value: &Value<'_>, message: Message) {
        self.diagnostics
            .add(Severity::Problem, value.at.clone(), End::Value, message);
    }

    /// Adds a diagnostic at `key`, or at the section when the key is absent.
    pub(super) fn report_at(&self, severity: Severity, key: &str, message: Message) {
        let at = self.find(key).map_or_else(|| self.at.absent(key), |value| value.at);
        self.diagnostics.add(severity, at, End::Value, message);
    }

    /// Reports an absent required key. A similar key that the code does not read is the likelier mistake.
    pub(super) fn missing(&mut self, key: &'static str, help: String) {
        self.aborted = true;
        let mut names = self.entries.iter().map(|(name, _)| name.as_str());
        let misspelt = names.find(|name| !self.is_read(name) && nearest(name, [key]).is_some());
        let help = misspelt.map_or(help, |name| format!("there is a `{name}`: {}", did_you_mean(key)));
        self.report_at(Severity::Problem, key, Message::new("is required", help));
    }

    pub(super) fn is_read(&self, name: &str) -> bool {
        self.read_keys.keys().any(|key| key.eq_ignore_ascii_case(name))
    }

    /// Reads a whole number within `range`. A 0 outside the range means the same as no value.
    pub(super) fn number(&mut self, key: &'static str, default: &str, range: &RangeInclusive<u64>) -> Option<u64> {
        let value = self.lookup(key, default)?;
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        let number = self.accept(&value, value.integer(&expected))?;
        if number == 0 && *range.start() > 0 {
            return None;
        }
        let within = u64::try_from(number).ok().filter(|number| range.contains(number));
        self.accept(&value, within.ok_or_else(|| value.mismatch(&expected, "")))
    }

    pub(super) fn texts_of(&self, value: &Value<'a>) -> Vec<String> {
        let help = match value.node {
            Node::Text(_) => "put it in brackets: `[…]`",
            _ => "",
        };
        let elements = self.elements(value, "a list of texts", help);
        elements.iter().filter_map(|element| self.text_of(element)).collect()
    }

    /// Returns the elements of a list; reports what is none.
    pub(super) fn elements(&self, value: &Value<'a>, expected: &str, help: &str) -> Vec<Value<'a>> {
        let Node::List(nodes) = value.node else {
            self.report(value, value.mismatch(expected, help));
            return Vec::new();
        };
        let element = |(index, node)| Value {
            node,
            at: value.at.element(index),
        };
        nodes.iter().enumerate().map(element).collect()
    }

    /// Reads a map whose keys the operator chooses, each entry with `read`, nulls as the default.
    pub(super) fn free_map<T: Default>(
        &mut self,
        key: &'static str,
        expected: &str,
        read: impl Fn(&Self, &Value<'a>) -> Option<T>,
    ) -> Vec<(String, T)> {
        let Some(map) = self.lookup(key, NO_DEFAULT) else {
            return Vec::new();
        };
        let Node::Map(entries) = map.node else {
            self.report(&map, map.mismatch(expected, ""));
            return Vec::new();
        };
        self.check_keys(entries, &map.at, Case::Kept);
        let mut found = Vec::new();
        for (index, (name, node)) in entries.iter().enumerate().filter(|(_, (name, _))| name != MERGE_KEY) {
            let at = map.at.entry(index, name);
            let value = match node {
                Node::Null => Some(T::default()),
                _ => read(self, &Value { node, at }),
            };
            found.extend(value.map(|value| (name.clone(), value)));
        }
        found
    }

    /// Reports repeated keys and merge keys.
    fn check_keys(&self, entries: &[(String, Node)], at: &NodePath, case: Case) {
        let mut seen = BTreeSet::new();
        for (index, (name, _)) in entries.iter().enumerate() {
            let folded = match case {
                Case::Kept => name.clone(),
                Case::Ignored => name.to_ascii_lowercase(),
            };
            let is_merge = name == MERGE_KEY;
            if !is_merge && seen.insert(folded) {
                continue;
            }
            let (what, help) = match case {
                _ if is_merge => ("merge keys are not supported", "write the keys out"),
                Case::Kept => ("is here a second time", "keep one of the two"),
                Case::Ignored => (
                    "is here a second time",
                    "keep one of the two; upper and lower case are the same here",
                ),
            };
            let message = Message::new(what, help);
            self.diagnostics
                .add(Severity::Problem, at.entry(index, name), End::Key, message);
        }
    }
}
