//! `GET /v1/events`: the changes of services as server-sent events.
//!
//! A listener first gets every service as it is, then each change. One that falls too far behind gets every service as it
//! is again. Comments in between keep the connection alive; it ends with nerve.

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

/// How many listeners there may be: a part of the connections that the server takes.
pub(super) const MAX_CLIENTS: usize = 16;
/// The longest silence.
const HEARTBEAT: Duration = Duration::from_secs(10);

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

/// The stream for one more listener.
pub(super) fn listen(
    running: RunningState,
    changes: &broadcast::Sender<Arc<Change>>,
    places: &Arc<Semaphore>,
) -> Reply {
    let Ok(place) = Arc::clone(places).try_acquire_owned() else {
        let detail = format!("There are {MAX_CLIENTS} listeners already; each needs a connection of its own.");
        return Reply::problem(503, "Too many listeners", detail);
    };
    let changes = changes.subscribe();
    let feed = async move |listener| {
        feed(&running, changes, &listener).await;
        drop(place);
    };
    Reply::stream("text/event-stream", Stream::new(feed))
}

/// Feeds a listener until it leaves.
async fn feed(
    running: &RunningState,
    mut changes: broadcast::Receiver<Arc<Change>>,
    listener: &mpsc::Sender<Bytes>,
) -> Option<()> {
    let mut all = true;
    loop {
        if std::mem::take(&mut all) {
            for service in &running.load().services {
                let state = service.state();
                let event = event(&service.config.name, &state.stand, state.since);
                listener.send(event).await.ok()?;
            }
        }
        let next = match timeout(HEARTBEAT, changes.recv()).await {
            Ok(Ok(change)) => event(&change.name, &change.stand, change.since),
            Ok(Err(RecvError::Lagged(missed))) => {
                all = true;
                format!(": {missed} changes were missed\n\n").into()
            }
            Ok(Err(RecvError::Closed)) => return None,
            Err(_) => ":\n\n".into(),
        };
        listener.send(next).await.ok()?;
    }
}

fn event(name: &str, stand: &LifecycleStatus, since: u64) -> Bytes {
    let view = EventView {
        name,
        status: stand.intent.as_str(),
        lifecycle: stand.phase,
        since,
        available: stand.available == Some(true),
        reason: &stand.reason,
        degraded_reason: &stand.degraded_reason,
        max_weight: stand.full_weight,
        current_weight: stand.weight,
    };
    // There is nothing in it that JSON can't hold.
    let json = serde_json::to_string(&view).unwrap_or_default();
    format!("event: service\ndata: {json}\n\n").into()
}
