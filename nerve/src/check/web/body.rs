//! As much of a body as is wanted.

/// How much of a body is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::check) enum BodyLimit {
    /// It is not read.
    Nothing,
    /// All of it, up to so many bytes.
    All(usize),
    /// Until it contains these bytes (never none), or so many were read.
    Until(Vec<u8>, usize),
}

/// What was read.
#[derive(Debug)]
pub(in crate::check) struct Body {
    bytes: Vec<u8>,
    limit: BodyLimit,
    found: bool,
}

impl Body {
    pub(in crate::check) fn new(limit: BodyLimit) -> Self {
        Self {
            bytes: Vec::new(),
            limit,
            found: false,
        }
    }

    fn cap(&self) -> usize {
        match self.limit {
            BodyLimit::Nothing => 0,
            BodyLimit::All(cap) | BodyLimit::Until(_, cap) => cap,
        }
    }

    /// Whether no more is wanted.
    pub(in crate::check) fn is_enough(&self) -> bool {
        self.found || self.bytes.len() >= self.cap()
    }

    /// Takes the next bytes, as far as they are wanted.
    pub(in crate::check) fn push(&mut self, chunk: &[u8]) {
        let before = self.bytes.len();
        let room = self.cap().saturating_sub(before);
        self.bytes.extend(chunk.iter().take(room));
        if let BodyLimit::Until(text, _) = &self.limit {
            // What was looked through before can only be the beginning of a match.
            let unseen = before.saturating_sub(text.len());
            let unseen = self.bytes.get(unseen..).unwrap_or_default();
            self.found |= unseen.windows(text.len().max(1)).any(|window| window == text);
        }
    }

    /// Whether the wanted bytes are in it.
    pub(in crate::check) fn found(&self) -> bool {
        self.found
    }

    /// What was read.
    pub(in crate::check) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_not_wanted_is_enough_at_once() {
        assert!(Body::new(BodyLimit::Nothing).is_enough());
        let mut body = Body::new(BodyLimit::All(3));
        body.push(b"ab");
        assert!(!body.is_enough());
        body.push(b"cd");
        assert!(body.is_enough());
        assert_eq!(body.bytes(), b"abc");
    }

    proptest! {
        #[test]
        fn a_text_is_found_however_it_is_cut(
            chunks in prop::collection::vec(prop::collection::vec(0_u8..3, 0..5), 0..12),
            text in prop::collection::vec(0_u8..3, 1..5),
            cap in 0_usize..40,
        ) {
            let mut body = Body::new(BodyLimit::Until(text.clone(), cap));
            for chunk in &chunks {
                body.push(chunk);
            }
            let whole: Vec<u8> = chunks.concat().into_iter().take(cap).collect();
            prop_assert_eq!(body.found(), whole.windows(text.len()).any(|window| window == text));
            prop_assert!(body.bytes().len() <= cap);
        }
    }
}
