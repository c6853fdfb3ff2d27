//! Files that are either whole or not there.

use std::path::{Path, PathBuf};

/// What a write did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// The file has the new bytes.
    Changed,
    /// It already had them; nothing was touched.
    Unchanged,
}

/// A file operation that failed, on which path and in which step.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}", path.display())]
pub struct FileError {
    /// `create`, `write`, `rename`...
    pub action: &'static str,
    /// The file.
    pub path: PathBuf,
    /// The system's word.
    pub source: std::io::Error,
}

/// Replaces `path` by `bytes` so that a reader, or a crash at any point, sees the old file or the new one: temporary
/// file in the same directory, fsync, rename, fsync of the directory. Equal bytes and mode touch nothing.
/// `mode` is the file's permission bits (0o600 for everything that is not meant for others).
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> Result<Written, FileError> {
    let _ = (path, bytes, mode);
    todo!()
}

/// An exclusive lock on a file, held as long as the value lives (and dropped by the kernel with the process).
#[derive(Debug)]
pub struct Lock {
    _file: std::fs::File,
}

/// Locks `path`, creating it (0600) when absent. `Ok(None)`: another process holds it.
pub fn lock(path: &Path) -> Result<Option<Lock>, FileError> {
    let _ = path;
    todo!()
}
