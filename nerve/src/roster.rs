//! What runs now, for the API and the metrics. Written by `run` alone, when services come and go.

use std::sync::Arc;

use arc_swap::ArcSwap;
use common::zk::session::SessionObserver;

use crate::service::ServiceHandle;

/// The services and sessions that run.
#[derive(Debug, Clone, Default)]
pub struct Roster(Arc<ArcSwap<Running>>);

/// One moment's picture of them.
#[derive(Debug, Default)]
pub struct Running {
    /// The services, in the file's order.
    pub services: Vec<ServiceHandle>,
    /// The ZooKeeper sessions, one per ensemble.
    pub ensembles: Vec<SessionObserver>,
    /// The configuration in effect, without secrets.
    pub effective: Arc<str>,
}

impl Roster {
    /// What runs now.
    pub fn now(&self) -> Arc<Running> {
        self.0.load_full()
    }

    /// Publishes another picture.
    pub fn publish(&self, running: Running) {
        self.0.store(Arc::new(running));
    }
}
