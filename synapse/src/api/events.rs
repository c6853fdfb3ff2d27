//! `GET /v1/events`: the changes of services and of HAProxy as server-sent events.
//!
//! Level-triggered: a client first receives everything as it is, then each difference from what it was sent last. So it
//! can't fall behind: what changed twice in the meantime is sent once. Comments in between keep the connection alive.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::http::{Reply, Stream};
use serde::Serialize;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep};

use super::view;
use crate::haproxy::HaproxyStatus;
use crate::pipeline::catalog::Outcome;
use crate::running::RouterHandle;
use crate::running::{Running, RunningState};

/// How many listeners there may be: a part of the connections that the server takes.
pub(super) const MAX_CLIENTS: usize = 16;
/// Interval of polling the published states; their content is compared only when one was published again.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// The longest silence.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// What a listener was sent last, by kind and name.
type Sent = BTreeMap<(&'static str, String), String>;

/// The published states of the routers; kept, so that an equal address means the same state.
type Published = Vec<(Arc<Outcome>, Option<Arc<HaproxyStatus>>)>;

/// The stream for one more listener.
pub(super) fn listen(running: RunningState, started: Instant, places: &Arc<Semaphore>) -> Reply {
    let Ok(place) = Arc::clone(places).try_acquire_owned() else {
        let detail = format!("There are {MAX_CLIENTS} listeners already; each needs a connection of its own.");
        return Reply::problem(503, "Too many listeners", detail);
    };
    let feed = async move |listener| {
        feed(&running, started, &listener).await;
        drop(place);
    };
    Reply::stream("text/event-stream", Stream::new(feed))
}

/// Feeds a listener until it leaves.
async fn feed(running: &RunningState, started: Instant, listener: &mpsc::Sender<Bytes>) -> Option<()> {
    let mut sent = Sent::new();
    let mut seen = None;
    let mut heard = Instant::now();
    loop {
        let running = running.load();
        let published = published(&running);
        if seen.as_ref().is_none_or(|seen| !same(seen, &published)) {
            for event in news(&mut sent, all(&running, started)) {
                listener.send(event.into()).await.ok()?;
                heard = Instant::now();
            }
            seen = Some(published);
        }
        if heard.elapsed() >= HEARTBEAT {
            listener.send(":\n\n".into()).await.ok()?;
            heard = Instant::now();
        }
        sleep(POLL_INTERVAL).await;
    }
}

fn published(running: &Running) -> Published {
    let states = running.routers.iter().map(|router| {
        let status = match &router.handle {
            RouterHandle::Haproxy(haproxy) => Some(haproxy.status()),
            RouterHandle::Plain(..) => None,
        };
        (Arc::clone(&router.pipeline.outcome.borrow()), status)
    });
    states.collect()
}

fn same(one: &Published, other: &Published) -> bool {
    let status = |one: &Option<Arc<HaproxyStatus>>, other: &Option<Arc<HaproxyStatus>>| match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (one, other) => one.is_none() && other.is_none(),
    };
    one.len() == other.len()
        && one
            .iter()
            .zip(other)
            .all(|((outcome, one), (same, other))| Arc::ptr_eq(outcome, same) && status(one, other))
}

/// Everything as it is: kind, name, JSON.
fn all(running: &Running, started: Instant) -> Sent {
    let mut all = Sent::new();
    for service in view::all(running, started, Instant::now()) {
        all.insert(("service", service.id().to_owned()), json(&service));
    }
    for (number, router) in (1..).zip(&running.routers) {
        if let RouterHandle::Haproxy(haproxy) = &router.handle {
            let status = haproxy.status();
            let view = view::HaproxyEvent::of(number, &status);
            all.insert(("haproxy", number.to_string()), json(&view));
        }
    }
    all
}

/// There is nothing in a view that JSON can't hold.
fn json(view: &impl Serialize) -> String {
    serde_json::to_string(view).unwrap_or_default()
}

/// The events for what differs from what was `sent`, which becomes `now`.
fn news(sent: &mut Sent, now: Sent) -> Vec<String> {
    let mut events = Vec::new();
    for (kind, name) in sent.keys().filter(|key| !now.contains_key(*key)) {
        events.push(format!("event: removed\ndata: {}\n\n", json(&(kind, name))));
    }
    for ((kind, name), text) in &now {
        if sent.get(&(*kind, name.clone())) != Some(text) {
            events.push(format!("event: {kind}\ndata: {text}\n\n"));
        }
    }
    *sent = now;
    events
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(all: &[(&'static str, &str, &str)]) -> Sent {
        all.iter()
            .map(|(kind, name, text)| ((*kind, (*name).to_owned()), (*text).to_owned()))
            .collect()
    }

    #[test]
    fn only_what_differs_is_sent() {
        let mut last = Sent::new();
        let first = sent(&[("service", "a_1", "1"), ("haproxy", "1", "x")]);
        assert_eq!(news(&mut last, first.clone()).len(), 2);
        assert!(news(&mut last, first).is_empty());
        let then = sent(&[("service", "b_1", "1"), ("haproxy", "1", "y")]);
        assert_eq!(
            news(&mut last, then),
            [
                "event: removed\ndata: [\"service\",\"a_1\"]\n\n",
                "event: haproxy\ndata: y\n\n",
                "event: service\ndata: 1\n\n",
            ]
        );
    }
}
