//! One map of the file, read key by key.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

/// The keys that were asked for: section name to key to default (as the reference prints it; `-` for none).
pub type KnownKeys = BTreeMap<String, BTreeMap<String, String>>;

/// One map of the file. Dropping it reports the keys nobody asked for.
#[derive(Debug)]
pub struct Section<'a> {
    _document: std::marker::PhantomData<&'a ()>,
}

impl<'a> Section<'a> {
    /// Text, when the key is there. A number or a boolean is a problem, as in Go.
    pub fn text(&mut self, key: &'static str) -> Option<String> {
        let _ = key;
        todo!()
    }
    /// Text; the empty string means the default, as in Go.
    pub fn text_or(&mut self, key: &'static str, default: &str) -> String {
        let _ = (key, default);
        todo!()
    }
    /// Text that must be there and not be empty; its absence is a problem and gives `None`.
    pub fn required_text(&mut self, key: &'static str) -> Option<String> {
        let _ = key;
        todo!()
    }
    /// A whole number (`80.0` counts) within `range`; absent and `0` give `None` unless `range` starts at 0.
    pub fn integer(&mut self, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        let _ = (key, range);
        todo!()
    }
    /// A whole number within `range`; absent and `0` mean the default, as in Go.
    pub fn integer_or(&mut self, key: &'static str, default: u64, range: RangeInclusive<u64>) -> u64 {
        let _ = (key, default, range);
        todo!()
    }
    /// A boolean.
    pub fn flag_or(&mut self, key: &'static str, default: bool) -> bool {
        let _ = (key, default);
        todo!()
    }
    /// The originals' `…InMilli`: whole milliseconds; absent and `0` mean the default.
    pub fn milliseconds_or(&mut self, key: &'static str, default: Duration) -> Duration {
        let _ = (key, default);
        todo!()
    }
    /// Our own keys' durations: `1m 30s`, `500ms`.
    pub fn duration_or(&mut self, key: &'static str, default: Duration) -> Duration {
        let _ = (key, default);
        todo!()
    }
    /// A list of texts; absent is empty.
    pub fn texts(&mut self, key: &'static str) -> Vec<String> {
        let _ = key;
        todo!()
    }
    /// A map of text to text; absent is empty. Its keys keep their case.
    pub fn text_map(&mut self, key: &'static str) -> BTreeMap<String, String> {
        let _ = key;
        todo!()
    }
    /// A map of name to list of texts, in the file's order; absent is empty. Its keys keep their case.
    pub fn text_lists(&mut self, key: &'static str) -> Vec<(String, Vec<String>)> {
        let _ = key;
        todo!()
    }
    /// One of several words (matched without regard to case); another word is a problem that lists them.
    pub fn choice_or<T: Copy>(
        &mut self,
        key: &'static str,
        default: &'static str,
        choices: &[(&'static str, T)],
    ) -> Option<T> {
        let _ = (key, default, choices);
        todo!()
    }
    /// A nested map, known in the reference as `name`; `None` when absent.
    pub fn section(&mut self, key: &'static str, name: &str) -> Option<Section<'a>> {
        let _ = (key, name);
        todo!()
    }
    /// A list of maps.
    pub fn sections(&mut self, key: &'static str, name: &str) -> Vec<Section<'a>> {
        let _ = (key, name);
        todo!()
    }
    /// Renames this section in the reference once its `type` is known, e.g. `check http`.
    pub fn is_a(&mut self, name: &str) {
        let _ = name;
        todo!()
    }
    /// A key that is accepted and does nothing; when present it is a warning that says why.
    pub fn ignored(&mut self, key: &'static str, why: &str) {
        let _ = (key, why);
        todo!()
    }
    /// Whether the key is there and not null.
    pub fn has(&self, key: &str) -> bool {
        let _ = key;
        todo!()
    }
    /// A problem found by the reader, at `key` (or at the section itself when empty).
    pub fn problem(&mut self, key: &str, what: impl Into<String>, help: impl Into<String>) {
        let _ = (key, what.into(), help.into());
        todo!()
    }
    /// A warning found by the reader, at `key` (or at the section itself when empty).
    pub fn warning(&mut self, key: &str, what: impl Into<String>, help: impl Into<String>) {
        let _ = (key, what.into(), help.into());
        todo!()
    }
}
