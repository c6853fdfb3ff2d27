//! The children of one path, with their data, as whole snapshots.
//!
//! One persistent recursive watch, then one listing and one multi-read per 500 names; after that only the names in
//! events are read. The watch does not survive a reconnection (the client never renews it), so any session event on it
//! restarts the reflector: watch first, then read. The last content stays published, as stale, until the new read is
//! complete.
//!
//! A child whose name encodes its data is not read. When polling, nothing is watched and the path is read at each interval.
//! Nothing is ever created.
//!
//! ```no_run
//! use common::zk::{reflector::reflector, session::Ensemble};
//! use tokio_util::sync::CancellationToken;
//!
//! # async fn follow(ensemble: &Ensemble) {
//! let (mut snapshots, task) = reflector(ensemble, "/services/web".to_owned());
//! tokio::spawn(task.run(CancellationToken::new()));
//! while snapshots.changed().await.is_ok() {
//!     println!("{} nodes", snapshots.borrow_and_update().children.len());
//! }
//! # }
//! ```

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use zookeeper_client::{AddWatchMode, Error as ClientError, EventType, MultiReadResult};

use super::error::{CallError, classify};
use super::reflect_state::{Dirty, Read, ReflectState, child_name, child_prefix, chunks};
use super::retry::Retry;
use super::session::Ensemble;
use super::session_state::{Session, SessionState, connected};

pub use super::snapshot::{Child, Freshness, Snapshot};

/// Interval of the full reads without an event, which bound the duration of any inconsistency.
const RESYNC_INTERVAL: Duration = Duration::from_mins(5);

/// Returns whether a child's name encodes its data.
type NameEncodesData = Box<dyn Fn(&str) -> bool + Send + Sync>;

/// The reflector's task.
#[must_use = "nothing is read until the task runs"]
pub struct ReflectorTask {
    pub(super) path: String,
    /// `path` and the slash: what a child's path starts with.
    pub(super) prefix: String,
    pub(super) link: watch::Receiver<SessionState>,
    pub(super) state: ReflectState,
    out: watch::Sender<Snapshot>,
    retry: Retry,
    /// Epoch of the last full read: another client may be connected to a server that lags behind.
    synced_epoch: Option<u64>,
    name_encodes_data: NameEncodesData,
    polling: Option<Duration>,
}

impl fmt::Debug for ReflectorTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReflectorTask")
            .field("path", &self.path)
            .field("polling", &self.polling)
            .finish_non_exhaustive()
    }
}

/// Follows the children of `path` (absolute, below the chroot).
pub fn reflector(ensemble: &Ensemble, path: String) -> (watch::Receiver<Snapshot>, ReflectorTask) {
    let path = ensemble.full_path(path);
    let state = ReflectState::new();
    let (out, snapshots) = watch::channel(state.snapshot().clone());
    let task = ReflectorTask {
        prefix: child_prefix(&path),
        path,
        link: ensemble.link(),
        state,
        out,
        retry: Retry::new(),
        synced_epoch: None,
        name_encodes_data: Box::new(|_| false),
        polling: None,
    };
    (snapshots, task)
}

impl ReflectorTask {
    /// Skips the data of children for whose names `name_encodes_data` is true: they are published without data.
    pub fn skip_data_if(mut self, name_encodes_data: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        self.name_encodes_data = Box::new(name_encodes_data);
        self
    }

    /// Watches nothing and reads the full path at each `interval`, ± 10 %.
    pub fn polling(mut self, interval: Duration) -> Self {
        self.polling = Some(interval);
        self
    }

    /// Follows until `stop`, or until there is no receiver any more.
    pub async fn run(mut self, stop: CancellationToken) {
        let out = self.out.clone();
        tokio::select! {
            () = stop.cancelled() => {}
            () = out.closed() => {}
            // The ensemble was closed before `stop`: the last content stays published.
            () = self.follow_all() => stop.cancelled().await,
        }
    }

    /// Follows through one connection after the other until the ensemble is closed.
    async fn follow_all(&mut self) {
        while let Some(session) = connected(&mut self.link).await {
            let ended = match self.polling {
                Some(interval) => self.poll(&session, interval).await,
                None if session.lacks_add_watch() => self.follow_one_shot(&session).await,
                None => self.follow(&session).await,
            };
            let wait = self.mark_stale(&session, ended);
            // Clones keep the session open, so none is held during a wait.
            drop(session);
            if let Some(wait) = wait {
                sleep(wait).await;
            }
        }
    }

    /// Publishes that the content is stale. Returns the delay before the next attempt; `None` when the connection is lost,
    /// because its return ends the wait.
    fn mark_stale(&mut self, session: &Session, ended: Result<(), CallError>) -> Option<Duration> {
        let now = Instant::now();
        let mut news = self.state.stale(now);
        let error = ended.err();
        let refused = error == Some(CallError::Answer(ClientError::Unimplemented));
        let wait = if refused && session.note_lack_of_add_watch() {
            tracing::warn!(path = %self.path, "This ZooKeeper has neither persistent watches nor reads of many nodes at once (they came with 3.6); falling back to one watch and one read per node, good for about 2,000 nodes per session.");
            None
        } else {
            error
                .as_ref()
                .and_then(|error| self.retry.failed(error, session.is_connected(), now, fastrand::f64()))
        };
        if let (Some(error), Some(_)) = (error, wait) {
            let error = format!("can't read {}: {error}", self.path);
            news |= self.state.note_error(&error);
        }
        if news {
            self.publish();
        }
        wait
    }

    /// Follows through one connection. `Ok` when it was lost.
    async fn follow(&mut self, session: &Session) -> Result<(), CallError> {
        let path = self.path.as_str();
        // Watch first, then read: every change from here on is an event.
        let mut events = session
            .call(|client| client.watch(path, AddWatchMode::PersistentRecursive))
            .await?;
        self.read_full(session).await?;
        let mut dirty = Dirty::default();
        let mut resync_at = next_resync();
        loop {
            let due = dirty.due(Instant::now());
            tokio::select! {
                biased;
                () = sleep_until(due.unwrap_or(resync_at)), if due.is_some() => {
                    let names = dirty.take(Instant::now());
                    let mut reads = self.read(session, &names).await?;
                    // An event names a changed child; only a read determines whether it exists.
                    for (name, child) in &mut reads {
                        if child.is_some() && self.name_encodes_data(name) {
                            *child = Some(Child::unread());
                        }
                    }
                    if self.state.merge(reads) {
                        self.publish();
                    }
                }
                event = events.changed() => match event.event_type {
                    EventType::Session => return Ok(()),
                    EventType::NodeCreated
                    | EventType::NodeDeleted
                    | EventType::NodeDataChanged
                    | EventType::NodeChildrenChanged => {
                        if let Some(name) = child_name(&self.prefix, &event.path) {
                            dirty.add(name);
                        }
                    }
                },
                () = sleep_until(resync_at) => {
                    if self.read_full(session).await? {
                        tracing::warn!(path = %self.path, "The periodic read found a change without an event.");
                    }
                    resync_at = next_resync();
                }
            }
        }
    }

    /// Reads again and again through one connection. `Ok` when it was lost.
    async fn poll(&mut self, session: &Session, interval: Duration) -> Result<(), CallError> {
        loop {
            self.read_full(session).await?;
            tokio::select! {
                // The jitter separates hosts that lost the server at the same moment.
                () = sleep(interval.mul_f64(0.9 + 0.2 * fastrand::f64())) => {}
                () = connection_changed(&mut self.link, session.epoch()) => return Ok(()),
            }
        }
    }

    /// Reads the full path and publishes it: one listing, one request per 500 children. True when the content changed.
    async fn read_full(&mut self, session: &Session) -> Result<bool, CallError> {
        let turn = session.full_read().await;
        self.catch_up(session).await?;
        let path = self.path.as_str();
        let names: Vec<Arc<str>> = match session.call(|client| client.list_children(path)).await {
            Ok(names) => names.into_iter().map(Arc::from).collect(),
            Err(CallError::Answer(ClientError::NoNode)) => Vec::new(),
            Err(error) => return Err(error),
        };
        let (encoded, plain): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| self.name_encodes_data(name));
        let mut reads = self.read(session, &plain).await?;
        reads.extend(encoded.into_iter().map(|name| (name, Some(Child::unread()))));
        drop(turn);
        Ok(self.publish_full(reads))
    }

    /// Lets the server catch up with its leader when the last read went through another client, and thus perhaps
    /// another server.
    pub(super) async fn catch_up(&mut self, session: &Session) -> Result<(), CallError> {
        if self.synced_epoch != Some(session.epoch()) {
            let path = self.path.as_str();
            session.call(|client| client.sync(path)).await?;
            self.synced_epoch = Some(session.epoch());
        }
        Ok(())
    }

    /// Replaces the content by a full read. True when it changed.
    pub(super) fn publish_full(&mut self, reads: impl IntoIterator<Item = Read>) -> bool {
        let was_live = self.state.snapshot().freshness == Freshness::Live;
        let changed = self.state.swap(reads);
        self.retry.succeeded(Instant::now());
        if changed || !was_live {
            self.publish();
        }
        changed
    }

    /// Reads these children; each comes back, as `None` when it is gone or can't be read.
    async fn read(&self, session: &Session, names: &[Arc<str>]) -> Result<Vec<Read>, CallError> {
        let mut reads = Vec::with_capacity(names.len());
        if session.lacks_add_watch() {
            for name in names {
                let child = self.read_one(session, name).await?;
                reads.push((Arc::clone(name), child));
            }
            return Ok(reads);
        }
        for chunk in chunks(&self.prefix, names) {
            self.read_chunk(session, chunk, &mut reads).await?;
        }
        Ok(reads)
    }

    /// Reads one child of a server that can't read many at once.
    async fn read_one(&self, session: &Session, name: &str) -> Result<Option<Child>, CallError> {
        let path = format!("{}{name}", self.prefix);
        match session.call(|client| client.get_data(&path)).await {
            Ok((data, stat)) => Ok(Some(Child::new(data, &stat))),
            Err(CallError::Answer(error)) => self.unreadable(name, error),
            Err(lost) => Err(lost),
        }
    }

    async fn read_chunk(
        &self,
        session: &Session,
        chunk: Vec<Arc<str>>,
        reads: &mut Vec<Read>,
    ) -> Result<(), CallError> {
        let results = session
            .call(|client| {
                let mut reader = client.new_multi_reader();
                let added = chunk
                    .iter()
                    .try_for_each(|name| reader.add_get_data(&format!("{}{name}", self.prefix)));
                async move {
                    added?;
                    reader.commit().await
                }
            })
            .await?;
        if results.len() != chunk.len() {
            // An incomplete reply must not replace the content.
            return Err(CallError::Unknown(format!(
                "{} results for {} reads",
                results.len(),
                chunk.len()
            )));
        }
        for (name, result) in chunk.into_iter().zip(results) {
            let child = match result {
                MultiReadResult::Data { data, stat } => Some(Child::new(data, &stat)),
                MultiReadResult::Error { err } => self.unreadable(&name, err)?,
                _ => None,
            };
            reads.push((name, child));
        }
        Ok(())
    }

    /// Skips a child that cannot be read, so that the others are published.
    pub(super) fn unreadable(&self, name: &str, error: ClientError) -> Result<Option<Child>, CallError> {
        match classify(error) {
            CallError::Answer(ClientError::NoNode) => Ok(None),
            CallError::Answer(error) => {
                tracing::warn!(path = %self.path, node = %name, %error, "Node cannot be read; skipped.");
                Ok(None)
            }
            lost => Err(lost),
        }
    }

    pub(super) fn name_encodes_data(&self, name: &str) -> bool {
        (self.name_encodes_data)(name)
    }

    pub(super) fn publish(&self) {
        self.out.send_replace(self.state.snapshot().clone());
    }
}

/// Completes when the connection was lost, even if it is back already.
pub(super) async fn connection_changed(link: &mut watch::Receiver<SessionState>, epoch: u64) {
    loop {
        if link.changed().await.is_err() {
            return;
        }
        let link = link.borrow_and_update();
        if !matches!(&*link, SessionState::Connected(session) if session.epoch() == epoch) {
            return;
        }
    }
}

/// 300 s ± 25 %, so that reflectors and hosts drift apart.
pub(super) fn next_resync() -> Instant {
    Instant::now() + RESYNC_INTERVAL.mul_f64(0.75 + 0.5 * fastrand::f64())
}
