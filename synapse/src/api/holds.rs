//! What is held against the registry's command, and an operator's command on it.

use std::sync::Arc;
use std::time::Duration;

use common::config::parse_duration;
use common::http::{Reply, Request};
use serde::Serialize;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use crate::pipeline::GuardRequest;
use crate::pipeline::guard::{GuardCommand, HeldInstance};
use crate::running::{RunningRouter, RunningService};

/// How long an operator's command holds when no span is given, and at most.
const KEEP: Duration = Duration::from_hours(1);
const MAX_KEEP: Duration = Duration::from_hours(24);
/// How long the command may take to be followed.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(5);

/// One instance that stays although it is not listed.
#[derive(Debug, Serialize)]
pub(super) struct HeldView {
    /// A command of a fixed set.
    guard: &'static str,
    why: String,
    since_seconds: u64,
    /// How long it stays at most, while the source answers.
    left_seconds: u64,
    /// By an operator's command.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    kept: bool,
}

impl HeldView {
    pub(super) fn of(held: &HeldInstance, now: Instant) -> Self {
        Self {
            guard: held.why.label(),
            why: held.why.to_string(),
            since_seconds: now.saturating_duration_since(held.since).as_secs(),
            left_seconds: held.until.saturating_duration_since(now).as_secs(),
            kept: held.kept,
        }
    }
}

#[derive(Debug, Serialize)]
struct ServiceView {
    service: String,
    held: Vec<InstanceView>,
}

#[derive(Debug, Serialize)]
struct InstanceView {
    node: Arc<str>,
    name: String,
    address: String,
    #[serde(flatten)]
    held: HeldView,
}

/// `GET /v1/holds`: the services of which anything is held.
pub(super) fn list(routers: &[RunningRouter]) -> Reply {
    let now = Instant::now();
    let mut services = Vec::new();
    for router in routers {
        let guarded = Arc::clone(&router.pipeline.guarded.borrow());
        for (service, guarded) in router.services.iter().zip(guarded.iter()) {
            let held = guarded.held.values().map(|held| {
                let server = &held.candidate.server;
                InstanceView {
                    node: Arc::clone(&server.node),
                    name: server.name.clone(),
                    address: server.address.to_string(),
                    held: HeldView::of(held, now),
                }
            });
            let held: Vec<InstanceView> = held.collect();
            if !held.is_empty() {
                let service = service.id.clone();
                services.push(ServiceView { service, held });
            }
        }
    }
    Reply::json(200, &services)
}

/// `POST /v1/holds/:service/:act`.
pub(super) async fn change(routers: &[RunningRouter], id: &str, act: &str, request: &Request) -> Reply {
    if let Some(refusal) = request.refuse_change() {
        return refusal;
    }
    let command = match command(act, request.query.get("for").map(String::as_str)) {
        Ok(command) => command,
        Err(reply) => return reply,
    };
    let all = || {
        routers
            .iter()
            .flat_map(|router| router.services.iter().map(move |service| (router, service)))
    };
    let Some((router, service)) = all().find(|(_, service)| service.id == id) else {
        let known: Vec<&str> = all().map(|(_, service)| service.id.as_str()).collect();
        return Reply::problem(404, "No such service", format!("the services are {}", known.join(", ")));
    };
    let given = |key: &str| request.query.get(key).map(String::as_str).unwrap_or_default();
    let (by, why) = (given("by"), given("why"));
    match follow(router, service, command).await {
        Some(0) => Reply::problem(409, "Nothing is held", "GET /v1/holds lists what is"),
        Some(instances) => {
            tracing::warn!(service = %id, instances, ?command, ?by, ?why, "An operator decided on what is held.");
            Reply::text(200, format!("{instances} instances\n"))
        }
        None => Reply::problem(503, "Not done", "synapse is stopping"),
    }
}

/// Sends the command and returns how many were held; `None` when the pipeline has ended.
async fn follow(router: &RunningRouter, service: &RunningService, command: GuardCommand) -> Option<usize> {
    let (reply, answer) = oneshot::channel();
    let order = GuardRequest {
        service: service.id.clone(),
        command,
        reply,
    };
    let told = async {
        router.pipeline.commands.send(order).await.ok()?;
        answer.await.ok()
    };
    timeout(COMMAND_TIMEOUT, told).await.ok().flatten()
}

fn command(act: &str, span: Option<&str>) -> Result<GuardCommand, Reply> {
    match (act, span) {
        ("release", None) => Ok(GuardCommand::Release),
        ("release", Some(_)) => Err(Reply::problem(
            400,
            "Bad request",
            "`release` is done at once: leave `for` out",
        )),
        ("keep", None) => Ok(GuardCommand::Keep(KEEP)),
        ("keep", Some(span)) => match parse_duration(span) {
            Ok(span) if span <= MAX_KEEP => Ok(GuardCommand::Keep(span)),
            Ok(_) => Err(Reply::problem(400, "Bad request", "`for` is at most 24h")),
            Err(what) => Err(Reply::problem(400, "Bad request", format!("`for`: {what}"))),
        },
        _ => Err(Reply::problem(404, "Not found", "the acts are `release` and `keep`")),
    }
}
