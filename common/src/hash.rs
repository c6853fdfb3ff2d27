//! Hashes whose values are the same in every release: of files, names and structures. Pure.

use std::fmt;

use sha1::{Digest, Sha1};

/// FNV-1a, 64 bits. Detects accidental changes; an adversary finds collisions easily.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fnv1a(u64);

impl Default for Fnv1a {
    fn default() -> Self {
        Self::with_seed(0)
    }
}

impl Fnv1a {
    /// Returns the hash of no bytes under `seed`; 0 is the standard's.
    pub fn with_seed(seed: u64) -> Self {
        Self(seed ^ 0xcbf2_9ce4_8422_2325)
    }

    /// Returns the hash of the bytes so far, followed by `bytes`.
    #[must_use]
    pub fn with(self, bytes: &[u8]) -> Self {
        let add = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        Self(bytes.iter().fold(self.0, add))
    }

    /// Returns the hash as a number.
    pub fn value(self) -> u64 {
        self.0
    }
}

/// Sixteen hexadecimal digits.
impl fmt::Display for Fnv1a {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Returns the SHA-1 of `bytes` as 40 hexadecimal digits.
pub fn sha1_hex(bytes: &[u8]) -> String {
    let digits = |byte: &u8| [byte >> 4, byte & 15].map(|digit| char::from_digit(digit.into(), 16).unwrap_or_default());
    Sha1::digest(bytes).iter().flat_map(digits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hashes_are_the_standard_ones() {
        assert_eq!(Fnv1a::default().with(b"a").to_string(), "af63dc4c8601ec8c");
        assert_eq!(
            Fnv1a::default().with(b"foo").with(b"bar").value(),
            0x8594_4171_f739_67e8
        );
        assert_eq!(sha1_hex(b"web1"), "977588a87e10582032716712ccf5d85d18a5fccf");
    }
}
