//! Requests to reload the configuration, and their outcomes.

mod reader;

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
pub use reader::Reader;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use crate::systemd::Notifier;
use crate::telemetry::metrics::Build;

/// Requests that may wait. Each reads the file again, so the last one covers all before it.
const REQUEST_BUFFER: usize = 4;

/// The result of a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ReloadResult {
    /// Something was started, stopped or changed.
    Applied,
    /// Everything runs on as it was.
    Unchanged,
    /// The configuration has problems: nothing was changed.
    Refused,
}

impl ReloadResult {
    const ALL: [Self; 3] = [Self::Applied, Self::Unchanged, Self::Refused];

    fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Unchanged => "unchanged",
            Self::Refused => "refused",
        }
    }
}

/// The outcome of a reload; `C` is what it changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reload<C> {
    /// Its end, in milliseconds since the Unix epoch.
    pub at: u64,
    /// The result.
    pub result: ReloadResult,
    /// The changes.
    #[serde(flatten)]
    pub changes: C,
    /// Keys of the root that changed and require a restart.
    pub needs_restart: Vec<&'static str>,
    /// Why nothing was changed; empty unless refused.
    pub problems: Vec<String>,
    /// Warnings for the author of the file.
    pub warnings: Vec<String>,
}

impl<C: Default> Reload<C> {
    /// A reload that changed nothing because of `problems`.
    pub fn refused(problems: Vec<String>) -> Self {
        Self {
            at: crate::clock::unix_millis(),
            result: ReloadResult::Refused,
            changes: C::default(),
            needs_restart: Vec::new(),
            problems,
            warnings: Vec::new(),
        }
    }
}

/// Counts reloads by result.
#[derive(Debug, Clone, Default)]
pub struct ReloadCounter(Family<[(&'static str, &'static str); 1], Counter>);

impl ReloadCounter {
    /// Registers the counters, all of them at zero.
    pub fn register(registry: &mut Registry, build: Build) -> Self {
        let counter = Self::default();
        let name = format!("{}_config_reloads", build.name);
        registry.register(name, "Reloads of the configuration since the start", counter.0.clone());
        for result in ReloadResult::ALL {
            drop(counter.0.get_or_create(&[("result", result.as_str())]));
        }
        counter
    }

    /// Counts a reload.
    pub fn count(&self, result: ReloadResult) {
        self.0.get_or_create(&[("result", result.as_str())]).inc();
    }
}

/// Requests reloads and returns the last outcome.
#[derive(Debug)]
pub struct Reloads<C> {
    requests: mpsc::Sender<Request<C>>,
    last: Arc<ArcSwapOption<Reload<C>>>,
}

/// A request; one that comes from a signal waits for no outcome.
#[derive(Debug)]
pub struct Request<C>(Option<oneshot::Sender<Arc<Reload<C>>>>);

/// The receiving end of the requests.
#[derive(Debug)]
pub struct Requests<C> {
    waiting: mpsc::Receiver<Request<C>>,
    notifier: Notifier,
    last: Arc<ArcSwapOption<Reload<C>>>,
}

/// Returns both ends; `notifier` is notified of each reload.
pub fn reloads<C>(notifier: Notifier) -> (Reloads<C>, Requests<C>) {
    let (requests, waiting) = mpsc::channel(REQUEST_BUFFER);
    let last = Arc::default();
    let reloads = Reloads {
        requests,
        last: Arc::clone(&last),
    };
    (
        reloads,
        Requests {
            waiting,
            notifier,
            last,
        },
    )
}

impl<C> Clone for Reloads<C> {
    fn clone(&self) -> Self {
        Self {
            requests: self.requests.clone(),
            last: Arc::clone(&self.last),
        }
    }
}

impl<C> Reloads<C> {
    /// Requests a reload and waits for its outcome; `None` when the daemon stops instead.
    pub async fn reload(&self) -> Option<Arc<Reload<C>>> {
        let (sender, done) = oneshot::channel();
        self.requests.send(Request(Some(sender))).await.ok()?;
        done.await.ok()
    }

    /// Requests a reload. When the buffer is full the request is redundant: those that wait will read the same file.
    pub fn signal(&self) {
        self.requests.try_send(Request(None)).ok();
    }

    /// Returns the last outcome; `None` before the first reload.
    pub fn last(&self) -> Option<Arc<Reload<C>>> {
        self.last.load_full()
    }
}

impl<C> Requests<C> {
    /// Returns the next request; `None` when every [`Reloads`] is dropped.
    pub async fn next(&mut self) -> Option<Request<C>> {
        let request = self.waiting.recv().await?;
        self.notifier.reloading();
        Some(request)
    }

    /// Publishes the outcome of a request.
    pub fn answer(&self, request: Request<C>, reload: Reload<C>) {
        let reload = Arc::new(reload);
        self.last.store(Some(Arc::clone(&reload)));
        self.notifier.reloaded();
        if let Some(requester) = request.0 {
            // A requester that has disconnected finds it in `last`.
            requester.send(reload).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::encode;

    #[tokio::test]
    async fn a_request_is_answered_and_the_last_outcome_is_kept() {
        let (reloads, mut requests) = reloads::<()>(Notifier::default());
        reloads.signal();
        let answer = async {
            for problem in ["first", "second"] {
                let request = requests.next().await.expect("one");
                let reload = Reload::refused(vec![problem.to_owned()]);
                requests.answer(request, reload);
                assert_eq!(reloads.last().expect("one").problems, [problem]);
            }
        };
        let (answered, ()) = tokio::join!(reloads.reload(), answer);
        assert_eq!(answered.expect("an outcome").problems, ["second"]);
        drop(requests);
        assert_eq!(reloads.reload().await, None);
    }

    #[test]
    fn every_result_is_counted_from_the_start() {
        let mut registry = Registry::default();
        let build = Build {
            name: "daemon",
            version: "1",
        };
        ReloadCounter::register(&mut registry, build).count(ReloadResult::Refused);
        let text = encode(&registry);
        for sample in [
            r#"daemon_config_reloads_total{result="applied"} 0"#,
            r#"daemon_config_reloads_total{result="unchanged"} 0"#,
            r#"daemon_config_reloads_total{result="refused"} 1"#,
        ] {
            assert!(text.lines().any(|line| line == sample), "{text}");
        }
    }
}
