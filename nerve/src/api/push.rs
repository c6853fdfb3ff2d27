//! Heartbeats: `PUT /v1/services/NAME/checks/CHECK/push?status=pass|fail&ttl=30s`, with a note as its body.

use common::config;
use common::http::{Reply, Request};

use crate::check::push::Heartbeat;
use crate::health::verdict::cut;
use crate::service::ServiceHandle;

/// Accepts a heartbeat. It counts at the check's next probe.
pub(super) fn push(request: &Request, service: &ServiceHandle, check: &str) -> Reply {
    let Some(mailbox) = service.mailboxes.iter().find(|mailbox| mailbox.name == check) else {
        let name = &service.config.name;
        let detail = format!("service `{name}` has no check of type `push` named `{check}`");
        return Reply::problem(404, "Unknown check", detail);
    };
    let passing = match request.query.get("status").map(String::as_str) {
        None | Some("pass") => true,
        Some("fail") => false,
        Some(other) => {
            let detail = format!("`status` is `pass` or `fail`, not `{other}`");
            return Reply::problem(400, "Not a status", detail);
        }
    };
    let ttl = match request.query.get("ttl").map(|ttl| config::duration(ttl)) {
        None => mailbox.ttl,
        Some(Ok(ttl)) => ttl,
        Some(Err(what)) => return Reply::problem(400, "Not a time to live", format!("`ttl` {what}")),
    };
    mailbox.push(Heartbeat {
        passing,
        note: cut(String::from_utf8_lossy(&request.body).trim()),
        ttl,
    });
    Reply::text(200, format!("holds for {ttl:?}\n"))
}
