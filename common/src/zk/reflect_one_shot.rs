//! The reflector on a server before 3.6, which has neither persistent watches nor multi-reads: a watch on the list and
//! one on the data of each child, each good for one event.
//!
//! The client renews such watches after a reconnection, but can not reconnect when the watched paths of a session
//! add up to more than 128 KiB: some 2,000 nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use zookeeper_client::{Error as ClientError, EventType, OneshotWatcher};

use super::error::CallError;
use super::reflect_state::GATHER;
use super::reflector::{Child, ReflectorTask, connection_changed, next_resync};
use super::session_state::Session;

/// The names of the children, and the watch on the list.
type Listing = (BTreeSet<Arc<str>>, OneshotWatcher);

/// The children read through one connection, and the watches on them.
#[derive(Default)]
struct Known {
    children: BTreeMap<Arc<str>, Child>,
    watches: JoinSet<(Arc<str>, EventType)>,
}

impl ReflectorTask {
    /// Follows through one connection with one-shot watches. `Ok` when it was lost.
    pub(super) async fn follow_one_shot(&mut self, session: &Session) -> Result<(), CallError> {
        self.catch_up(session).await?;
        let mut known = Known::default();
        let mut resync_at = next_resync();
        loop {
            let (names, listing) = self.list(session).await?;
            known.children.retain(|name, _| names.contains(name));
            let mut unread: Vec<_> = names
                .into_iter()
                .filter(|name| !known.children.contains_key(name))
                .collect();
            let mut relist = std::pin::pin!(listing.changed());
            loop {
                self.read_and_watch(session, &mut known, unread.drain(..)).await?;
                let reads = known.children.iter();
                self.publish_full(reads.map(|(name, child)| (name.clone(), Some(child.clone()))));
                let gathered = Instant::now() + GATHER;
                let kind = tokio::select! {
                    event = &mut relist => event.event_type,
                    Some(Ok((name, kind))) = known.watches.join_next() => {
                        unread.push(name);
                        kind
                    }
                    () = connection_changed(&mut self.link, session.epoch()) => EventType::Session,
                    () = sleep_until(resync_at) => {
                        resync_at = next_resync();
                        known = Known::default();
                        break;
                    }
                };
                if kind == EventType::Session {
                    return Ok(());
                }
                sleep_until(gathered).await;
                if unread.is_empty() {
                    break;
                }
            }
        }
    }

    /// Lists and watches; an absent path has no children, and the watch fires on its creation.
    async fn list(&self, session: &Session) -> Result<Listing, CallError> {
        let path = self.path.as_str();
        match session.call(|client| client.list_and_watch_children(path)).await {
            Ok((names, watch)) => Ok((names.into_iter().map(Arc::from).collect(), watch)),
            Err(CallError::Answer(ClientError::NoNode)) => {
                let (stat, watch) = session.call(|client| client.check_and_watch_stat(path)).await?;
                match stat {
                    None => Ok((BTreeSet::new(), watch)),
                    Some(_) => Err(CallError::Unknown("created while being read".to_owned())),
                }
            }
            Err(error) => Err(error),
        }
    }

    async fn read_and_watch(
        &self,
        session: &Session,
        known: &mut Known,
        names: impl Iterator<Item = Arc<str>>,
    ) -> Result<(), CallError> {
        for name in names {
            if self.name_encodes_data(&name) {
                known.children.insert(name, Child::unread());
                continue;
            }
            let path = format!("{}{name}", self.prefix);
            let read = session.call(|client| client.get_and_watch_data(&path)).await;
            let child = match read {
                Ok((data, stat, watch)) => {
                    let name = Arc::clone(&name);
                    known
                        .watches
                        .spawn(async move { (name, watch.changed().await.event_type) });
                    Some(Child::new(data, &stat))
                }
                Err(CallError::Answer(error)) => self.unreadable(&name, error)?,
                Err(error) => return Err(error),
            };
            match child {
                Some(child) => known.children.insert(name, child),
                None => known.children.remove(&name),
            };
        }
        Ok(())
    }
}
