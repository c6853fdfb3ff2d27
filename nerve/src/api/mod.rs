//! The HTTP API: Go-Nerve's routes and status codes, and nerve's own below `/v1`.
//!
//! Reads never wait. A disable waits for its sequence and delays only its own reply. Changes need PUT or POST (GET with
//! `legacyGetMutations`) and, as everywhere, a client on this machine.

mod commands;
mod events;
mod hooks;
mod push;
mod v1;
pub mod view;

use std::sync::Arc;

use common::http::{CommonRoutes, Handler, Method, Reply, Request, common_routes};
use tokio::sync::{Semaphore, broadcast};

use crate::reload::Reloads;
use crate::running::RunningState;
use crate::service::{Change, ServiceHandle};
use crate::state_store::StateStore;
use commands::{Body, CommandRequest};
pub use hooks::hooks;
use view::{ServiceView, service_view};

const ROUTES: &str = "\
GET  /status                        every service; 503 when one is unavailable
GET  /services/NAME/status          one service; 503 when it is unavailable
PUT  /services/NAME/disable         blocks until it is safe to stop it; ?shutdown=true runs the shutdown command
PUT  /services/NAME/enable          ?force=true independent of its checks
PUT  /services/NAME/weight/WEIGHT   1 to 255
PUT  /disable /enable /weight/WEIGHT   the same for every service that is not excluded
     ?reason=TEXT&author=TEXT&expires=30m with each of these
GET  /v1/services                   every service
GET  /v1/services/NAME              one service
GET  /v1/services/NAME/checks       its checks with their last results
PUT  /v1/services/NAME/disable      {\"reason\", \"author\", \"expires\", \"shutdown\"}
PUT  /v1/services/NAME/enable       {\"reason\", \"author\", \"expires\", \"force\"}
PUT  /v1/services/NAME/weight       {\"reason\", \"author\", \"expires\", \"weight\"}; DELETE: the configured one again
PUT  /v1/services/NAME/checks/CHECK/push   a heartbeat of the service itself; ?status=pass|fail&ttl=30s
POST /v1/reload                     reloads the configuration; GET returns the last result
GET  /v1/events                     every change as a server-sent event
GET  /v1/config                     the configuration in effect, without secrets
GET  /live /started /ready /metrics /version /log-level
";

/// The state that the API reads and the handles it controls.
#[derive(Debug)]
pub struct App {
    /// The services and the configuration in effect.
    pub running: RunningState,
    /// The handle of reloads.
    pub reloads: Reloads,
    /// The state of the common routes.
    pub common: CommonRoutes,
    /// Whether GET may change state on the routes where it may in Go-Nerve.
    pub legacy_get_mutations: bool,
    /// The store of the overrides.
    pub state_store: StateStore,
    /// The services' changes.
    pub changes: broadcast::Sender<Arc<Change>>,
    /// The permits for clients of events.
    pub listeners: Arc<Semaphore>,
}

/// Returns the permits for clients of events.
pub fn listeners() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(events::MAX_CLIENTS))
}

/// Returns the API's handler.
pub fn handler(app: App) -> Handler {
    let app = Arc::new(app);
    Arc::new(move |request| {
        let app = Arc::clone(&app);
        Box::pin(async move { app.answer(request).await })
    })
}

impl App {
    async fn answer(&self, request: Request) -> Reply {
        if let Some(reply) = common_routes(&request, &self.common) {
            return reply;
        }
        match request.segments().as_slice() {
            [] => read_only(&request, || Reply::text(200, ROUTES)),
            ["v1", path @ ..] => self.v1(&request, path).await,
            ["status"] => read_only(&request, || self.statuses()),
            ["services", name, "status"] => read_only(&request, || match self.service(name) {
                Some(service) => {
                    let view = service_view(&service);
                    Reply::json(if view.available { 200 } else { 503 }, &view)
                }
                None => unknown(name),
            }),
            ["services", name, path @ ..] => match (command(path, &request), self.service(name)) {
                (Ok(None), _) => no_route(&request),
                _ if !changes(request.method) => Reply::method_not_allowed("PUT, POST"),
                (_, None) => unknown(name),
                (Err(reply), _) => reply,
                (Ok(Some(command)), Some(service)) => self.carry_out(command, &[&service]).await,
            },
            path => match command(path, &request) {
                Ok(None) => no_route(&request),
                _ if !self.may_change_all(request.method) => Reply::method_not_allowed("PUT, POST"),
                Err(reply) => reply,
                Ok(Some(command)) => {
                    // The server accepts any GET; one that changes state needs the same permission as a PUT.
                    if let Some(refusal) = request.refuse_change() {
                        return refusal;
                    }
                    let running = self.running.load();
                    let services = running.services.iter();
                    let included: Vec<_> = services.filter(|service| !service.config.exclude_from_global).collect();
                    self.carry_out(command, &included).await
                }
            },
        }
    }

    fn service(&self, name: &str) -> Option<ServiceHandle> {
        let services = &self.running.load().services;
        services.iter().find(|service| service.config.name == name).cloned()
    }

    fn statuses(&self) -> Reply {
        let views: Vec<ServiceView> = self.running.load().services.iter().map(service_view).collect();
        let all = views.iter().all(|view| view.available);
        Reply::json(if all { 200 } else { 503 }, &views)
    }

    fn may_change_all(&self, method: Method) -> bool {
        changes(method) || (self.legacy_get_mutations && method == Method::Get)
    }

    /// Carries out a command of Go-Nerve's routes; the reply has a line for each service.
    async fn carry_out(&self, command: CommandRequest, services: &[&ServiceHandle]) -> Reply {
        let outcomes = command.carry_out(services, &self.state_store).await;
        let status = outcomes.iter().map(|outcome| outcome.status).max().unwrap_or(200);
        let text: String = outcomes.into_iter().map(|outcome| outcome.text + "\n").collect();
        Reply::text(status, text)
    }
}

/// Parses a command of Go-Nerve's routes, which have no body; `None` when the path is not one.
fn command(path: &[&str], request: &Request) -> Result<Option<CommandRequest>, Reply> {
    let (name, weight) = match path {
        [name @ ("disable" | "enable")] => (*name, None),
        [name @ "weight", weight] => (*name, Some(*weight)),
        _ => return Ok(None),
    };
    let body = Body::default().and_query(request);
    body.command(name, weight, common::clock::unix_millis())
}

fn changes(method: Method) -> bool {
    matches!(method, Method::Put | Method::Post)
}

fn read_only(request: &Request, reply: impl FnOnce() -> Reply) -> Reply {
    if request.method == Method::Get {
        reply()
    } else {
        Reply::method_not_allowed("GET, HEAD")
    }
}

fn unknown(name: &str) -> Reply {
    Reply::problem(
        404,
        "Unknown service",
        format!("no service is named `{name}`; /status lists them"),
    )
}

fn no_route(request: &Request) -> Reply {
    Reply::problem(
        404,
        "Unknown path",
        format!("/{} is no route; / lists them", request.path.join("/")),
    )
}

#[cfg(test)]
mod tests;
