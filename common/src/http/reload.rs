//! `/v1/reload`: POST reads the configuration again, GET shows the result of the last reload.

use serde::Serialize;
use serde_json::json;

use super::{Method, Reply, Request};
use crate::reload::{Reload, ReloadResult, Reloads};

/// Handles the route; `daemon` is the daemon's name.
pub async fn reload_route<C: Serialize>(request: &Request, reloads: &Reloads<C>, daemon: &str) -> Reply {
    match request.method {
        // A problem shows lines of the file.
        Method::Get if request.refusal.is_some() => {
            Reply::problem(403, "Forbidden", "Reloads are shown to programs of this machine only.")
        }
        Method::Get => match reloads.last() {
            Some(reload) => Reply::json(200, &*reload),
            None => Reply::problem(
                404,
                "No reload yet",
                format!("The configuration is the one that {daemon} started with."),
            ),
        },
        Method::Post => match reloads.reload().await {
            Some(reload) => reply(&*reload, daemon),
            None => Reply::problem(503, "Stopping", format!("{daemon} is stopping and does not reload.")),
        },
        _ => Reply::method_not_allowed("GET, HEAD, POST"),
    }
}

fn reply<C: Serialize>(reload: &Reload<C>, daemon: &str) -> Reply {
    if reload.result != ReloadResult::Refused {
        return Reply::json(200, reload);
    }
    // RFC 9457 with a member of our own.
    let refused = json!({
        "type": "about:blank",
        "title": "The configuration has problems",
        "status": 422,
        "detail": format!("Nothing was changed: {daemon} continues with its last configuration."),
        "problems": reload.problems,
    });
    Reply {
        content_type: "application/problem+json",
        ..Reply::json(422, &refused)
    }
}
