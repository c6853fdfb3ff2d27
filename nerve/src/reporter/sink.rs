//! A file or the console: each report is written once, a failed write is tried again.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use common::report::Report;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{Reports, Status, console, file};
use crate::announce::line;

/// A write takes no longer: a stuck disk or a full pipe must not hold the daemon.
const WRITE_TIMEOUT: Duration = Duration::from_secs(2);

/// A write on the runtime's pool.
type Write = JoinHandle<io::Result<()>>;

#[derive(Debug, Clone)]
pub(super) enum Sink {
    File { path: PathBuf, append: bool },
    Console,
}

impl Sink {
    pub(super) fn file(path: &Path, append: bool) -> Self {
        Self::File {
            path: path.to_owned(),
            append,
        }
    }

    pub(super) async fn run(self, mut reports: Reports, status: Status, replay: Duration, stop: CancellationToken) {
        let mut written = None;
        let mut under_way = None;
        let mut silent = false;
        loop {
            let report = reports.borrow_and_update().clone();
            let failed = report != written && !self.deliver(report.as_ref(), &mut under_way, &status).await;
            if !failed {
                written = report;
            }
            if stop.is_cancelled() {
                return;
            }
            tokio::select! {
                // A last look at the reports follows the stop.
                () = stop.cancelled() => {}
                changed = reports.changed(), if !silent => silent = changed.is_err(),
                () = sleep(replay), if failed => {}
            }
        }
    }

    async fn deliver(&self, report: Option<&Arc<Report>>, under_way: &mut Option<Write>, status: &Status) -> bool {
        let Some(report) = report.cloned() else {
            return true;
        };
        let attempt = async {
            // A write that hung can't be called back. Others beside it would only hang too, each with a thread, and
            // what is older could be written last.
            if let Some(hung) = under_way.as_mut() {
                hung.await.ok();
            }
            let sink = self.clone();
            let write = under_way.insert(spawn_blocking(move || sink.write(&report)));
            let written = write.await.unwrap_or_else(|panic| Err(io::Error::other(panic)));
            *under_way = None;
            written
        };
        let result = timeout(WRITE_TIMEOUT, attempt)
            .await
            .unwrap_or_else(|late| Err(late.into()));
        let delivered = result.is_ok();
        status.wrote(result);
        delivered
    }

    fn write(&self, report: &Report) -> io::Result<()> {
        match self {
            Self::File { path, append } => file::write(path, *append, &line(report, !append)),
            Self::Console => console::write(&line(report, false)),
        }
    }
}
