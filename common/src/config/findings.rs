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
pub(super) struct Place(pub(super) Vec<usize>);

impl Place {
    pub(super) fn child(&self, index: usize) -> Self {
        Self(self.0.iter().copied().chain([index]).collect())
    }
}

/// Something to tell the operator, not yet located.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) place: Place,
    pub(super) end: End,
    pub(super) key: String,
    pub(super) what: String,
    pub(super) help: String,
}

/// Problems, warnings and known keys, in the order they were found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Whether a doubt is a problem.
    pub(super) strict: Cell<bool>,
    pub(super) problems: RefCell<Vec<Finding>>,
    pub(super) warnings: RefCell<Vec<Finding>>,
    pub(super) known_keys: RefCell<KnownKeys>,
    pub(super) effective: RefCell<Effective>,
}

impl Findings {
    /// What is likely a mistake though it could be meant: a problem in strict reading, a warning otherwise.
    pub(super) fn doubt(&self, finding: Finding) {
        let list = if self.strict.get() {
            &self.problems
        } else {
            &self.warnings
        };
        list.borrow_mut().push(finding);
    }
}

/// The most findings that are given a line: each costs a walk through the whole text, and a long file can have
/// thousands of warnings. The key's path names the others.
const MOST_LOCATED: usize = 100;

/// Puts findings in the file's order and gives them their lines.
pub(super) fn located(file: &str, text: &Text, mut findings: Vec<Finding>) -> Vec<Problem> {
    findings.sort_by(|a, b| a.place.cmp(&b.place));
    let problem = |(number, finding): (usize, Finding)| {
        // The root begins at the first line, which is not where a missing key would be.
        let is_root = finding.place.0.is_empty();
        let at = if is_root || number >= MOST_LOCATED {
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
    findings.into_iter().enumerate().map(problem).collect()
}
