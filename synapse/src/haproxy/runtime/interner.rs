//! Shared allocations for strings that occur thousands of times. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

/// The strings interned so far.
#[derive(Debug, Default)]
pub(crate) struct Interner(BTreeSet<Arc<str>>);

impl Interner {
    /// Returns the shared allocation of this string.
    pub(crate) fn intern(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.0.get(text) {
            return Arc::clone(known);
        }
        let new: Arc<str> = text.into();
        self.0.insert(Arc::clone(&new));
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_strings_share_one_allocation() {
        let mut interner = Interner::default();
        let first = interner.intern("slot_1");
        assert!(Arc::ptr_eq(&first, &interner.intern("slot_1")));
        assert_eq!(&*interner.intern("slot_2"), "slot_2");
    }
}
