//! One check as its service sees it: its result, its history, and why it is down.

use std::sync::Arc;

use crate::health::history::History;
use crate::health::threshold::Threshold;
use crate::health::verdict::{CheckResult, Importance, Verdict};

/// A check and its results so far.
#[derive(Debug)]
pub struct CheckState {
    /// Its type and target, for people.
    pub label: String,
    /// Its last verdicts.
    pub history: History,
    importance: Importance,
    threshold: Threshold,
    /// Why it is down: the failure that brought it down, so that the report does not change with each later one.
    reason: String,
}

impl CheckState {
    /// A check that has not reported; it changes after `rise` passes or `fall` failures in a row.
    pub fn new(label: String, importance: Importance, rise: u32, fall: u32) -> Self {
        Self {
            label,
            history: History::default(),
            importance,
            threshold: Threshold::new(rise, fall),
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
    pub fn result(&self) -> (Importance, CheckResult<'_>) {
        let result = self.up().map(|up| if up { Ok(()) } else { Err(self.reason.as_str()) });
        (self.importance, result)
    }
}
