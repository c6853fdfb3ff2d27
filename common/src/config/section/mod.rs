//! One map of the file, read key by key.
//!
//! Each question records its key, so what a section knows, what each key's default is, and what a typo was meant to be
//! all come from the questions. A value that is wrong is a problem and gives the default (or nothing), so that reading
//! goes on and finds the next problem.

mod asking;
mod unknown;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::diagnostics::{Diagnostic, Diagnostics, NodePath};
use super::nearest::nearest;
use super::secret::Secret;
use super::time;
use super::value::{Mismatch, Value};
use super::yaml::{End, Node};

/// The keys that were asked for: section name to key to default (as the reference prints it; `-` for none).
pub type KnownKeys = BTreeMap<String, BTreeMap<String, String>>;

/// One map of the file. Dropping it reports the keys nobody asked for.
#[derive(Debug)]
pub struct Section<'a> {
    diagnostics: &'a Diagnostics,
    entries: &'a [(String, Node)],
    place: NodePath,
    key: String,
    /// What the reference calls it.
    name: String,
    asked: BTreeMap<&'static str, String>,
    /// Its reader may have given up before asking for everything: then an unasked key proves nothing.
    aborted: bool,
}

/// What the reference prints where a key has no default.
const NO_DEFAULT: &str = "-";

/// What the reference prints for a key that must be there.
const REQUIRED: &str = "required";

impl<'a> Section<'a> {
    /// Text, when the key is there. A number or a boolean is taken as it reads, as in Go-Nerve.
    pub fn text(&mut self, key: &'static str) -> Option<String> {
        self.ask(key, NO_DEFAULT).and_then(|value| self.text_of(&value))
    }

    /// Text; the empty string means the default, as in Go.
    pub fn text_or(&mut self, key: &'static str, default: &str) -> String {
        let value = self.ask(key, if default.is_empty() { NO_DEFAULT } else { default });
        let text = value.and_then(|value| self.text_of(&value));
        text.filter(|text| !text.is_empty())
            .unwrap_or_else(|| default.to_owned())
    }

    /// Text that must be there and not be empty; its absence is a problem and gives `None`.
    pub fn required_text(&mut self, key: &'static str) -> Option<String> {
        let Some(value) = self.ask(key, REQUIRED) else {
            self.missing(key, format!("add `{key}: …`"));
            return None;
        };
        let text = self.text_of(&value);
        if text.as_ref().is_some_and(String::is_empty) {
            self.report(
                &value,
                Mismatch {
                    what: "must not be empty".to_owned(),
                    help: String::new(),
                },
            );
        }
        let text = text.filter(|text| !text.is_empty());
        self.aborted |= text.is_none();
        text
    }

    /// A secret; absent and empty give `None`.
    pub fn secret(&mut self, key: &'static str) -> Option<Secret> {
        let text = self.text(key).filter(|text| !text.is_empty())?;
        Some(Secret::parse(&text))
    }

    /// A map of text to secret; absent is empty. Its keys keep their case.
    pub fn secret_map(&mut self, key: &'static str) -> BTreeMap<String, Secret> {
        let secret = |(name, text): (String, String)| (name, Secret::parse(&text));
        self.text_map(key).into_iter().map(secret).collect()
    }

    /// A whole number (`80.0` counts) within `range`; absent and `0` give `None` unless `range` starts at 0.
    pub fn integer(&mut self, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        self.number(key, NO_DEFAULT, &range)
    }

    /// A whole number within `range`; absent and `0` mean the default, as in Go.
    pub fn integer_or(&mut self, key: &'static str, default: u64, range: RangeInclusive<u64>) -> u64 {
        self.number(key, &default.to_string(), &range)
            .filter(|number| *number != 0)
            .unwrap_or(default)
    }

    /// A boolean.
    pub fn flag_or(&mut self, key: &'static str, default: bool) -> bool {
        let value = self.ask(key, &default.to_string());
        value
            .and_then(|value| self.take(&value, value.flag()))
            .unwrap_or(default)
    }

    /// The originals' `…InMilli`: whole milliseconds, at most 30 days; absent and `0` mean the default.
    pub fn milliseconds_or(&mut self, key: &'static str, default: Duration) -> Duration {
        let longest = u64::try_from(time::MAX_DURATION.as_millis()).unwrap_or(u64::MAX);
        self.number(key, &default.as_millis().to_string(), &(1..=longest))
            .map_or(default, Duration::from_millis)
    }

    /// Our own keys' durations: `1m 30s`, `500ms`; longer than 0, at most 30 days; empty means the default.
    pub fn duration_or(&mut self, key: &'static str, default: Duration) -> Duration {
        self.duration_of(key, &time::print(default)).unwrap_or(default)
    }

    /// As [`Section::duration_or`]; absent and empty give `None`.
    pub fn duration(&mut self, key: &'static str) -> Option<Duration> {
        self.duration_of(key, NO_DEFAULT)
    }

    fn duration_of(&mut self, key: &'static str, default: &str) -> Option<Duration> {
        let value = self.ask(key, default)?;
        let read = match value.node {
            Node::Text(text) if text.is_empty() => return None,
            Node::Text(text) => time::parse(text).map_err(|what| Mismatch {
                what,
                help: "write for example `1m 30s` or `500ms`".to_owned(),
            }),
            Node::Integer(number) => Err(value.mismatch(
                "a duration with its unit",
                &format!("write for example `{number}s` or `{number}ms`"),
            )),
            _ => Err(value.mismatch("a duration such as `1m 30s`", "")),
        };
        self.take(&value, read)
    }

    /// A list of texts; absent is empty.
    pub fn texts(&mut self, key: &'static str) -> Vec<String> {
        self.ask(key, NO_DEFAULT)
            .map(|value| self.texts_of(&value))
            .unwrap_or_default()
    }

    /// A map of text to text; absent is empty. Its keys keep their case.
    pub fn text_map(&mut self, key: &'static str) -> BTreeMap<String, String> {
        let mut map = BTreeMap::new();
        for (name, value) in self.free_map(key, "a map of text to text") {
            // Go reads a null into a text as the empty one.
            let text = if *value.node == Node::Null {
                Some(String::new())
            } else {
                self.text_of(&value)
            };
            map.extend(text.map(|text| (name, text)));
        }
        map
    }

    /// A map of name to list of texts, in the file's order; absent is empty. Its keys keep their case.
    pub fn text_lists(&mut self, key: &'static str) -> Vec<(String, Vec<String>)> {
        let map = self.free_map(key, "a map of name to list");
        map.into_iter()
            .map(|(name, value)| {
                let texts = if *value.node == Node::Null {
                    Vec::new()
                } else {
                    self.texts_of(&value)
                };
                (name, texts)
            })
            .collect()
    }

    /// One of several words (matched without regard to case); another word is a problem that lists them. An empty
    /// `default` makes the key required.
    pub fn choice_or<T: Copy>(
        &mut self,
        key: &'static str,
        default: &'static str,
        choices: &[(&'static str, T)],
    ) -> Option<T> {
        let value = self.ask(key, if default.is_empty() { REQUIRED } else { default });
        let choice = match value {
            Some(value) if *value.node != Node::Text(String::new()) => self.choice_of(&value, choices),
            _ if default.is_empty() => {
                self.missing(key, format!("one of {}", join(choices.iter().map(|(word, _)| *word))));
                None
            }
            _ => chosen(default, choices),
        };
        self.aborted |= choice.is_none();
        choice
    }

    /// The same without a default: absent and empty give `None`.
    pub fn choice<T: Copy>(&mut self, key: &'static str, choices: &[(&'static str, T)]) -> Option<T> {
        let value = self.ask(key, NO_DEFAULT)?;
        if *value.node == Node::Text(String::new()) {
            return None;
        }
        self.choice_of(&value, choices)
    }

    fn choice_of<T: Copy>(&self, value: &Value<'_>, choices: &[(&'static str, T)]) -> Option<T> {
        let name = self.text_of(value)?;
        let choice = chosen(&name, choices);
        if choice.is_none() {
            let words = || choices.iter().map(|(word, _)| *word);
            let help = nearest(&name, words()).map(did_you_mean);
            self.report(
                value,
                value.mismatch(&format!("one of {}", join(words())), &help.unwrap_or_default()),
            );
        }
        choice
    }

    /// A nested map, known in the reference as `name`; `None` when absent.
    pub fn section(&mut self, key: &'static str, name: &str) -> Option<Section<'a>> {
        let value = self.ask(key, NO_DEFAULT)?;
        self.section_of(value, name)
    }

    /// A list of maps. Read all of them before giving up on one, so that every problem is found.
    pub fn sections(&mut self, key: &'static str, name: &str) -> Vec<Section<'a>> {
        let Some(value) = self.ask(key, NO_DEFAULT) else {
            return Vec::new();
        };
        let Node::List(nodes) = value.node else {
            self.report(
                &value,
                value.mismatch("a list of maps", "begin each map of the list with `- `"),
            );
            return Vec::new();
        };
        let elements = nodes.iter().enumerate().map(|(index, node)| value.element(index, node));
        elements.filter_map(|element| self.section_of(element, name)).collect()
    }

    /// Renames this section in the reference once its `type` is known, e.g. `check http`.
    pub fn is_a(&mut self, name: &str) {
        name.clone_into(&mut self.name);
    }

    /// A key that is accepted and does nothing; when present it is a warning that says why.
    pub fn ignored(&mut self, key: &'static str, why: &str) {
        if let Some(value) = self.ask(key, NO_DEFAULT) {
            self.diagnostics.warnings.borrow_mut().push(Diagnostic {
                place: value.place,
                end: End::Key,
                key: value.key,
                what: format!("is ignored: {why}"),
                help: "remove it".to_owned(),
            });
        }
    }

    /// Whether the key is there and not null.
    pub fn has(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    /// A problem found by the reader, at `key` (or at the section itself when empty).
    pub fn problem(&mut self, key: &str, what: impl Into<String>, help: impl Into<String>) {
        self.aborted = true;
        let finding = self.finding(key, what.into(), help.into());
        self.diagnostics.problems.borrow_mut().push(finding);
    }

    /// A warning found by the reader, at `key` (or at the section itself when empty).
    pub fn warning(&mut self, key: &str, what: impl Into<String>, help: impl Into<String>) {
        let finding = self.finding(key, what.into(), help.into());
        self.diagnostics.warnings.borrow_mut().push(finding);
    }
}

fn chosen<T: Copy>(name: &str, choices: &[(&'static str, T)]) -> Option<T> {
    let found = choices.iter().find(|(word, _)| word.eq_ignore_ascii_case(name));
    found.map(|(_, choice)| *choice)
}

/// Words in a message.
fn join<'w>(words: impl Iterator<Item = &'w str>) -> String {
    words.map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

fn did_you_mean(word: &str) -> String {
    format!("did you mean `{word}`?")
}
