//! The fuzz target `snapshot`, whose seeds the unit tests replay.

#![allow(clippy::missing_panics_doc, reason = "a finding is a panic")]

use common::hash::sha1_hex;
use tokio::time::Instant;

use super::{Remembered, decode, encode};

/// Checks any bytes as a file, and again below a valid first line: content that is read is written back unchanged, and can
/// be shown at any time.
pub fn snapshot(bytes: &[u8]) {
    check(bytes);
    let mut whole = format!("synapse-snapshot 1 {}\n", sha1_hex(bytes)).into_bytes();
    whole.extend(bytes);
    check(&whole);
}

fn check(bytes: &[u8]) {
    let Ok(content) = decode(bytes) else { return };
    assert_eq!(decode(&encode(&content)), Ok(content.clone()));
    for remembered in content.sources.values() {
        show(remembered);
    }
}

/// Checks that a state that is shown and remembered again is the same.
fn show(remembered: &Remembered) {
    let now = Instant::now();
    let state = remembered.state(now, u64::MAX);
    let again = Remembered::of(&state, now, u64::MAX).map(|again| again.instances);
    assert_eq!(again.as_ref(), Some(&remembered.instances));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeds::seeds;

    #[test]
    fn the_seeds_of_the_fuzz_target_hold() {
        let mut sizes = Vec::new();
        for seed in seeds("snapshot") {
            snapshot(&seed);
            sizes.extend(decode(&seed).ok().map(|content| content.sources.len()));
        }
        assert!(sizes.contains(&2), "one of them is complete");
    }
}
