//! `hooks`: what an orchestrator calls before it stops the service. A listener of its own, for its callers are on
//! other machines: it offers nothing but to take this nerve's services away, as a SIGTERM would, and to wait for it.
//!
//! Every call joins the same leaving, for an orchestrator may call more than once, and from more than one container.

use std::sync::Arc;

use common::http::{Handler, Method, Reply, Request};

use super::commands::{CommandRequest, Outcome};
use crate::running::RunningState;
use crate::service::ServiceHandle;
use crate::state_store::StateStore;

const ROUTES: &str = "\
GET  /hooks/pre-stop        takes the services away and answers at once
GET  /hooks/pre-stop/wait   takes the services away and answers when it is safe to stop them
";

/// The handler of the hooks' listener.
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
            _ => return Reply::problem(404, "Unknown path", format!("Here is nothing but:\n{ROUTES}")),
        };
        if request.method != Method::Get {
            return Reply::method_not_allowed("GET, HEAD");
        }
        let running = self.running.load();
        // The others do not want to be taken away at a stop.
        let leaving = |service: &&ServiceHandle| service.config.down_on_shutdown;
        let services: Vec<_> = running.services.iter().filter(leaving).collect();
        let given = CommandRequest::leave(common::clock::unix_millis())
            .give(&services)
            .await;
        if !wait {
            let names = services
                .iter()
                .map(|service| format!("{} is leaving\n", service.config.name));
            return Reply::text(200, names.collect::<String>());
        }
        let outcomes = given.settled(&self.state_store).await;
        // A service that takes no commands has left: the stop is ahead of the hook. One that was enabled again has not.
        let conflict = outcomes.iter().any(|outcome| outcome.status == 409);
        let said = outcomes.into_iter().map(|Outcome { said, .. }| said + "\n");
        Reply::text(if conflict { 409 } else { 200 }, said.collect::<String>())
    }
}
