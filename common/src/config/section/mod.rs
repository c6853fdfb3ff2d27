//! One map of the file, read key by key.
//!
//! Each read registers its key, so the known keys of a section, their defaults, and the suggestions for a typo come from
//! the lines that read them. A wrong value is a problem and gives the default (or nothing), so that reading continues and
//! finds the next problem.

mod read_keys;
mod unknown;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::diagnostics::{Diagnostics, Severity};
use super::nearest::nearest;
use super::path::NodePath;
use super::problem::Message;
use super::secret::Secret;
use super::time;
use super::value::Value;
use super::yaml::{End, Node};

/// One map of the file. Dropping it reports the keys that were not read.
///
/// ```
/// use common::config::{Document, UnknownKeys};
///
/// let document = Document::parse("x.yaml", "prot: 80".to_owned())?;
/// let loaded = document.resolve(UnknownKeys::Warn, |root| Some(root.integer_or("port", 3454, 1..=65535)))?;
/// assert_eq!(loaded.value, 3454);
/// assert_eq!(loaded.warnings[0].help, "did you mean `port`?");
/// # Ok::<(), common::config::Problems>(())
/// ```
#[derive(Debug)]
pub struct Section<'a> {
    diagnostics: &'a Diagnostics,
    entries: &'a [(String, Node)],
    at: NodePath,
    /// Its name in the reference.
    name: String,
    /// The keys read so far with their defaults.
    read_keys: BTreeMap<&'static str, String>,
    /// Whether its reader may have stopped before it read all keys: then a key that was not read may be a known one.
    aborted: bool,
}

/// The default of a key that has none, in the reference.
const NO_DEFAULT: &str = "-";

/// The default of a required key, in the reference.
const REQUIRED: &str = "required";

impl<'a> Section<'a> {
    /// Text, when the key is there. A number or a boolean is taken as it reads, as in Go-Nerve.
    pub fn text(&mut self, key: &'static str) -> Option<String> {
        self.lookup(key, NO_DEFAULT).and_then(|value| self.text_of(&value))
    }

    /// Text; the empty string means the default, as in Go.
    pub fn text_or(&mut self, key: &'static str, default: &str) -> String {
        let value = self.lookup(key, if default.is_empty() { NO_DEFAULT } else { default });
        let text = value.and_then(|value| self.text_of(&value));
        text.filter(|text| !text.is_empty())
            .unwrap_or_else(|| default.to_owned())
    }

    /// Text that must be there and not be empty; its absence is a problem and gives `None`.
    pub fn required_text(&mut self, key: &'static str) -> Option<String> {
        let Some(value) = self.lookup(key, REQUIRED) else {
            self.missing(key, format!("add `{key}: …`"));
            return None;
        };
        let text = self.text_of(&value);
        if text.as_ref().is_some_and(String::is_empty) {
            self.report(&value, Message::new("must not be empty", ""));
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
        let value = self.lookup(key, &default.to_string());
        value
            .and_then(|value| self.accept(&value, value.flag()))
            .unwrap_or(default)
    }

    /// A `…InMilli` of the originals: whole milliseconds, at most 30 days; absent and `0` mean the default.
    pub fn milliseconds_or(&mut self, key: &'static str, default: Duration) -> Duration {
        let max = u64::try_from(time::MAX_DURATION.as_millis()).unwrap_or(u64::MAX);
        self.number(key, &default.as_millis().to_string(), &(1..=max))
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
        let value = self.lookup(key, default)?;
        let read = match value.node {
            Node::Text(text) if text.is_empty() => return None,
            Node::Text(text) => {
                time::parse(text).map_err(|what| Message::new(what, "write for example `1m 30s` or `500ms`"))
            }
            Node::Integer(number) => Err(value.mismatch(
                "a duration with its unit",
                &format!("write for example `{number}s` or `{number}ms`"),
            )),
            _ => Err(value.mismatch("a duration such as `1m 30s`", "")),
        };
        self.accept(&value, read)
    }

    /// A list of texts; absent is empty.
    pub fn texts(&mut self, key: &'static str) -> Vec<String> {
        self.lookup(key, NO_DEFAULT)
            .map(|value| self.texts_of(&value))
            .unwrap_or_default()
    }

    /// A map of text to text; absent is empty. Its keys keep their case.
    pub fn text_map(&mut self, key: &'static str) -> BTreeMap<String, String> {
        // Go reads a null into a text as the empty one.
        let map = self.free_map(key, "a map of text to text", Self::text_of);
        map.into_iter().collect()
    }

    /// A map of name to list of texts, in the file's order; absent is empty. Its keys keep their case.
    pub fn text_lists(&mut self, key: &'static str) -> Vec<(String, Vec<String>)> {
        self.free_map(key, "a map of name to list", |section, value| {
            Some(section.texts_of(value))
        })
    }

    /// One of several words (matched without regard to case); another word is a problem that lists them. An empty
    /// `default` makes the key required.
    pub fn choice_or<T: Copy>(
        &mut self,
        key: &'static str,
        default: &'static str,
        choices: &[(&'static str, T)],
    ) -> Option<T> {
        let value = self.lookup(key, if default.is_empty() { REQUIRED } else { default });
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
        let value = self.lookup(key, NO_DEFAULT)?;
        if *value.node == Node::Text(String::new()) {
            return None;
        }
        self.choice_of(&value, choices)
    }

    fn choice_of<T: Copy>(&self, value: &Value<'_>, choices: &[(&'static str, T)]) -> Option<T> {
        let name = self.text_of(value)?;
        let message = || {
            let words = || choices.iter().map(|(word, _)| *word);
            let help = nearest(&name, words()).map(did_you_mean).unwrap_or_default();
            value.mismatch(&format!("one of {}", join(words())), &help)
        };
        self.accept(value, chosen(&name, choices).ok_or_else(message))
    }

    /// A nested map, known in the reference as `name`; `None` when absent.
    pub fn section(&mut self, key: &'static str, name: &str) -> Option<Section<'a>> {
        let value = self.lookup(key, NO_DEFAULT)?;
        Self::from_value(self.diagnostics, value, name)
    }

    /// A list of maps. Read all of them before giving up on one, so that every problem is found.
    pub fn sections(&mut self, key: &'static str, name: &str) -> Vec<Section<'a>> {
        let Some(value) = self.lookup(key, NO_DEFAULT) else {
            return Vec::new();
        };
        let elements = self.elements(&value, "a list of maps", "begin each map of the list with `- `");
        let section = |element| Self::from_value(self.diagnostics, element, name);
        elements.into_iter().filter_map(section).collect()
    }

    /// Renames this section in the reference once its `type` is known, e.g. `check http`.
    pub fn is_a(&mut self, name: &str) {
        name.clone_into(&mut self.name);
    }

    /// A key that is accepted and has no effect; when present it is a warning with the reason.
    pub fn ignored(&mut self, key: &'static str, why: &str) {
        if let Some(value) = self.lookup(key, NO_DEFAULT) {
            let message = Message::new(format!("is ignored: {why}"), "remove it");
            self.diagnostics.add(Severity::Warning, value.at, End::Key, message);
        }
    }

    /// Whether the key is there and not null.
    pub fn has(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    /// A problem found by the reader, at `key` (or at the section itself when empty).
    pub fn problem(&mut self, key: &str, what: impl Into<String>, help: impl Into<String>) {
        self.aborted = true;
        self.report_at(Severity::Problem, key, Message::new(what, help));
    }

    /// A warning found by the reader, at `key` (or at the section itself when empty).
    pub fn warning(&mut self, key: &str, what: impl Into<String>, help: impl Into<String>) {
        self.report_at(Severity::Warning, key, Message::new(what, help));
    }
}

fn chosen<T: Copy>(name: &str, choices: &[(&'static str, T)]) -> Option<T> {
    let found = choices.iter().find(|(word, _)| word.eq_ignore_ascii_case(name));
    found.map(|(_, choice)| *choice)
}

/// Lists words in a message.
fn join<'w>(words: impl Iterator<Item = &'w str>) -> String {
    words.map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

fn did_you_mean(word: &str) -> String {
    format!("did you mean `{word}`?")
}
