//! The marks by which the file of synapse's is recognised. Pure.

use crate::haproxy::runtime::client::STRUCTURE;

/// First line of every file that synapse writes.
pub(crate) const HEADER: &str = "# Handled by synapse. Do not modify it.";

/// Whether a line, split at blanks, sets the structure's fingerprint.
pub(crate) fn is_structure(words: &[&str]) -> bool {
    matches!(words, ["setenv", STRUCTURE, _])
}
