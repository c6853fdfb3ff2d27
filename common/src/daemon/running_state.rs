//! The state that a daemon publishes for its API and metrics.

use std::sync::Arc;

use arc_swap::ArcSwap;

/// The latest snapshot of what runs. Clones share it.
#[derive(Debug, Default)]
pub struct RunningState<T>(Arc<ArcSwap<T>>);

impl<T> Clone for RunningState<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> RunningState<T> {
    /// Returns the latest snapshot.
    pub fn load(&self) -> Arc<T> {
        self.0.load_full()
    }

    /// Publishes a new snapshot.
    pub fn publish(&self, running: T) {
        self.0.store(Arc::new(running));
    }
}
