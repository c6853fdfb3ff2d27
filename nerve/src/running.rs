//! What runs, for the API and the metrics. Published by `run` alone, when services start and stop.

use std::sync::Arc;

use common::zk::session::SessionObserver;

use crate::service::ServiceHandle;

/// The running services and sessions.
pub type RunningState = common::daemon::RunningState<Running>;

/// A snapshot of what runs.
#[derive(Debug, Default)]
pub struct Running {
    /// The services, in the file's order.
    pub services: Vec<ServiceHandle>,
    /// The ZooKeeper sessions, one per ensemble.
    pub ensembles: Vec<SessionObserver>,
    /// The configuration in effect, without secrets.
    pub effective: Arc<str>,
}
