//! The admin API: the routes of Go-Synapse, the state of everything, and the operator's reload.

mod holds;
#[cfg(test)]
mod tests;
mod view;

use std::sync::Arc;

use common::http::{CommonRoutes, Handler, Method, Reply, Request, common_routes};
use common::zk::session::Ensemble;
use tokio::time::Instant;

use crate::router::haproxy::Haproxy;
use crate::router::{Kind, Router};
pub(crate) use view::age_seconds;
use view::{EnsembleView, RouterView, StatusView};

/// `GET /`: where to look.
const INDEX: &str = "\
GET  /ready              whether every router was applied once
GET  /live               whether the daemon answers
GET  /metrics            for Prometheus
GET  /version
GET  /log-level          PUT changes it
GET  /status             sources, services, instances and routers
GET  /v1/services/:id    one service
GET  /v1/holds           instances that are used although the registry lists them no more
POST /v1/holds/:id/release  believes the registry: lets the held instances of a service go
POST /v1/holds/:id/keep  holds them on (?for=1h, at most 24h)
GET  /v1/haproxy/config  the rendered configuration
POST /v1/haproxy/reload  reloads HAProxy now
";

/// What the routes read.
#[derive(Debug)]
pub struct Api {
    /// What both daemons answer.
    pub common: CommonRoutes,
    /// The sessions.
    pub ensembles: Vec<Ensemble>,
    /// The routers, in the file's order.
    pub routers: Vec<Router>,
    /// When the daemon started.
    pub started: Instant,
}

impl Api {
    /// The function that answers requests.
    pub fn handler(self) -> Handler {
        let api = Arc::new(self);
        Arc::new(move |request| {
            let api = Arc::clone(&api);
            Box::pin(async move { api.answer(&request).await })
        })
    }

    async fn answer(&self, request: &Request) -> Reply {
        if let Some(reply) = common_routes(request, &self.common) {
            return reply;
        }
        match (request.method, request.segments().as_slice()) {
            (Method::Get, []) => Reply::text(200, INDEX),
            (Method::Get, ["status"]) => Reply::json(200, &self.status()),
            (Method::Get, ["v1", "services", id]) => self.service(id),
            (Method::Get, ["v1", "holds"]) => holds::list(&self.routers),
            (Method::Post, ["v1", "holds", id, act]) => holds::tell(&self.routers, id, act, request).await,
            (Method::Get, ["v1", "haproxy", "config"]) => self.config(request),
            (Method::Post, ["v1", "haproxy", "reload"]) => self.reload(request).await,
            (_, [] | ["status"] | ["v1", "services", _] | ["v1", "holds"] | ["v1", "haproxy", "config"]) => {
                Reply::method_not_allowed("GET, HEAD")
            }
            (_, ["v1", "haproxy", "reload"] | ["v1", "holds", _, _]) => Reply::method_not_allowed("POST"),
            _ => Reply::problem(404, "Not found", "GET / lists the routes"),
        }
    }

    fn status(&self) -> StatusView {
        let now = Instant::now();
        let waiting_for = self.common.readiness.waiting_for();
        StatusView {
            version: self.common.build.version,
            ready: waiting_for.is_empty(),
            waiting_for,
            ensembles: self
                .ensembles
                .iter()
                .map(|ensemble| EnsembleView::of(ensemble, now))
                .collect(),
            routers: self
                .routers
                .iter()
                .map(|router| RouterView::of(router, self.started, now))
                .collect(),
        }
    }

    fn service(&self, id: &str) -> Reply {
        let now = Instant::now();
        let all = self
            .routers
            .iter()
            .flat_map(|router| view::services(router, self.started, now));
        let mut known = Vec::new();
        for service in all {
            if service.id() == id {
                return Reply::json(200, &service);
            }
            known.push(service.id().to_owned());
        }
        Reply::problem(404, "No such service", format!("the services are {}", known.join(", ")))
    }

    /// The HAProxy routers with their numbers, from 1 in the file's order.
    fn haproxies(&self) -> Vec<(usize, &Haproxy)> {
        let numbered = (1..).zip(&self.routers);
        numbered
            .filter_map(|(number, router)| match &router.kind {
                Kind::Haproxy(haproxy) => Some((number, haproxy)),
                Kind::Plain(..) => None,
            })
            .collect()
    }

    fn config(&self, request: &Request) -> Reply {
        let haproxies = self.haproxies();
        let wanted = request.query.get("router");
        let found = match (wanted, haproxies.as_slice()) {
            (None, [(_, only)]) => Some(*only),
            (None, _) => None,
            (Some(wanted), all) => all
                .iter()
                .find(|(number, _)| number.to_string() == *wanted)
                .map(|(_, haproxy)| *haproxy),
        };
        match found {
            Some(haproxy) => Reply::text(200, haproxy.rendered()),
            None if haproxies.is_empty() => no_haproxy(),
            None => {
                let numbers: Vec<String> = haproxies.iter().map(|(number, _)| number.to_string()).collect();
                let detail = format!("name one of the HAProxy routers with ?router=N: {}", numbers.join(", "));
                Reply::problem(400, "Which router?", detail)
            }
        }
    }

    async fn reload(&self, request: &Request) -> Reply {
        if let Some(refusal) = request.refuse_change() {
            return refusal;
        }
        let haproxies = self.haproxies();
        if haproxies.is_empty() {
            return no_haproxy();
        }
        let mut failures = Vec::new();
        for (number, haproxy) in haproxies {
            tracing::info!(router = number, "Reload asked for by the operator.");
            if let Err(reason) = haproxy.reload().await {
                failures.push(format!("router {number}: {reason}"));
            }
        }
        if failures.is_empty() {
            Reply::text(200, "reloaded\n")
        } else {
            Reply::problem(502, "Reload failed", failures.join("\n"))
        }
    }
}

fn no_haproxy() -> Reply {
    Reply::problem(404, "No HAProxy", "no router of type haproxy is configured")
}
