//! Readiness: latches that slow parts hold until they are done.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

/// The set of things a daemon still waits for before it is ready.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    waiting: Arc<Mutex<BTreeSet<String>>>,
}

/// Held by one slow part; dropping it marks the part as ready.
#[derive(Debug)]
#[must_use = "dropping the latch marks its part as ready"]
pub struct Latch {
    readiness: Readiness,
    name: String,
    also: Option<Box<Self>>,
}

impl Readiness {
    /// Returns a latch named for what is waited for, e.g. `first snapshot of service web`. Names are unique per daemon.
    pub fn latch(&self, name: impl Into<String>) -> Latch {
        let name = name.into();
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name.clone());
        Latch {
            readiness: self.clone(),
            name,
            also: None,
        }
    }

    /// Returns what is still waited for; empty when ready.
    pub fn waiting_for(&self) -> Vec<String> {
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .cloned()
            .collect()
    }
}

impl Latch {
    /// Joins two latches, which are dropped together.
    pub fn with(self, other: Self) -> Self {
        debug_assert!(self.also.is_none(), "a latch joins one other");
        let mut both = self;
        both.also = Some(Box::new(other));
        both
    }
}

impl Drop for Latch {
    fn drop(&mut self) {
        self.readiness
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_ready_when_the_last_latch_is_dropped() {
        let readiness = Readiness::default();
        let everywhere = readiness.clone();
        assert!(readiness.waiting_for().is_empty());
        let web = everywhere.latch("first snapshot of service web");
        let haproxy = readiness.latch("haproxy");
        assert_eq!(everywhere.waiting_for(), ["first snapshot of service web", "haproxy"]);
        drop(web);
        assert_eq!(readiness.waiting_for(), ["haproxy"]);
        drop(haproxy);
        assert!(everywhere.waiting_for().is_empty());
    }

    #[test]
    fn joined_latches_are_dropped_together() {
        let (started, ready) = (Readiness::default(), Readiness::default());
        let both = ready.latch("haproxy").with(started.latch("haproxy"));
        assert_eq!((started.waiting_for().len(), ready.waiting_for().len()), (1, 1));
        drop(both);
        assert_eq!((started.waiting_for().len(), ready.waiting_for().len()), (0, 0));
    }
}
