//! Where the configuration comes from, at the start and whenever it is read again.

use std::path::PathBuf;

use common::config::{Loaded, Problems, UnknownKeys};

use super::{Config, resolve};

/// A file and how it is to be read.
#[derive(Debug, Clone)]
pub struct Source {
    /// The file.
    pub path: PathBuf,
    /// Where relative paths in it start.
    pub base: PathBuf,
    /// What an unknown key is.
    pub unknown: UnknownKeys,
    /// Whether the log level comes from the command line, so that the file has no say.
    pub level_is_fixed: bool,
}

impl Source {
    /// Reads and resolves the file.
    pub fn load(&self) -> Result<Loaded<Config>, Problems> {
        let document = common::config::load(&self.path, Ok)?;
        resolve(&document, self.unknown, &self.base)
    }
}
