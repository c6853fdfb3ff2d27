//! One check as its service sees it: its result, its history, and why it is down.

use std::sync::Arc;

use crate::config::CheckConfig;
use crate::health::history::History;
use crate::health::threshold::Threshold;
use crate::health::verdict::{Importance, Verdict, Word};

/// A check and its results so far.
#[derive(Debug)]
pub struct Checked {
    /// Its type and target, for people.
    pub label: String,
    /// Its last verdicts.
    pub history: History,
    importance: Importance,
    threshold: Threshold,
    /// Why it is down: the failure that brought it down, so that the report does not change with each later one.
    reason: String,
}

impl Checked {
    /// A check that has not reported.
    pub fn new(config: &CheckConfig) -> Self {
        Self {
            label: format!("{} {}", config.kind.as_str(), config.target()),
            history: History::default(),
            importance: config.importance,
            threshold: Threshold::new(config.rise, config.fall),
            reason: String::new(),
        }
    }

    /// Adds a verdict; returns whether the check's result changed.
    pub fn observe(&mut self, verdict: &Arc<Verdict>) -> bool {
        let changed = self.threshold.observe(verdict.outcome.is_ok());
        self.history.add(Arc::clone(verdict));
        if changed {
            self.reason = match &verdict.outcome {
                Ok(_) => String::new(),
                Err(failure) => format!("{}: {}", self.label, failure.detail),
            };
        }
        changed
    }

    /// After rise and fall; `None` before the first verdict.
    pub fn up(&self) -> Option<bool> {
        self.threshold.up()
    }

    /// Its contribution to the service's health.
    pub fn as_str(&self) -> (Importance, Word<'_>) {
        let word = self.up().map(|up| if up { Ok(()) } else { Err(self.reason.as_str()) });
        (self.importance, word)
    }
}
