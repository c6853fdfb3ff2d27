//! The admin API: the routes of Go-Synapse, the state of everything, and the operator's reloads.

mod events;
mod holds;
#[cfg(test)]
mod tests;
mod view;

use std::sync::Arc;

use common::http::{CommonRoutes, Handler, Method, Reply, Request, common_routes, reload_route};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::haproxy::Haproxy;
use crate::reload::Reloads;
use crate::running::RouterHandle;
use crate::running::{Running, RunningState};
pub(crate) use view::age_seconds;
use view::{EnsembleView, RouterView, ServiceView, StatusView};

/// `GET /`: where to look.
const INDEX: &str = "\
GET  /ready              whether every router was applied once
GET  /live               whether the daemon answers
GET  /started            whether every HAProxy was applied once; a stop does not undo it
GET  /metrics            for Prometheus
GET  /version
GET  /log-level          PUT changes it
GET  /status             sources, services, instances and routers
GET  /v1/services        every service: its instances, each with its verdict and its place in HAProxy
GET  /v1/services/:id    one service
GET  /v1/holds           instances that are used although the registry lists them no more
POST /v1/holds/:id/release  releases the held instances of a service: the registry is right
POST /v1/holds/:id/keep  holds them on (?for=1h, at most 24h)
GET  /v1/events          every change as a server-sent event
GET  /v1/haproxy/config  the rendered configuration
GET  /v1/haproxy/diff    what HAProxy is still to be brought to, a line each
POST /v1/haproxy/reload  reloads HAProxy now
GET  /v1/config          the configuration in effect, without secrets
POST /v1/reload          reads the configuration again; GET shows what became of the last time
";

/// What the routes read.
#[derive(Debug)]
pub struct Api {
    /// What both daemons answer.
    pub common: CommonRoutes,
    /// The routers and sessions, and the configuration in effect.
    pub running: RunningState,
    /// How the configuration is read again.
    pub reloads: Reloads,
    /// When the daemon started.
    pub started: Instant,
    /// The places for listeners to events.
    pub listeners: Arc<Semaphore>,
}

/// The places for listeners to events.
pub fn listeners() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(events::MAX_CLIENTS))
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
        match request.segments().as_slice() {
            [] => read_only(request, || Reply::text(200, INDEX)),
            ["status"] => read_only(request, || Reply::json(200, &self.status())),
            ["v1", "services"] => read_only(request, || Reply::json(200, &self.services())),
            ["v1", "services", id] => read_only(request, || self.service(id)),
            ["v1", "holds"] => read_only(request, || holds::list(&self.running.load().routers)),
            ["v1", "holds", id, act] if request.method == Method::Post => {
                holds::change(&self.running.load().routers, id, act, request).await
            }
            ["v1", "events"] => read_only(request, || {
                events::listen(self.running.clone(), self.started, &self.listeners)
            }),
            ["v1", "haproxy", "config"] => read_only(request, || self.of_haproxy(request, Haproxy::rendered)),
            ["v1", "haproxy", "diff"] => read_only(request, || {
                self.of_haproxy(request, |haproxy| {
                    let acts = &haproxy.status().acts;
                    acts.iter().flat_map(|line| [line, "\n"]).collect()
                })
            }),
            ["v1", "haproxy", "reload"] if request.method == Method::Post => self.reload(request).await,
            ["v1", "holds", _, _] | ["v1", "haproxy", "reload"] => Reply::method_not_allowed("POST"),
            // Arguments of commands may hold secrets that no key marks.
            ["v1", "config"] if request.refusal.is_some() => Reply::problem(
                403,
                "Forbidden",
                "The configuration is shown to programs of this machine only.",
            ),
            ["v1", "config"] => read_only(request, || Reply::json_text(200, &*self.running.load().effective)),
            ["v1", "reload"] => reload_route(request, &self.reloads, "synapse").await,
            _ => Reply::problem(404, "Not found", "GET / lists the routes"),
        }
    }

    fn status(&self) -> StatusView {
        let now = Instant::now();
        let waiting_for = self.common.readiness.waiting_for();
        let running = self.running.load();
        StatusView {
            version: self.common.build.version,
            ready: waiting_for.is_empty(),
            waiting_for,
            ensembles: running
                .ensembles
                .iter()
                .map(|ensemble| EnsembleView::of(ensemble, now))
                .collect(),
            routers: running
                .routers
                .iter()
                .map(|router| RouterView::of(router, self.started, now))
                .collect(),
        }
    }

    fn services(&self) -> Vec<ServiceView> {
        view::all(&self.running.load(), self.started, Instant::now())
    }

    fn service(&self, id: &str) -> Reply {
        let all = self.services();
        if let Some(service) = all.iter().find(|service| service.id() == id) {
            return Reply::json(200, service);
        }
        let known: Vec<&str> = all.iter().map(ServiceView::id).collect();
        Reply::problem(404, "No such service", format!("the services are {}", known.join(", ")))
    }

    /// Text of the requested HAProxy router, or of the only one.
    fn of_haproxy(&self, request: &Request, text: impl FnOnce(&Haproxy) -> String) -> Reply {
        let running = self.running.load();
        let haproxies = haproxies(&running);
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
            Some(haproxy) => Reply::text(200, text(haproxy)),
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
        let running = self.running.load();
        let haproxies = haproxies(&running);
        if haproxies.is_empty() {
            return no_haproxy();
        }
        let mut failures = Vec::new();
        for (number, haproxy) in haproxies {
            tracing::info!(router = number, "Reload requested by the operator.");
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

/// The HAProxy routers with their numbers, from 1 in the file's order.
fn haproxies(running: &Running) -> Vec<(usize, &Haproxy)> {
    let numbered = (1..).zip(&running.routers);
    numbered
        .filter_map(|(number, router)| match &router.handle {
            RouterHandle::Haproxy(haproxy) => Some((number, haproxy)),
            RouterHandle::Plain(..) => None,
        })
        .collect()
}

fn read_only(request: &Request, reply: impl FnOnce() -> Reply) -> Reply {
    if request.method == Method::Get {
        reply()
    } else {
        Reply::method_not_allowed("GET, HEAD")
    }
}

fn no_haproxy() -> Reply {
    Reply::problem(404, "No HAProxy", "no router of type haproxy is configured")
}
