//! What the reading of one document has found so far; its sections share it.

use std::cell::{Cell, RefCell};

use super::Text;
use super::effective::Effective;
use super::excerpt::spot;
use super::problem::Problem;
use super::section::KnownKeys;
use super::yaml::{End, locate};

/// A place in the tree, as [`locate`] wants it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NodePath(pub(super) Vec<usize>);

impl NodePath {
    pub(super) fn child(&self, index: usize) -> Self {
        Self(self.0.iter().copied().chain([index]).collect())
    }
}

/// Something to tell the operator, not yet located.
#[derive(Debug)]
pub(super) struct Diagnostic {
    pub(super) place: NodePath,
    pub(super) end: End,
    pub(super) key: String,
    pub(super) what: String,
    pub(super) help: String,
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
    /// What is likely a mistake though it could be meant: a problem in strict reading, a warning otherwise.
    pub(super) fn doubt(&self, finding: Diagnostic) {
        let list = if self.strict.get() {
            &self.problems
        } else {
            &self.warnings
        };
        list.borrow_mut().push(finding);
    }
}

/// The most diagnostics that are given a line: each costs a walk through the whole text, and a long file can have
/// thousands of warnings. The key's path names the others.
const MAX_LOCATED: usize = 100;

/// Puts diagnostics in the file's order and gives them their lines.
pub(super) fn located(file: &str, text: &Text, mut diagnostics: Vec<Diagnostic>) -> Vec<Problem> {
    diagnostics.sort_by(|a, b| a.place.cmp(&b.place));
    let problem = |(number, finding): (usize, Diagnostic)| {
        // The root begins at the first line, which is not where a missing key would be.
        let is_root = finding.place.0.is_empty();
        let at = if is_root || number >= MAX_LOCATED {
            None
        } else {
            locate(&text.read, &finding.place.0, finding.end)
        };
        Problem {
            file: file.to_owned(),
            at: at.map(|at| Box::new(spot(text, at, &finding.key))),
            key: finding.key,
            what: finding.what,
            help: finding.help,
        }
    };
    diagnostics.into_iter().enumerate().map(problem).collect()
}
