//! The HTTP API: Go-Nerve's routes and status codes.
//!
//! Reading never waits. A disable waits for its sequence, holding nothing but its own reply. Changes need PUT or POST
//! (GET behind `legacyGetMutations`) and, as everywhere, a peer on this machine.

mod push;
pub mod view;

use std::sync::Arc;

use common::http::{CommonRoutes, Handler, Method, Reply, Request, common_routes};
use tokio::sync::oneshot;

use crate::lifecycle::Settled;
use crate::service::{Disabled, Order, ServiceHandle};
use view::{ServiceView, service_view};

const ROUTES: &str = "\
GET  /status                        every service; 503 when one is unavailable
GET  /services/NAME/status          one service; 503 when it is unavailable
PUT  /services/NAME/disable         blocks until it is safe to stop it; ?shutdown=true runs the shutdown command
PUT  /services/NAME/enable          ?force=true whatever its checks say
PUT  /services/NAME/weight/WEIGHT   1 to 255
PUT  /disable /enable /weight/WEIGHT   the same for every service that is not excluded
PUT  /v1/services/NAME/checks/CHECK/push   a heartbeat of the service itself; ?status=pass|fail&ttl=30s
GET  /live /ready /metrics /version /log-level
";

/// What the API reads and steers.
#[derive(Debug)]
pub struct App {
    /// The services, in the file's order.
    pub services: Arc<[ServiceHandle]>,
    /// What the common routes read.
    pub common: CommonRoutes,
    /// Whether GET may change things on the routes where it may in Go-Nerve.
    pub legacy_get_mutations: bool,
}

/// What a request asks for, once the path is understood.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Act {
    Disable { shutdown: bool },
    Enable { force: bool },
    Weight(String),
}

/// The API's handler.
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
            ["status"] => read_only(&request, || self.statuses()),
            ["services", name, "status"] => read_only(&request, || match self.service(name) {
                Some(service) => {
                    let view = service_view(service);
                    Reply::json(if view.available { 200 } else { 503 }, &view)
                }
                None => unknown(name),
            }),
            ["v1", "services", name, "checks", check, "push"] => match self.service(name) {
                _ if !changes(request.method) => Reply::method_not_allowed("PUT, POST"),
                None => unknown(name),
                Some(service) => push::push(&request, service, check),
            },
            ["services", name, act @ ..] => match (act_of(act, &request), self.service(name)) {
                (None, _) => no_route(&request),
                (Some(_), _) if !changes(request.method) => Reply::method_not_allowed("PUT, POST"),
                (Some(_), None) => unknown(name),
                (Some(act), Some(service)) => carry_out(&act, &[service]).await,
            },
            act => match act_of(act, &request) {
                None => no_route(&request),
                Some(_) if !self.may_change_all(&request) => Reply::method_not_allowed("PUT, POST"),
                Some(act) => {
                    let included = |service: &&ServiceHandle| !service.config.exclude_from_global;
                    let services: Vec<_> = self.services.iter().filter(included).collect();
                    carry_out(&act, &services).await
                }
            },
        }
    }

    fn service(&self, name: &str) -> Option<&ServiceHandle> {
        self.services.iter().find(|service| service.config.name == name)
    }

    fn statuses(&self) -> Reply {
        let views: Vec<ServiceView> = self.services.iter().map(service_view).collect();
        let all = views.iter().all(|view| view.available);
        Reply::json(if all { 200 } else { 503 }, &views)
    }

    /// The server itself refuses PUT and POST from other machines; a GET that changes things must be refused here.
    fn may_change_all(&self, request: &Request) -> bool {
        changes(request.method) || (self.legacy_get_mutations && request.method == Method::Get && request.local)
    }
}

fn act_of(segments: &[&str], request: &Request) -> Option<Act> {
    match segments {
        ["disable"] => Some(Act::Disable {
            shutdown: request.flag("shutdown"),
        }),
        ["enable"] => Some(Act::Enable {
            force: request.flag("force"),
        }),
        ["weight", weight] => Some(Act::Weight((*weight).to_owned())),
        _ => None,
    }
}

fn changes(method: Method) -> bool {
    matches!(method, Method::Put | Method::Post)
}

/// Gives the order to all services first, then waits for each.
async fn carry_out(act: &Act, services: &[&ServiceHandle]) -> Reply {
    match act {
        Act::Disable { shutdown } => disable(services, *shutdown).await,
        Act::Enable { force } => {
            let force = *force;
            simple(services, "enabled", |done| Order::Enable { force, done }).await
        }
        Act::Weight(text) => match text.parse::<u8>() {
            Ok(weight @ 1..) => {
                simple(services, &format!("told weight {weight}"), |done| Order::Weight {
                    weight,
                    done,
                })
                .await
            }
            _ => Reply::problem(
                400,
                "Not a weight",
                format!("`{text}` is not within 1 to 255; to take a service away, disable it"),
            ),
        },
    }
}

async fn disable(services: &[&ServiceHandle], shutdown: bool) -> Reply {
    let mut waiting = Vec::new();
    for service in services {
        let (done, disabled) = oneshot::channel();
        service.order(Order::Disable { shutdown, done }).await;
        waiting.push((&service.config.name, disabled));
    }
    let mut said = String::new();
    let mut status = 200;
    for (name, disabled) in waiting {
        let what = match disabled.await {
            Ok(Disabled::Settled(Settled::Minimum)) => "is disabled: the minimum duration is over",
            Ok(Disabled::Settled(Settled::GracefullyDone)) => "is disabled: it is gracefully done",
            Ok(Disabled::Settled(Settled::Maximum)) => {
                "is disabled: the maximum duration is over, it was not gracefully done"
            }
            Ok(Disabled::Cancelled) => {
                status = 409;
                "was enabled again meanwhile"
            }
            Err(_) => {
                status = 503;
                "can't be disabled any more: nerve is stopping"
            }
        };
        said.extend([name, " ", what, "\n"]);
    }
    Reply::text(status, said)
}

async fn simple(services: &[&ServiceHandle], what: &str, order: impl Fn(oneshot::Sender<()>) -> Order) -> Reply {
    let mut said = String::new();
    for service in services {
        let (done, taken) = oneshot::channel();
        let name = &service.config.name;
        if !service.order(order(done)).await || taken.await.is_err() {
            return Reply::problem(
                503,
                "Stopping",
                format!("service `{name}` takes no orders: nerve is stopping"),
            );
        }
        said.extend([name, " is ", what, "\n"]);
    }
    Reply::text(200, said)
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
