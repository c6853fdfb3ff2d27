//! The mark that a command has yet to succeed for a file: an empty, hidden file beside it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use common::file::write_atomic;

/// The mark of one file.
#[derive(Debug)]
pub(crate) struct Mark(PathBuf);

impl Mark {
    pub(crate) fn of(file: &Path) -> Self {
        Self(super::hidden(file, "pending"))
    }

    /// It is on disk when this returns.
    pub(crate) fn set(&self) -> Result<(), String> {
        let written = write_atomic(&self.0, b"", 0o600);
        written.map(drop).map_err(|error| error.to_string())
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.exists()
    }

    pub(crate) fn clear(&self) -> Result<(), String> {
        match std::fs::remove_file(&self.0) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(format!("cannot remove {}: {error}", self.0.display()))
            }
            _ => Ok(()),
        }
    }
}
