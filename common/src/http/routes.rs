//! The routes of both daemons: `/live /started /ready /metrics /version /log-level`.

use std::sync::Arc;

use prometheus_client::registry::Registry;
use tracing::info;

use super::{Method, Reply, Request};
use crate::ready::Readiness;
use crate::telemetry::log::LevelHandle;
use crate::telemetry::metrics::{self, Build};

/// The data of the common routes.
#[derive(Debug, Clone)]
pub struct CommonRoutes {
    /// Name and version of the daemon.
    pub build: Build,
    /// `/started`, with replies like `/ready`: its latches are released once, and a stop does not undo that.
    pub started: Readiness,
    /// `/ready`: 200 `true`, or 503 `false` and the names of the latches, one per line.
    pub readiness: Readiness,
    /// `/metrics`.
    pub registry: Arc<Registry>,
    /// `/log-level`: GET returns it, PUT (body: the level) changes it.
    pub level: LevelHandle,
}

/// Handles a common route; `None` for any other path.
pub fn common_routes(request: &Request, common: &CommonRoutes) -> Option<Reply> {
    let read_only: fn(&CommonRoutes) -> Reply = match request.segments().as_slice() {
        ["live"] => |_| Reply::text(200, "ok"),
        ["started"] => |common| ready(&common.started),
        ["ready"] => |common| ready(&common.readiness),
        ["metrics"] => |common| Reply {
            content_type: metrics::CONTENT_TYPE,
            ..Reply::text(200, metrics::encode(&common.registry))
        },
        ["version"] => |common| {
            let Build { name, version } = common.build;
            Reply::text(200, format!("{name} {version}\n"))
        },
        ["log-level"] => return Some(log_level(request, &common.level)),
        _ => return None,
    };
    Some(match request.method {
        Method::Get => read_only(common),
        Method::Put | Method::Post | Method::Delete => Reply::method_not_allowed("GET, HEAD"),
    })
}

fn ready(readiness: &Readiness) -> Reply {
    let waiting_for = readiness.waiting_for();
    if waiting_for.is_empty() {
        // The complete body of Go-Synapse, which start scripts compare.
        Reply::text(200, "true")
    } else {
        Reply::text(503, format!("false\n{}\n", waiting_for.join("\n")))
    }
}

fn log_level(request: &Request, level: &LevelHandle) -> Reply {
    match request.method {
        Method::Get => {}
        Method::Put => match level.set(&String::from_utf8_lossy(&request.body)) {
            Ok(()) => info!(level = level.get(), "Log level changed."),
            Err(error) => return Reply::problem(400, "Bad request", error.to_string()),
        },
        Method::Post | Method::Delete => return Reply::method_not_allowed("GET, HEAD, PUT"),
    }
    Reply::text(200, level.get() + "\n")
}
