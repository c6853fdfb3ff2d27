//! A reload of the configuration as it is asked for and answered; `run` carries it out.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

/// Requests that may wait. Each reads the file anew, so the last that waits sees what all before it would have.
const WAITING: usize = 4;

/// What became of a reload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reload {
    /// When it ended, milliseconds since the Unix epoch.
    pub at: u64,
    /// In a word.
    pub result: ReloadResult,
    /// How many services run on untouched.
    pub kept: usize,
    /// The services that were started.
    pub added: Vec<String>,
    /// The services that were replaced.
    pub changed: Vec<String>,
    /// The services that are being disabled and withdrawn.
    pub removed: Vec<String>,
    /// Keys of the root that changed and count from the next start only.
    pub needs_restart: Vec<&'static str>,
    /// Why nothing was changed; empty unless refused.
    pub problems: Vec<String>,
    /// What the file's author should know.
    pub warnings: Vec<String>,
}

/// A reload in a word, as in the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ReloadResult {
    /// Services came, went or changed.
    Applied,
    /// The services are as they were.
    Unchanged,
    /// The file is no good: nothing was changed.
    Refused,
}

impl ReloadResult {
    /// Every result.
    pub const ALL: [Self; 3] = [Self::Applied, Self::Unchanged, Self::Refused];

    /// As `result` in the metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Unchanged => "unchanged",
            Self::Refused => "refused",
        }
    }
}

impl Reload {
    /// A reload that changed nothing because of `problems`.
    pub fn refused(problems: Vec<String>) -> Self {
        Self {
            at: common::clock::unix_millis(),
            result: ReloadResult::Refused,
            kept: 0,
            added: Vec::new(),
            changed: Vec::new(),
            removed: Vec::new(),
            needs_restart: Vec::new(),
            problems,
            warnings: Vec::new(),
        }
    }
}

/// Asks for reloads and knows what became of the last.
#[derive(Debug, Clone)]
pub struct Reloads {
    requests: mpsc::Sender<Request>,
    last: Arc<ArcSwapOption<Reload>>,
}

/// A request; who asked by a signal waits for no answer.
pub(crate) type Request = Option<oneshot::Sender<Arc<Reload>>>;

/// The requests, and what becomes of them, for the one who carries them out.
#[derive(Debug)]
pub struct Requests {
    pub(crate) requests: mpsc::Receiver<Request>,
    last: Arc<ArcSwapOption<Reload>>,
}

/// Both ends.
pub fn reloads() -> (Reloads, Requests) {
    let (sender, requests) = mpsc::channel(WAITING);
    let last = Arc::<ArcSwapOption<Reload>>::default();
    let reloads = Reloads {
        requests: sender,
        last: Arc::clone(&last),
    };
    (reloads, Requests { requests, last })
}

impl Reloads {
    /// Asks and waits; `None` when the daemon stops instead.
    pub async fn reload(&self) -> Option<Arc<Reload>> {
        let (sender, done) = oneshot::channel();
        self.requests.send(Some(sender)).await.ok()?;
        done.await.ok()
    }

    /// Asks. A request that finds no room is no loss: those that wait will read the same file.
    pub fn signal(&self) {
        self.requests.try_send(None).ok();
    }

    /// What became of the last reload; `None` before the first.
    pub fn last(&self) -> Option<Arc<Reload>> {
        self.last.load_full()
    }
}

impl Requests {
    /// Publishes what became of a reload and tells who asked.
    pub(crate) fn answer(&self, request: Request, reload: Reload) {
        let reload = Arc::new(reload);
        self.last.store(Some(Arc::clone(&reload)));
        if let Some(asked) = request {
            // Who has gone away finds it in `last`.
            asked.send(reload).ok();
        }
    }
}
