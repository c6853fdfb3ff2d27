//! The diagnostics of one document, shared by its sections.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use super::effective::Effective;
use super::excerpt::{Text, location};
use super::path::NodePath;
use super::problem::{Message, Problem};
use super::yaml::{End, locate};

/// The keys that the code reads: section name to key to default (as the reference prints it; `-` for none).
pub type KnownKeys = BTreeMap<String, BTreeMap<String, String>>;

/// Whether a diagnostic stops the daemon.
#[derive(Debug, Clone, Copy)]
pub(super) enum Severity {
    Problem,
    Warning,
    /// A likely mistake that could be intended: a problem in strict reading, a warning otherwise.
    Doubt,
}

/// A message without its line.
#[derive(Debug)]
pub(super) struct Diagnostic {
    at: NodePath,
    end: End,
    message: Message,
}

/// Problems, warnings and known keys, in the order they were found.
#[derive(Debug, Default)]
pub(super) struct Diagnostics {
    /// Whether a doubt is a problem.
    pub(super) strict: Cell<bool>,
    pub(super) problems: RefCell<Vec<Diagnostic>>,
    pub(super) warnings: RefCell<Vec<Diagnostic>>,
    pub(super) known_keys: RefCell<KnownKeys>,
    pub(super) effective: RefCell<Effective>,
}

impl Diagnostics {
    pub(super) fn add(&self, severity: Severity, at: NodePath, end: End, message: Message) {
        let list = match severity {
            Severity::Warning => &self.warnings,
            Severity::Doubt if !self.strict.get() => &self.warnings,
            Severity::Problem | Severity::Doubt => &self.problems,
        };
        list.borrow_mut().push(Diagnostic { at, end, message });
    }
}

/// Greatest number of diagnostics that get a line, because each costs a walk through the whole text and a long file can
/// have thousands of warnings. The others have the key's path.
const MAX_LOCATED: usize = 100;

/// Sorts diagnostics by the file's order and adds their lines.
pub(super) fn located(file: &str, text: &Text, mut diagnostics: Vec<Diagnostic>) -> Vec<Problem> {
    diagnostics.sort_by(|a, b| a.at.steps.cmp(&b.at.steps));
    let problem = |(number, Diagnostic { at, end, message }): (usize, Diagnostic)| {
        // The root begins at the first line, which is not where a missing key would be.
        let position = (!at.steps.is_empty() && number < MAX_LOCATED)
            .then(|| locate(&text.read, &at.steps, end))
            .flatten();
        Problem {
            file: file.to_owned(),
            at: position.map(|position| Box::new(location(text, position, &at.key))),
            key: at.key,
            what: message.what,
            help: message.help,
        }
    };
    diagnostics.into_iter().enumerate().map(problem).collect()
}
