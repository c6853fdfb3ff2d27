//! The border between a service and its reporters: reports go down, the state of their delivery comes back.

use std::sync::Arc;

use common::report::Report;
use tokio::sync::watch;

/// The reports of a service; `None` before its first.
pub type Reports = watch::Receiver<Option<Arc<Report>>>;

/// The type of a reporter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReporterKind {
    /// Keeps a ZooKeeper node.
    Zookeeper,
    /// Writes a file.
    File,
    /// Prints to standard output.
    Console,
}

impl ReporterKind {
    /// `Type` in the API and the metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Zookeeper => "zookeeper",
            Self::File => "file",
            Self::Console => "console",
        }
    }
}

/// The state of a reporter's delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReporterState {
    /// Before the first report.
    Idle,
    /// The last report is delivered.
    Reported,
    /// It is not delivered yet, with the reason.
    Pending(String),
    /// The node is withdrawn.
    Withdrawn,
    /// The node's withdrawal is not confirmed, with the reason.
    Withdrawing(String),
}

impl ReporterState {
    /// `State` in the API.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Reported => "reported",
            Self::Pending(_) => "pending",
            Self::Withdrawn => "withdrawn",
            Self::Withdrawing(_) => "withdrawing",
        }
    }

    /// Returns the reason that it is not as desired; empty when it is.
    pub fn detail(&self) -> &str {
        match self {
            Self::Idle | Self::Reported | Self::Withdrawn => "",
            Self::Pending(why) | Self::Withdrawing(why) => why,
        }
    }
}

/// The handle of a reporter.
#[derive(Debug, Clone)]
pub struct ReporterHandle {
    /// Its type.
    pub kind: ReporterKind,
    /// The path of its node or file, or `stdout`.
    pub target: String,
    /// The state of its delivery.
    pub state: watch::Receiver<ReporterState>,
}

impl ReporterHandle {
    /// Whether the last report is delivered.
    pub fn is_reported(&self) -> bool {
        *self.state.borrow() == ReporterState::Reported
    }
}
