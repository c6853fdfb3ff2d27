//! `GET /v1/events`: the changes of services as server-sent events.
//!
//! A client first receives every service in its current state, then each change. A client that misses changes receives every
//! service again. Comments in between keep the connection alive; it ends with nerve.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::http::{Reply, Stream};
use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Semaphore, broadcast, mpsc};
use tokio::time::timeout;

use crate::lifecycle::machine::LifecycleStatus;
use crate::running::RunningState;
use crate::service::Change;

/// The maximum number of clients: a part of the connections that the server accepts.
pub(super) const MAX_CLIENTS: usize = 16;
/// The interval of comments while nothing changes.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(10);

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct EventView<'a> {
    name: &'a str,
    status: &'static str,
    lifecycle: &'static str,
    since: u64,
    available: bool,
    reason: &'a str,
    degraded_reason: &'a str,
    max_weight: u8,
    current_weight: u8,
}

/// Returns the stream of one more client.
pub(super) fn listen(
    running: RunningState,
    changes: &broadcast::Sender<Arc<Change>>,
    places: &Arc<Semaphore>,
) -> Reply {
    let Ok(place) = Arc::clone(places).try_acquire_owned() else {
        let detail = format!("There are {MAX_CLIENTS} clients already; each needs a connection of its own.");
        return Reply::problem(503, "Too many clients", detail);
    };
    let changes = changes.subscribe();
    let feed = async move |client| {
        feed(&running, changes, &client).await;
        drop(place);
    };
    Reply::stream("text/event-stream", Stream::new(feed))
}

/// Sends events until the client disconnects.
async fn feed(
    running: &RunningState,
    mut changes: broadcast::Receiver<Arc<Change>>,
    client: &mpsc::Sender<Bytes>,
) -> Option<()> {
    let mut all = true;
    loop {
        if std::mem::take(&mut all) {
            for service in &running.load().services {
                let state = service.state();
                let event = event(&service.config.name, &state.status, state.since);
                client.send(event).await.ok()?;
            }
        }
        let next = match timeout(HEARTBEAT_INTERVAL, changes.recv()).await {
            Ok(Ok(change)) => event(&change.name, &change.status, change.since),
            Ok(Err(RecvError::Lagged(missed))) => {
                all = true;
                format!(": {missed} changes were missed\n\n").into()
            }
            Ok(Err(RecvError::Closed)) => return None,
            Err(_) => ":\n\n".into(),
        };
        client.send(next).await.ok()?;
    }
}

fn event(name: &str, state: &LifecycleStatus, since: u64) -> Bytes {
    let view = EventView {
        name,
        status: state.intent.as_str(),
        lifecycle: state.phase.as_str(),
        since,
        available: state.available == Some(true),
        reason: &state.reason,
        degraded_reason: &state.degraded_reason,
        max_weight: state.full_weight,
        current_weight: state.weight,
    };
    // Serialization can't fail: all keys are strings.
    let json = serde_json::to_string(&view).unwrap_or_default();
    format!("event: service\ndata: {json}\n\n").into()
}
