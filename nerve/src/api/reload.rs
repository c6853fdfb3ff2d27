//! `/v1/reload`: POST reads the configuration again, GET shows what became of the last reading.

use common::http::{Method, Reply, Request};
use serde::Serialize;

use crate::reload::{Reload, ReloadResult, Reloads};

/// RFC 9457 with a member of our own.
#[derive(Debug, Serialize)]
struct Refusal<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'static str,
    problems: &'a [String],
}

pub(super) async fn answer(request: &Request, reloads: &Reloads) -> Reply {
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
                "The configuration is the one that nerve started with.",
            ),
        },
        Method::Post => match reloads.reload().await {
            Some(reload) => reply(&reload),
            None => Reply::problem(503, "Stopping", "nerve is stopping: it reloads nothing any more."),
        },
        _ => Reply::method_not_allowed("GET, HEAD, POST"),
    }
}

fn reply(reload: &Reload) -> Reply {
    if reload.result != ReloadResult::Refused {
        return Reply::json(200, reload);
    }
    let refusal = Refusal {
        r#type: "about:blank",
        title: "The configuration has problems",
        status: 422,
        detail: "Nothing was changed: nerve runs on as it was.",
        problems: &reload.problems,
    };
    Reply {
        content_type: "application/problem+json",
        ..Reply::json(422, &refusal)
    }
}
