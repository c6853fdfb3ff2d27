//! The reporters of a service. Each follows the service's reports, retries until the last is delivered, and publishes the
//! state of its own delivery, independent of the others.

mod sink;
mod zookeeper;

use std::io;
use std::path::Path;
use std::time::Duration;

use common::zk::registration::{Registration, RegistrationTask};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::delivery::{ReporterHandle, ReporterKind, ReporterState, Reports};
use sink::Sink;
pub use sink::prepare_file;
pub use zookeeper::PayloadEncoder;

/// A reporter's task.
#[derive(Debug)]
pub struct Reporter {
    output: Output,
    status: Status,
}

#[derive(Debug)]
enum Output {
    Node(Box<zookeeper::Node>),
    Sink(Sink, Duration),
}

impl Reporter {
    /// Returns a reporter that keeps a ZooKeeper node.
    pub fn zookeeper(
        registration: (Registration, RegistrationTask),
        encoder: PayloadEncoder,
        failures: Counter,
    ) -> (ReporterHandle, Self) {
        let target = registration.0.path().to_owned();
        let node = zookeeper::Node::new(registration, encoder);
        Self::new(ReporterKind::Zookeeper, target, Output::Node(Box::new(node)), failures)
    }

    /// Returns a reporter that writes a file and retries a failed write after `replay`.
    pub fn file(path: &Path, append: bool, replay: Duration, failures: Counter) -> (ReporterHandle, Self) {
        let target = path.display().to_string();
        let path = path.to_owned();
        let output = Output::Sink(Sink::File { path, append }, replay);
        Self::new(ReporterKind::File, target, output, failures)
    }

    /// Returns a reporter that prints to standard output and retries a failed write after `replay`.
    pub fn console(replay: Duration, failures: Counter) -> (ReporterHandle, Self) {
        let output = Output::Sink(Sink::Console, replay);
        Self::new(ReporterKind::Console, "stdout".to_owned(), output, failures)
    }

    fn new(kind: ReporterKind, target: String, output: Output, failures: Counter) -> (ReporterHandle, Self) {
        let (sender, state) = watch::channel(ReporterState::Idle);
        let handle = ReporterHandle {
            kind,
            target: target.clone(),
            state,
        };
        let status = Status {
            sender,
            failures,
            kind,
            target,
        };
        (handle, Self { output, status })
    }

    /// Delivers `reports` until `stop`; then tries once, for a limited time, to deliver the last, and withdraws a node.
    pub async fn run(self, reports: Reports, stop: CancellationToken) {
        match self.output {
            // Boxed, because it needs much more memory than a file's.
            Output::Node(node) => Box::pin(node.run(reports, self.status, stop)).await,
            Output::Sink(sink, replay) => sink.run(reports, self.status, replay, stop).await,
        }
    }
}

/// Publishes the state of a reporter; counts failures and logs changes.
#[derive(Debug)]
struct Status {
    sender: watch::Sender<ReporterState>,
    failures: Counter,
    kind: ReporterKind,
    target: String,
}

impl Status {
    /// Records the outcome of one write to a file or the console.
    fn wrote(&self, outcome: io::Result<()>) {
        let (reporter, target) = (self.kind.as_str(), &self.target);
        let was_failing = !self.sender.borrow().detail().is_empty();
        self.sender.send_replace(match outcome {
            Ok(()) => {
                if was_failing {
                    tracing::info!(reporter, target = %target, "Reports are delivered again.");
                }
                ReporterState::Reported
            }
            Err(error) => {
                self.failures.inc();
                if !was_failing {
                    tracing::warn!(reporter, target = %target, %error, "Can't deliver a report; retrying.");
                }
                ReporterState::Pending(error.to_string())
            }
        });
    }
}

#[cfg(test)]
mod tests;
