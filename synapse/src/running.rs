//! What runs, for the API and the metrics. Published by `run` alone, when routers start and stop.

use std::sync::Arc;

use common::zk::session::SessionObserver;

use crate::haproxy::Haproxy;
use crate::pipeline::PipelineHandle;
use crate::router::{Applier, RouterStatus};
use crate::watcher::Description;

/// The running routers and sessions.
pub type RunningState = common::daemon::RunningState<Running>;

/// A snapshot of them.
#[derive(Debug, Default)]
pub struct Running {
    /// The routers, in the file's order.
    pub routers: Vec<RunningRouter>,
    /// The ZooKeeper sessions, one per ensemble.
    pub ensembles: Vec<SessionObserver>,
    /// The configuration in effect, without secrets.
    pub effective: Arc<str>,
}

/// A running router, as the API and the metrics see it.
#[derive(Debug, Clone)]
pub struct RunningRouter {
    /// Its services, in the file's order.
    pub services: Vec<RunningService>,
    /// The pipeline that decides their servers.
    pub pipeline: PipelineHandle,
    /// The router that applies them.
    pub handle: RouterHandle,
}

impl RunningRouter {
    /// Ends the router when its tasks stop; HAProxy runs on for a successor.
    pub fn detach(&self) {
        if let RouterHandle::Haproxy(haproxy) = &self.handle {
            haproxy.detach();
        }
    }

    /// Ends the router when its tasks stop, with an HAProxy that synapse runs for it.
    pub fn stop(&self) {
        if let RouterHandle::Haproxy(haproxy) = &self.handle {
            haproxy.stop();
        }
    }

    /// Whether a source has not answered, or its content is not applied.
    pub fn is_incomplete(&self) -> bool {
        !self.handle.status().complete
    }
}

/// The identity of a service.
#[derive(Debug, Clone)]
pub struct RunningService {
    /// `<name>_<n>`, unique.
    pub id: String,
    /// As configured; other services may have the same.
    pub name: String,
    /// The source of its servers.
    pub source: Description,
}

/// The handle of a router by its type.
#[derive(Debug, Clone)]
pub enum RouterHandle {
    /// A router that prints or writes files, with its `type`.
    Plain(&'static str, Applier),
    /// The handle of HAProxy's router.
    Haproxy(Haproxy),
}

impl RouterHandle {
    /// Returns the `type` of the configuration.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Plain(kind, _) => kind,
            Self::Haproxy(_) => "haproxy",
        }
    }

    /// Returns the status that every type has.
    pub fn status(&self) -> Arc<RouterStatus> {
        match self {
            Self::Plain(_, applier) => applier.status(),
            Self::Haproxy(haproxy) => Arc::new(haproxy.status().summary()),
        }
    }
}
