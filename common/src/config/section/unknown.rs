//! The keys that nobody asked for, reported when the section is done with.

use super::super::diagnostics::Diagnostic;
use super::super::nearest::nearest;
use super::super::yaml::End;
use super::asking::{MERGE_KEY, join_path};
use super::{Section, did_you_mean, join};

/// The most keys that a message lists.
const MAX_LISTED: usize = 12;

impl Drop for Section<'_> {
    fn drop(&mut self) {
        let mut known = self.diagnostics.known_keys.borrow_mut();
        let defaults = self
            .asked
            .iter()
            .map(|(key, default)| ((*key).to_owned(), default.clone()));
        known.entry(self.name.clone()).or_default().extend(defaults);
        let asked = self
            .asked
            .iter()
            .map(|(key, default)| (*key, default.as_str(), self.find(key)));
        self.diagnostics.effective.borrow_mut().take_in(&self.place, asked);
        // A section of which nothing was asked was not read at all.
        if !self.aborted && !self.asked.is_empty() {
            self.report_unknown();
        }
    }
}

impl Section<'_> {
    fn report_unknown(&self) {
        for (index, (name, _)) in self.entries.iter().enumerate() {
            if self.is_asked(name) || name == MERGE_KEY {
                continue;
            }
            self.diagnostics.doubt(Diagnostic {
                place: self.place.child(index),
                end: End::Key,
                key: join_path(&self.key, name),
                what: "is not a known key".to_owned(),
                help: self.what_was_meant(name),
            });
        }
    }

    fn what_was_meant(&self, name: &str) -> String {
        match nearest(name, self.asked.keys().copied()) {
            Some(key) => did_you_mean(key),
            None if self.asked.len() <= MAX_LISTED => format!("known here: {}", join(self.asked.keys().copied())),
            None => format!("the reference lists the keys of `{}`", self.name),
        }
    }
}
