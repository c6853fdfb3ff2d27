//! Where a service is reported. A reporter follows what the service publishes, tries again until it is delivered, and
//! says where it stands; how the others fare does not concern it.

mod console;
mod file;
mod sink;
mod zookeeper;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::report::Report;
use common::zk::registration::{Registration, RegistrationTask};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::announce::PayloadEncoder;
use sink::Sink;

/// What a service publishes; `None` until there is something to say.
pub type Reports = watch::Receiver<Option<Arc<Report>>>;

/// Where a reporter stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReporterState {
    /// Nothing was to be reported yet.
    Idle,
    /// What was reported last is delivered.
    Reported,
    /// It is not delivered yet: why.
    Pending(String),
    /// The node is gone, as it should be.
    Withdrawn,
    /// The node should be gone and is not known to be: why.
    Withdrawing(String),
}

impl ReporterState {
    /// As `State` in the API.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Reported => "reported",
            Self::Pending(_) => "pending",
            Self::Withdrawn => "withdrawn",
            Self::Withdrawing(_) => "withdrawing",
        }
    }

    /// Why it is not as it should be; empty when it is.
    pub fn detail(&self) -> &str {
        match self {
            Self::Idle | Self::Reported | Self::Withdrawn => "",
            Self::Pending(why) | Self::Withdrawing(why) => why,
        }
    }
}

/// A reporter as others see it.
#[derive(Debug, Clone)]
pub struct ReporterHandle {
    /// Its `type`.
    pub kind: &'static str,
    /// Where it reports: a node's path, a file, `stdout`.
    pub target: String,
    /// Where it stands.
    pub state: watch::Receiver<ReporterState>,
}

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
    /// Keeps a ZooKeeper node.
    pub fn zookeeper(
        registration: (Registration, RegistrationTask),
        wording: PayloadEncoder,
        failures: Counter,
    ) -> (ReporterHandle, Self) {
        let target = registration.0.path().to_owned();
        let node = zookeeper::Node::new(registration, wording);
        Self::new("zookeeper", target, Output::Node(Box::new(node)), failures)
    }

    /// Writes a file; a failed write is tried again after `replay`.
    pub fn file(path: &Path, append: bool, replay: Duration, failures: Counter) -> (ReporterHandle, Self) {
        let target = path.display().to_string();
        Self::new("file", target, Output::Sink(Sink::file(path, append), replay), failures)
    }

    /// Prints to standard output; a failed write is tried again after `replay`.
    pub fn console(replay: Duration, failures: Counter) -> (ReporterHandle, Self) {
        Self::new(
            "console",
            "stdout".to_owned(),
            Output::Sink(Sink::Console, replay),
            failures,
        )
    }

    fn new(kind: &'static str, target: String, output: Output, failures: Counter) -> (ReporterHandle, Self) {
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

    /// Delivers `reports` until `stop`; then makes one bounded effort to deliver the last, and withdraws a node.
    pub async fn run(self, reports: Reports, stop: CancellationToken) {
        match self.output {
            // Boxed: it takes much more memory than a file's, which would have as much.
            Output::Node(node) => Box::pin(node.run(reports, self.status, stop)).await,
            Output::Sink(sink, replay) => sink.run(reports, self.status, replay, stop).await,
        }
    }
}

/// Creates what a file reporter needs and proves that it can be written.
pub fn prepare_file(path: &Path) -> io::Result<()> {
    file::prepare(path)
}

/// Publishes where a reporter stands; counts and logs on change.
#[derive(Debug)]
struct Status {
    sender: watch::Sender<ReporterState>,
    failures: Counter,
    kind: &'static str,
    target: String,
}

impl Status {
    /// For a file or the console: the outcome of one write.
    fn wrote(&self, outcome: io::Result<()>) {
        let (reporter, target) = (self.kind, &self.target);
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
                    tracing::warn!(reporter, target = %target, %error, "Can't deliver a report; trying on.");
                }
                ReporterState::Pending(error.to_string())
            }
        });
    }
}

#[cfg(test)]
mod tests;
