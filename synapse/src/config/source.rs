//! The source of the configuration, at the start and at each reload.

use std::path::PathBuf;

use common::config::{Loaded, Problems, UnknownKeys};
use common::exit::Fatal;

use super::{Config, resolve};

/// A file and how it is read.
#[derive(Debug, Clone)]
pub struct Source {
    /// The file.
    pub path: PathBuf,
    /// The directory that relative paths in it start from.
    pub base: PathBuf,
    /// How unknown keys are treated.
    pub unknown: UnknownKeys,
}

impl Source {
    /// Returns a source that only warns of unknown keys; relative paths start from the current directory.
    pub fn new(path: PathBuf) -> Result<Self, Fatal> {
        let base = std::env::current_dir()
            .map_err(|error| Fatal::config(format!("the current directory can't be determined: {error}")))?;
        let unknown = UnknownKeys::Warn;
        Ok(Self { path, base, unknown })
    }

    /// Reads and resolves the file.
    pub fn load(&self) -> Result<Loaded<Config>, Problems> {
        let document = common::config::load(&self.path, Ok)?;
        resolve(&document, self.unknown, &self.base)
    }
}
