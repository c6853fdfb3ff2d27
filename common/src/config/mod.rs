//! A configuration file becomes typed values, or every problem in it.
//!
//! YAML and JSON come through one door ([`load`]): JSON is YAML. Keys are matched without regard to case, as the
//! originals' Go decoder does; `null` and an absent key are the same. A repeated key is a problem. Each value is asked
//! for by the code that needs it ([`Section`]), so the set of known keys, their defaults and the nearest valid key of a
//! typo come from the same lines that use them. Problems are collected, not thrown: one run names them all.

mod problem;
mod section;
mod time;
mod yaml;

use std::path::Path;

pub use problem::{Problem, Problems};
pub use section::{KnownKeys, Section};

/// What an unknown key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownKeys {
    /// A warning, so that the originals' files start.
    Warn,
    /// A problem: `--check-config`, or `strict: true` in the file.
    Refuse,
}

/// A file that was parsed, not yet understood.
#[derive(Debug)]
pub struct Document {
    name: String,
    text: String,
    root: yaml::Node,
}

/// What a document meant.
#[derive(Debug)]
pub struct Understood<T> {
    /// The typed configuration.
    pub value: T,
    /// What the operator should know though it stops nothing: unknown keys, keys that changed meaning.
    pub warnings: Vec<Problem>,
    /// The keys that were asked for, by section, for the test that compares the reference tables with the code.
    pub known_keys: KnownKeys,
}

/// Reads and parses a file. `transform` sees the text first (environment templating in nerve).
pub fn load(path: &Path, transform: impl FnOnce(String) -> Result<String, Problem>) -> Result<Document, Problems> {
    let _ = (path, transform);
    todo!()
}

impl Document {
    /// Parses text; `name` is what problems call it, usually the file's path.
    pub fn parse(name: &str, text: String) -> Result<Self, Problems> {
        let _ = (name, text);
        todo!()
    }

    /// Lets `read` ask for what it needs and collects every problem. `strict: true` at the root refuses unknown keys
    /// whatever `unknown` says. The root section is named `root`.
    pub fn understand<T>(
        &self,
        unknown: UnknownKeys,
        read: impl FnOnce(&mut Section<'_>) -> Option<T>,
    ) -> Result<Understood<T>, Problems> {
        let _ = (unknown, read, &self.name, &self.text, &self.root);
        todo!()
    }
}
