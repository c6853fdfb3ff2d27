//! A problem in a configuration, with its place and a remedy.

use std::fmt;

/// What is wrong and what to do about it.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) what: String,
    pub(super) help: String,
}

impl Message {
    pub(super) fn new(what: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            help: help.into(),
        }
    }
}

/// One thing wrong in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: String,
    /// Its place in the file, if known.
    pub at: Option<Box<Location>>,
    /// The path of the key, e.g. `services[0].checks[1].timeoutInMilli`; empty for the file as a whole.
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// The remedy, e.g. ``did you mean `timeoutInMilli`?``; may be empty.
    pub help: String,
}

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
    /// The line itself with its secrets hidden, and a caret in a second line; may be empty.
    pub excerpt: String,
}

impl Problem {
    /// A problem of the file as a whole.
    pub fn of_file(file: impl Into<String>, what: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            at: None,
            key: String::new(),
            what: what.into(),
            help: help.into(),
        }
    }
}

/// `FILE:LINE:COLUMN: KEY: WHAT`, then the line with its caret, then the help; no newline at the end.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file)?;
        if let Some(location) = &self.at {
            write!(f, "{}:{}:", location.line, location.column)?;
        }
        if !self.key.is_empty() {
            write!(f, " {}:", self.key)?;
        }
        write!(f, " {}", self.what)?;
        for line in self.at.iter().flat_map(|location| location.excerpt.lines()) {
            write!(f, "\n    {line}")?;
        }
        if !self.help.is_empty() {
            write!(f, "\n  help: {}", self.help)?;
        }
        Ok(())
    }
}

/// All that is wrong in a file; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

/// One block for each problem; the last line counts them when there are several.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [problem] = self.0.as_slice() else {
            for problem in &self.0 {
                write!(f, "{problem}\n\n")?;
            }
            return write!(f, "{} problems", self.0.len());
        };
        problem.fmt(f)
    }
}

impl std::error::Error for Problems {}
