//! `type: multi`: several sources as one.

mod combine;

use std::sync::Arc;
use std::time::Duration;

use common::zk::reflector::Freshness;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::follow::ChangeNotify;
use super::{Description, WatcherState};
use crate::config::Combine;
use combine::{Combining, Part};

/// One of the sources of another.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) name: String,
    pub(super) description: Description,
    pub(super) state: watch::Receiver<Arc<WatcherState>>,
}

/// Combines what other watchers publish.
#[derive(Debug)]
#[must_use = "nothing is published until the task runs"]
pub(super) struct MultiTask {
    source: String,
    method: Combine,
    patience: Duration,
    children: Vec<Child>,
    state: watch::Sender<Arc<WatcherState>>,
    changes: ChangeNotify,
}

/// A watcher of `children`, called `source` in the log.
pub(super) fn multi(
    source: String,
    method: Combine,
    patience: Duration,
    children: Vec<Child>,
    changes: ChangeNotify,
) -> (watch::Receiver<Arc<WatcherState>>, MultiTask) {
    let (state, receiver) = watch::channel(Arc::default());
    let task = MultiTask {
        source,
        method,
        patience,
        children,
        state,
        changes,
    };
    (receiver, task)
}

impl MultiTask {
    /// Combines until `stop`.
    pub(super) async fn run(self, stop: CancellationToken) {
        let combining = Combining {
            method: self.method,
            patience: self.patience,
            started: Instant::now(),
        };
        // All watchers ring it, so this one is woken by itself, too, and then finds nothing new.
        let mut rung = self.changes.subscribe();
        let mut used = None;
        loop {
            rung.mark_unchanged();
            let combined = combining.combine(&self.parts(), Instant::now());
            self.log(used, combined.used);
            used = combined.used;
            // A source that is awaited in the first moments does not make unknown what was known.
            let was_known = self.state.borrow().freshness != Freshness::Never;
            let is_known = combined.state.freshness != Freshness::Never;
            if combined.state != **self.state.borrow() && (is_known || !was_known) {
                self.state.send_replace(Arc::new(combined.state));
                self.changes.send_replace(());
            }
            let again = combined.look_again;
            tokio::select! {
                () = stop.cancelled() => return,
                _ = rung.changed() => {}
                () = sleep_until(again.unwrap_or_else(Instant::now)), if again.is_some() => {}
            }
        }
    }

    fn parts(&self) -> Vec<Part> {
        let part = |child: &Child| Part {
            name: child.name.clone(),
            state: Arc::clone(&child.state.borrow()),
        };
        self.children.iter().map(part).collect()
    }

    fn log(&self, before: Option<usize>, now: Option<usize>) {
        let source = &self.source;
        let Some(child) = now.filter(|_| before != now).and_then(|now| self.children.get(now)) else {
            return;
        };
        if now == Some(0) {
            tracing::info!(%source, used = %child.name, "The first source is used.");
        } else {
            tracing::warn!(%source, used = %child.name, place = %child.description, "Another source is used: those before it are empty or can't be read.");
        }
    }
}
