//! The keys that the code does not read, reported when the section is dropped.

use super::super::diagnostics::Severity;
use super::super::nearest::nearest;
use super::super::problem::Message;
use super::super::yaml::End;
use super::read_keys::MERGE_KEY;
use super::{Section, did_you_mean, join};

/// Greatest number of keys that a message lists.
const MAX_LISTED: usize = 12;

impl Drop for Section<'_> {
    fn drop(&mut self) {
        let read = || self.read_keys.iter().map(|(key, default)| (*key, default.as_str()));
        let mut known = self.diagnostics.known_keys.borrow_mut();
        let defaults = read().map(|(key, default)| (key.to_owned(), default.to_owned()));
        known.entry(self.name.clone()).or_default().extend(defaults);
        let values = read().map(|(key, default)| (key, default, self.find(key)));
        let mut effective = self.diagnostics.effective.borrow_mut();
        effective.add_section(&self.at.steps, values);
        // A section none of whose keys was read was not read at all.
        if !self.aborted && !self.read_keys.is_empty() {
            self.report_unknown();
        }
    }
}

impl Section<'_> {
    fn report_unknown(&self) {
        for (index, (name, _)) in self.entries.iter().enumerate() {
            if !self.is_read(name) && name != MERGE_KEY {
                let message = Message::new("is not a known key", self.suggestion(name));
                let at = self.at.entry(index, name);
                self.diagnostics.add(Severity::Doubt, at, End::Key, message);
            }
        }
    }

    fn suggestion(&self, name: &str) -> String {
        match nearest(name, self.read_keys.keys().copied()) {
            Some(key) => did_you_mean(key),
            None if self.read_keys.len() <= MAX_LISTED => {
                format!("known here: {}", join(self.read_keys.keys().copied()))
            }
            None => format!("the reference lists the keys of `{}`", self.name),
        }
    }
}
