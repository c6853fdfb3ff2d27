//! The nodes of a source, as candidates.
//!
//! Every source holds nodes: names and bytes that another program wrote. The state is published at once with what is known;
//! the address of a name comes later, and never delays the others.

use std::net::{IpAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use common::report::Decoder;
use common::zk::reflector::{Freshness, Snapshot};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::interpret::Decoded;
use super::names::NameCache;
use super::{Reason, WatcherState};

/// How long one look-up may take.
const LOOKUP: Duration = Duration::from_secs(5);

/// Signals each change of any watcher to the tasks that combine several.
pub type ChangeNotify = watch::Sender<()>;

/// Follows the snapshots of one source.
#[derive(Debug)]
#[must_use = "nothing is published until the task runs"]
pub struct FollowTask {
    source: String,
    snapshots: watch::Receiver<Snapshot>,
    decoder: Decoder,
    state: watch::Sender<Arc<WatcherState>>,
    changes: ChangeNotify,
    lookups: Arc<Semaphore>,
}

/// A watcher of the snapshots of `source`, whose nodes `decoder` reads; `lookups` bounds the look-ups of names that run
/// at once in the daemon.
pub fn follow(
    source: String,
    snapshots: watch::Receiver<Snapshot>,
    decoder: Decoder,
    changes: ChangeNotify,
    lookups: Arc<Semaphore>,
) -> (watch::Receiver<Arc<WatcherState>>, FollowTask) {
    let (state, receiver) = watch::channel(Arc::default());
    let task = FollowTask {
        source,
        snapshots,
        decoder,
        state,
        changes,
        lookups,
    };
    (receiver, task)
}

impl FollowTask {
    /// Follows until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut decoded = Decoded::default();
        let mut names = NameCache::default();
        let mut lookups: JoinSet<(String, Result<Vec<IpAddr>, String>)> = JoinSet::new();
        loop {
            let snapshot = self.snapshots.borrow_and_update().clone();
            let bad = decoded.follow(&snapshot.children, &self.decoder);
            for name in names.follow(&decoded.names(), Instant::now()) {
                lookups.spawn(lookup(name, Arc::clone(&self.lookups)));
            }
            self.publish(&snapshot, bad, &decoded, &names);
            let due = names.due();
            tokio::select! {
                () = stop.cancelled() => return,
                changed = self.snapshots.changed() => if changed.is_err() {
                    // The source's own task has ended: the daemon stops.
                    return stop.cancelled().await;
                },
                Some(Ok((name, answer))) = lookups.join_next() => names.on_answer(&name, answer, Instant::now()),
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
        }
    }

    fn publish(&self, snapshot: &Snapshot, bad: u64, decoded: &Decoded, names: &NameCache) {
        let interpreted = decoded.interpret(|name| names.address(name));
        let before = Arc::clone(&self.state.borrow());
        let mut failures = before.failures;
        failures.content += bad;
        let lost = before.freshness == Freshness::Live && matches!(snapshot.freshness, Freshness::Stale { .. });
        let failed = !snapshot.error.is_empty() && snapshot.error != before.error;
        failures.watch += u64::from(lost || failed);
        let state = WatcherState {
            freshness: snapshot.freshness,
            error: snapshot.error.clone(),
            candidates: interpreted.candidates,
            skipped: interpreted.skipped,
            failures,
        };
        if state == *before {
            return;
        }
        self.log(&before, &state);
        self.state.send_replace(Arc::new(state));
        self.changes.send_replace(());
    }

    fn log(&self, before: &WatcherState, now: &WatcherState) {
        let source = &self.source;
        for skipped in &now.skipped {
            let is_new = before.skipped.binary_search(skipped).is_err();
            if is_new && matches!(skipped.reason, Reason::Bad(_)) {
                tracing::warn!(%source, node = %skipped.node, reason = %skipped.reason, "Skipped an instance.");
            }
        }
        if !now.error.is_empty() && now.error != before.error {
            tracing::warn!(%source, error = %now.error, "Can't read a source; keeping its last content and trying on.");
        }
        match (before.freshness, now.freshness) {
            (Freshness::Never | Freshness::Stale { .. }, Freshness::Live) => {
                tracing::info!(%source, instances = now.candidates.len(), "Service read.");
            }
            (Freshness::Live, Freshness::Stale { .. }) => {
                tracing::warn!(%source, "Source lost; its last content stays in force.");
            }
            _ => {}
        }
    }
}

/// Queries the system's resolver. Its thread can't be cancelled, so it keeps its place among all look-ups of the daemon
/// until it ends, even when its result is not needed any more.
async fn lookup(name: String, places: Arc<Semaphore>) -> (String, Result<Vec<IpAddr>, String>) {
    let asked = name.clone();
    let ask = async {
        let place = places.acquire_owned().await.map_err(|error| error.to_string())?;
        let blocking = spawn_blocking(move || {
            let answer = (asked.as_str(), 0).to_socket_addrs();
            drop(place);
            answer.map_err(|error| error.to_string())
        });
        let addresses = blocking.await.map_err(|error| error.to_string())??;
        Ok(addresses.map(|address| address.ip().to_canonical()).collect())
    };
    let answer = timeout(LOOKUP, ask)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {} s", LOOKUP.as_secs())));
    (name, answer)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use common::zk::reflector::Child;

    use super::*;

    fn snapshot(freshness: Freshness, nodes: &[(&str, &str)]) -> Snapshot {
        let child = |data: &str| Child {
            data: Bytes::copy_from_slice(data.as_bytes()),
            czxid: 1,
            mzxid: 1,
            ctime: 1,
        };
        let children = nodes
            .iter()
            .map(|(name, data)| (Arc::from(*name), Arc::new(child(data))));
        Snapshot {
            children: Arc::new(children.collect()),
            freshness,
            generation: 1,
            error: String::new(),
        }
    }

    async fn until(
        states: &mut watch::Receiver<Arc<WatcherState>>,
        is_so: impl Fn(&WatcherState) -> bool,
    ) -> Arc<WatcherState> {
        let state = timeout(Duration::from_secs(20), states.wait_for(|state| is_so(state))).await;
        Arc::clone(&state.expect("in time").expect("the task runs"))
    }

    #[tokio::test]
    async fn names_are_resolved_beside_and_a_lost_source_changes_nothing_else() {
        let nodes = [
            ("a", r#"{"host":"10.0.0.1","port":1,"name":"a"}"#),
            ("b", r#"{"host":"localhost","port":2,"name":"b"}"#),
            ("c", "rubbish"),
        ];
        let snapshots = watch::Sender::new(snapshot(Freshness::Live, &nodes));
        let changes = watch::Sender::new(());
        let mut rung = changes.subscribe();
        let (mut states, task) = follow(
            "/s".to_owned(),
            snapshots.subscribe(),
            Decoder::default(),
            changes,
            Arc::new(Semaphore::new(1)),
        );
        let mut first = states.clone();
        let stop = CancellationToken::new();
        let act = async {
            let known = until(&mut first, |state| state.freshness == Freshness::Live).await;
            assert_eq!(known.candidates.len(), 1, "the literal address does not wait");
            assert_eq!(known.skipped.len(), 2);
            rung.changed().await.expect("the task runs");

            let all = until(&mut states, |state| state.candidates.len() == 2).await;
            assert!(all.candidates[1].server.address.ip().is_loopback());
            assert_eq!(all.failures.content, 1);

            let since = Instant::now();
            snapshots.send_replace(snapshot(Freshness::Stale { since }, &nodes));
            let stale = until(&mut states, |state| state.freshness != Freshness::Live).await;
            assert_eq!(stale.candidates, all.candidates);
            assert_eq!(stale.failures.watch, 1);
            stop.cancel();
        };
        tokio::join!(task.run(stop.clone()), act);
    }
}
