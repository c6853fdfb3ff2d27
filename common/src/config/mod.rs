//! A configuration file becomes typed values, or every problem in it.
//!
//! YAML and JSON come through one door ([`load`]): JSON is YAML. Keys are matched without regard to case, as the
//! originals' Go decoder does; `null` and an absent key are the same. A repeated key is a problem. Each value is
//! read by the code that needs it ([`Section`]), so the set of known keys, their defaults and the nearest valid key of a
//! typo come from the same lines that use them. Problems are collected: one run names them all.

mod diagnostics;
mod effective;
mod excerpt;
mod nearest;
mod path;
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
pub use diagnostics::KnownKeys;
use excerpt::{Text, location};
pub use problem::{Location, Problem, Problems};
pub use secret::{Secret, SecretError};
pub use section::Section;
pub use time::{parse as duration, parse as parse_duration};

/// Severity of an unknown key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownKeys {
    /// A warning, so that the originals' files start.
    Warn,
    /// A problem: `--check-config`, or `strict: true` in the file.
    Refuse,
}

/// A parsed file, not yet resolved.
#[derive(Debug)]
pub struct Document {
    name: String,
    text: Text,
    root: yaml::Node,
}

/// The configuration in a document.
#[derive(Debug)]
pub struct Loaded<T> {
    /// The typed configuration.
    pub value: T,
    /// Problems that do not prevent a start: unknown keys, keys that changed meaning.
    pub warnings: Vec<Problem>,
    /// The keys that the code reads, by section, for the test that compares the reference tables with the code.
    pub known_keys: KnownKeys,
    /// Every key that the code reads with its value or its default, secrets hidden: JSON as text, which takes a fifth of
    /// the memory of its values.
    pub effective: Arc<str>,
}

/// Parses JSON or YAML data of any shape. A repeated key is an error.
pub fn data(text: &str) -> Result<serde_json::Value, String> {
    let root = yaml::parse(text).map_err(|yaml::SyntaxError { at, what }| match at {
        Some((line, column)) => format!("line {line}, column {column}: {what}"),
        None => what,
    })?;
    root.into_json()
}

/// Reads and parses a file. `transform` receives the text first (environment templating in nerve); problems show the
/// file's own lines.
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
    /// Parses text; `name` is its name in problems, usually the file's path.
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
                let at = at.map(|at| Box::new(location(&text, at, "")));
                let help = "look at the indentation, the quotes and the brackets before this place";
                Err(Problems(vec![Problem {
                    at,
                    ..Problem::of_file(name, what, help)
                }]))
            }
        }
    }

    /// Reads the configuration with `read` and collects every problem. `strict: true` at the root refuses unknown keys for
    /// any `unknown`. The root section is named `root`.
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
