//! Interner that come thousands of times, kept once.

use std::collections::BTreeSet;
use std::sync::Arc;

/// The words that were met so far.
#[derive(Debug, Default)]
pub(crate) struct Interner(BTreeSet<Arc<str>>);

impl Interner {
    /// The one that all who met this word share.
    pub(crate) fn intern(&mut self, word: &str) -> Arc<str> {
        if let Some(known) = self.0.get(word) {
            return Arc::clone(known);
        }
        let word: Arc<str> = word.into();
        self.0.insert(Arc::clone(&word));
        word
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_kept_once() {
        let mut words = Interner::default();
        let first = words.intern("slot_1");
        assert!(Arc::ptr_eq(&first, &words.intern("slot_1")));
        assert_eq!(&*words.intern("slot_2"), "slot_2");
    }
}
