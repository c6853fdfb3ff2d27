//! A configuration file becomes typed values, or every problem in it.
//!
//! YAML and JSON come through one door ([`load`]): JSON is YAML. Keys are matched without regard to case, as the
//! originals' Go decoder does; `null` and an absent key are the same. A repeated key is a problem. Each value is asked
//! for by the code that needs it ([`Section`]), so the set of known keys, their defaults and the nearest valid key of a
//! typo come from the same lines that use them. Problems are collected, not thrown: one run names them all.

mod diagnostics;
mod effective;
mod excerpt;
mod nearest;
mod problem;
mod secret;
mod section;
mod time;
mod value;
mod yaml;

use std::io;
use std::path::Path;
use std::sync::Arc;

use diagnostics::Diagnostics;
pub use problem::{Location, Problem, Problems};
pub use secret::{Secret, SecretError};
pub use section::{KnownKeys, Section};
pub use time::parse as parse_duration;

/// What an unknown key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownKeys {
    /// A warning, so that the originals' files start.
    Warn,
    /// A problem: `--check-config`, or `strict: true` in the file.
    Refuse,
}

/// A file that was parsed, not yet loaded.
#[derive(Debug)]
pub struct Document {
    name: String,
    text: Text,
    root: yaml::Node,
}

/// A text, and what it was before it was transformed: that is what problems show, for the text may hold secrets that
/// the file does not.
#[derive(Debug)]
struct Text {
    read: String,
    source: Option<String>,
}

/// What a document meant.
#[derive(Debug)]
pub struct Loaded<T> {
    /// The typed configuration.
    pub value: T,
    /// What the operator should know though it stops nothing: unknown keys, keys that changed meaning.
    pub warnings: Vec<Problem>,
    /// The keys that were asked for, by section, for the test that compares the reference tables with the code.
    pub known_keys: KnownKeys,
    /// Every key that was asked for with its value or its default, secrets hidden: JSON for people, as text, which is a
    /// fifth of what its values would take as long as the daemon runs.
    pub effective: Arc<str>,
}

/// Reads a duration as our own keys have them (`1m 30s`, `500ms`), or says what is wrong with the text.
pub fn duration(text: &str) -> Result<std::time::Duration, String> {
    time::parse(text)
}

/// Parses data, JSON or YAML, that is no configuration: it may be of any shape. A repeated key is an error.
pub fn data(text: &str) -> Result<serde_json::Value, String> {
    let root = yaml::parse(text).map_err(|yaml::SyntaxError { at, what }| match at {
        Some((line, column)) => format!("line {line}, column {column}: {what}"),
        None => what,
    })?;
    root.into_json()
}

/// Reads and parses a file. `transform` sees the text first (environment templating in nerve); problems show the file's
/// own lines.
pub fn load(path: &Path, transform: impl FnOnce(String) -> Result<String, Problem>) -> Result<Document, Problems> {
    let name = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|error| {
        let help = match error.kind() {
            io::ErrorKind::NotFound => "check the path",
            io::ErrorKind::PermissionDenied => "let the user that runs this read the file and enter its directories",
            io::ErrorKind::IsADirectory => "name the file itself",
            _ => "",
        };
        Problems(vec![Problem::of_file(&name, format!("cannot be read: {error}"), help)])
    })?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let what = format!(
            "is not UTF-8 text: byte {} is wrong",
            error.utf8_error().valid_up_to() + 1
        );
        Problems(vec![Problem::of_file(&name, what, "save it as UTF-8")])
    })?;
    let transformed = transform(text.clone()).map_err(|problem| Problems(vec![problem]))?;
    let source = (transformed != text).then_some(text);
    Document::parse_from(&name, transformed, source)
}

impl Document {
    /// Parses text; `name` is what problems call it, usually the file's path.
    pub fn parse(name: &str, text: String) -> Result<Self, Problems> {
        Self::parse_from(name, text, None)
    }

    fn parse_from(name: &str, read: String, source: Option<String>) -> Result<Self, Problems> {
        let text = Text { read, source };
        match yaml::parse(&text.read) {
            Ok(root) => Ok(Self {
                name: name.to_owned(),
                text,
                root,
            }),
            Err(yaml::SyntaxError { at, what }) => {
                let at = at.map(|at| Box::new(excerpt::spot(&text, at, "")));
                let help = "look at the indentation, the quotes and the brackets before this place";
                Err(Problems(vec![Problem {
                    at,
                    ..Problem::of_file(name, what, help)
                }]))
            }
        }
    }

    /// Lets `read` ask for what it needs and collects every problem. `strict: true` at the root refuses unknown keys
    /// whatever `unknown` says. The root section is named `root`.
    pub fn resolve<T>(
        &self,
        unknown: UnknownKeys,
        read: impl FnOnce(&mut Section<'_>) -> Option<T>,
    ) -> Result<Loaded<T>, Problems> {
        let diagnostics = Diagnostics::default();
        let value = Section::root(&diagnostics, &self.root).and_then(|mut root| {
            let strict = root.flag_or("strict", false);
            diagnostics.strict.set(strict || unknown == UnknownKeys::Refuse);
            read(&mut root)
        });
        let located = |found| diagnostics::located(&self.name, &self.text, found);
        let problems = diagnostics.problems.into_inner();
        match value {
            Some(value) if problems.is_empty() => Ok(Loaded {
                value,
                warnings: located(diagnostics.warnings.into_inner()),
                known_keys: diagnostics.known_keys.into_inner(),
                effective: diagnostics.effective.into_inner().into_json().to_string().into(),
            }),
            None if problems.is_empty() => Err(Problems(vec![Problem::of_file(&self.name, "means nothing", "")])),
            _ => Err(Problems(located(problems))),
        }
    }
}

#[cfg(test)]
mod tests;
