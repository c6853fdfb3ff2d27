//! The routes both daemons have: `/live /ready /metrics /version /log-level`.

use std::sync::Arc;

use prometheus_client::registry::Registry;

use super::{Reply, Request};
use crate::ready::Readiness;
use crate::telemetry::log::LevelHandle;
use crate::telemetry::metrics::Build;

/// What the common routes read.
#[derive(Debug, Clone)]
pub struct CommonRoutes {
    /// Who answers.
    pub build: Build,
    /// `/ready`: 200 `true` or 503 with the names of what is waited for.
    pub readiness: Readiness,
    /// `/metrics`.
    pub registry: Arc<Registry>,
    /// `/log-level`: GET says it, PUT (body: the level) changes it.
    pub level: LevelHandle,
}

/// Answers a common route; `None` when the path is not one of them.
pub fn common_routes(request: &Request, common: &CommonRoutes) -> Option<Reply> {
    let _ = (request, common);
    todo!()
}
