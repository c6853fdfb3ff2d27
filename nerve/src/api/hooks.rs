//! `hooks`: called by an orchestrator before it stops the service. It has its own listener because its clients are on other
//! machines: it only withdraws this nerve's services, as a SIGTERM would, and waits for that.
//!
//! Repeated calls join the first, because an orchestrator may call more than once, and from more than one container.

use std::sync::Arc;

use common::http::{Handler, Method, Reply, Request};

use super::commands::{CommandRequest, Outcome};
use crate::running::RunningState;
use crate::service::ServiceHandle;
use crate::state_store::StateStore;

const ROUTES: &str = "\
GET  /hooks/pre-stop        withdraws the services and answers at once
GET  /hooks/pre-stop/wait   withdraws the services and answers when it is safe to stop them
";

/// Returns the handler of the hooks' listener.
pub fn hooks(running: RunningState, state_store: StateStore) -> Handler {
    let hooks = Arc::new(Hooks { running, state_store });
    Arc::new(move |request| {
        let hooks = Arc::clone(&hooks);
        Box::pin(async move { hooks.answer(&request).await })
    })
}

#[derive(Debug)]
struct Hooks {
    running: RunningState,
    state_store: StateStore,
}

impl Hooks {
    async fn answer(&self, request: &Request) -> Reply {
        let wait = match request.segments().as_slice() {
            ["hooks", "pre-stop"] => false,
            ["hooks", "pre-stop", "wait"] => true,
            _ => return Reply::problem(404, "Unknown path", format!("The routes are:\n{ROUTES}")),
        };
        if request.method != Method::Get {
            return Reply::method_not_allowed("GET, HEAD");
        }
        let running = self.running.load();
        // The other services stay registered at a stop.
        let leaving = |service: &&ServiceHandle| service.config.down_on_shutdown;
        let services: Vec<_> = running.services.iter().filter(leaving).collect();
        let leave = CommandRequest::leave(common::clock::unix_millis());
        let in_flight = leave.send(&services).await;
        if !wait {
            let names = services
                .iter()
                .map(|service| format!("{} is leaving\n", service.config.name));
            return Reply::text(200, names.collect::<String>());
        }
        let outcomes = in_flight.settled(&self.state_store).await;
        // A service that accepts no commands has already stopped. One that was enabled again has not.
        let conflict = outcomes.iter().any(|outcome| outcome.status == 409);
        let text = outcomes.into_iter().map(|Outcome { text, .. }| text + "\n");
        Reply::text(if conflict { 409 } else { 200 }, text.collect::<String>())
    }
}
