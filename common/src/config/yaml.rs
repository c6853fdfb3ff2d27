//! The only file that names `serde_yaml`.

/// A parsed value.
#[derive(Debug)]
pub(super) struct Node;
