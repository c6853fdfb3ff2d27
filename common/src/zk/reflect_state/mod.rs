//! The state of a reflector: the published content, and the names to read again. Pure.
//!
//! Invariants: a new whole read is a swap, never a clear-then-fill; a lost connection takes nothing away; the
//! generation grows exactly when the content changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::snapshot::{Child, Freshness, Snapshot};

/// Events this close to the last read are gathered into the next one.
pub(super) const GATHER: Duration = Duration::from_millis(20);

/// Greatest number of children in one request.
const CHUNK_NAMES: usize = 500;
/// Greatest size of the paths in one request; the server closes the connection above 1 MiB.
const CHUNK_BYTES: usize = 256 * 1024;

/// Children by name.
pub(super) type Children = BTreeMap<Arc<str>, Arc<Child>>;

/// A child as it was read: `None` when it was gone.
pub(super) type Read = (Arc<str>, Option<Child>);

/// The published content.
#[derive(Debug)]
pub(super) struct ReflectState {
    snapshot: Snapshot,
}

impl ReflectState {
    pub(super) fn new() -> Self {
        Self {
            snapshot: Snapshot {
                children: Arc::default(),
                freshness: Freshness::Never,
                generation: 0,
                error: String::new(),
            },
        }
    }

    pub(super) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Replaces the content by a full read. True when the content differs from the one before.
    pub(super) fn swap(&mut self, reads: impl IntoIterator<Item = Read>) -> bool {
        let first = self.snapshot.freshness == Freshness::Never;
        let old = Arc::clone(&self.snapshot.children);
        let new: Children = reads
            .into_iter()
            .filter_map(|(name, child)| {
                let child = child?;
                // An unchanged child keeps its allocation, so that readers can compare pointers.
                let child = match old.get(&name) {
                    Some(same) if **same == child => Arc::clone(same),
                    _ => Arc::new(child),
                };
                Some((name, child))
            })
            .collect();
        let changed = *old != new;
        if changed {
            self.snapshot.children = Arc::new(new);
        }
        if changed || first {
            self.snapshot.generation += 1;
        }
        self.read_well();
        changed
    }

    /// Merges children that were read again. True when the content changed.
    pub(super) fn merge(&mut self, reads: impl IntoIterator<Item = Read>) -> bool {
        let mut changed = false;
        for (name, child) in reads {
            let old = self.snapshot.children.get(&name);
            if old.map(AsRef::as_ref) == child.as_ref() {
                continue;
            }
            changed = true;
            let children = Arc::make_mut(&mut self.snapshot.children);
            match child {
                Some(child) => children.insert(name, Arc::new(child)),
                None => children.remove(&name),
            };
        }
        if changed {
            self.snapshot.generation += 1;
        }
        changed
    }

    fn read_well(&mut self) {
        self.snapshot.freshness = Freshness::Live;
        self.snapshot.error.clear();
    }

    /// Marks the content as stale because the connection is lost or reading failed. True when that is new.
    pub(super) fn stale(&mut self, now: Instant) -> bool {
        let live = self.snapshot.freshness == Freshness::Live;
        if live {
            self.snapshot.freshness = Freshness::Stale { since: now };
        }
        live
    }

    /// Records a failure to read, or its end (empty). True when that is new.
    pub(super) fn note_error(&mut self, error: &str) -> bool {
        let news = self.snapshot.error != error;
        if news {
            error.clone_into(&mut self.snapshot.error);
        }
        news
    }
}

/// The names to read again, and when.
#[derive(Debug, Default)]
pub(super) struct Dirty {
    names: BTreeSet<Arc<str>>,
    last_read: Option<Instant>,
}

impl Dirty {
    pub(super) fn add(&mut self, name: &str) {
        if !self.names.contains(name) {
            self.names.insert(Arc::from(name));
        }
    }

    /// Returns when to read, which may be in the past; `None` when there is nothing to read.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        (!self.names.is_empty()).then(|| self.last_read.map_or(now, |last| last + GATHER))
    }

    /// Takes all names; a read starts at `now`.
    pub(super) fn take(&mut self, now: Instant) -> Vec<Arc<str>> {
        self.last_read = Some(now);
        std::mem::take(&mut self.names).into_iter().collect()
    }
}

/// The prefix of the paths of the children of `path`.
pub(super) fn child_prefix(path: &str) -> String {
    format!("{}/", path.trim_end_matches('/'))
}

/// The name of the direct child that `path` is; `None` for the parent itself and for deeper nodes.
pub(super) fn child_name<'a>(prefix: &str, path: &'a str) -> Option<&'a str> {
    path.strip_prefix(prefix)
        .filter(|name| !name.is_empty() && !name.contains('/'))
}

/// Splits names into requests of bounded size, in order.
pub(super) fn chunks(prefix: &str, names: &[Arc<str>]) -> Vec<Vec<Arc<str>>> {
    let mut chunks: Vec<Vec<Arc<str>>> = Vec::new();
    let mut bytes = 0;
    for name in names {
        let size = prefix.len() + name.len();
        match chunks.last_mut() {
            Some(chunk) if chunk.len() < CHUNK_NAMES && bytes + size <= CHUNK_BYTES => {
                chunk.push(Arc::clone(name));
                bytes += size;
            }
            _ => {
                chunks.push(vec![Arc::clone(name)]);
                bytes = size;
            }
        }
    }
    chunks
}

#[cfg(test)]
mod tests;
