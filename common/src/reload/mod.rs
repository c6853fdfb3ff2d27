//! A reload of the configuration as it is asked for and answered; each daemon carries it out in its own way.

mod reader;

use std::sync::Arc;

use arc_swap::ArcSwapOption;
pub use reader::Reader;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use crate::systemd::Notifier;

/// Requests that may wait. Each reads the file anew, so the last that waits sees what all before it would have.
const REQUEST_BUFFER: usize = 4;

/// A reload in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ReloadResult {
    /// Something of what runs came, went or changed.
    Applied,
    /// All runs on as it was.
    Unchanged,
    /// The file is no good: nothing was changed.
    Refused,
}

impl ReloadResult {
    /// Every result.
    pub const ALL: [Self; 3] = [Self::Applied, Self::Unchanged, Self::Refused];

    /// As `result` in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Unchanged => "unchanged",
            Self::Refused => "refused",
        }
    }
}

/// Asks for reloads and knows what became of the last; `R` is what becomes of one.
#[derive(Debug)]
pub struct Reloads<R> {
    requests: mpsc::Sender<Request<R>>,
    last: Arc<ArcSwapOption<R>>,
}

/// A request; who asked by a signal waits for no answer.
#[derive(Debug)]
pub struct Request<R>(Option<oneshot::Sender<Arc<R>>>);

/// The requests, and what becomes of them, for the one who carries them out.
#[derive(Debug)]
pub struct Requests<R> {
    waiting: mpsc::Receiver<Request<R>>,
    notifier: Notifier,
    last: Arc<ArcSwapOption<R>>,
}

/// Both ends.
pub fn reloads<R>() -> (Reloads<R>, Requests<R>) {
    let (sender, requests) = mpsc::channel(REQUEST_BUFFER);
    let last = Arc::<ArcSwapOption<R>>::default();
    let reloads = Reloads {
        requests: sender,
        last: Arc::clone(&last),
    };
    let requests = Requests {
        waiting: requests,
        notifier: Notifier::default(),
        last,
    };
    (reloads, requests)
}

impl<R> Clone for Reloads<R> {
    fn clone(&self) -> Self {
        Self {
            requests: self.requests.clone(),
            last: Arc::clone(&self.last),
        }
    }
}

impl<R> Reloads<R> {
    /// Asks and waits; `None` when the daemon stops instead.
    pub async fn reload(&self) -> Option<Arc<R>> {
        let (sender, done) = oneshot::channel();
        self.requests.send(Request(Some(sender))).await.ok()?;
        done.await.ok()
    }

    /// Asks. A request that finds no room is no loss: those that wait will read the same file.
    pub fn signal(&self) {
        self.requests.try_send(Request(None)).ok();
    }

    /// What became of the last reload; `None` before the first.
    pub fn last(&self) -> Option<Arc<R>> {
        self.last.load_full()
    }
}

impl<R> Requests<R> {
    /// The same; `notifier` is told of each reload.
    #[must_use]
    pub fn telling(self, notifier: Notifier) -> Self {
        Self { notifier, ..self }
    }

    /// The next request; `None` when nobody is left who could ask.
    pub async fn next(&mut self) -> Option<Request<R>> {
        let request = self.waiting.recv().await;
        if request.is_some() {
            self.notifier.reloading();
        }
        request
    }

    /// Publishes what became of a reload and tells who asked.
    pub fn answer(&self, request: Request<R>, reload: R) {
        let reload = Arc::new(reload);
        self.last.store(Some(Arc::clone(&reload)));
        self.notifier.reloaded();
        if let Some(asked) = request.0 {
            // Who has gone away finds it in `last`.
            asked.send(reload).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_asks_is_answered_and_the_last_answer_is_kept() {
        let (reloads, mut requests) = reloads();
        reloads.signal();
        let answer = async {
            for answer in ["first", "second"] {
                let request = requests.next().await.expect("one");
                requests.answer(request, answer);
                assert_eq!(reloads.last().as_deref(), Some(&answer));
            }
        };
        let (asked, ()) = tokio::join!(reloads.reload(), answer);
        assert_eq!(asked.as_deref(), Some(&"second"));
        drop(requests);
        assert_eq!(reloads.reload().await, None);
    }
}
