//! A file (0644, for other programs) or the console: each report is written once, a failed write is retried.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use common::report::Report;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Status;
use crate::delivery::Reports;

/// The timeout of a write: a stuck disk or a full pipe must not block the daemon.
const WRITE_TIMEOUT: Duration = Duration::from_secs(2);

const MODE: u32 = 0o644;

/// A write on the runtime's pool.
type PendingWrite = JoinHandle<io::Result<()>>;

#[derive(Debug, Clone)]
pub(super) enum Sink {
    File { path: PathBuf, append: bool },
    Console,
}

impl Sink {
    pub(super) async fn run(self, mut reports: Reports, status: Status, replay: Duration, stop: CancellationToken) {
        let mut written = None;
        let mut pending = None;
        let mut ended = false;
        loop {
            let report = reports.borrow_and_update().clone();
            let failed = report != written && !self.deliver(report.as_ref(), &mut pending, &status).await;
            if !failed {
                written = report;
            }
            if stop.is_cancelled() {
                return;
            }
            tokio::select! {
                // The last report is read after the stop.
                () = stop.cancelled() => {}
                changed = reports.changed(), if !ended => ended = changed.is_err(),
                () = sleep(replay), if failed => {}
            }
        }
    }

    async fn deliver(&self, report: Option<&Arc<Report>>, pending: &mut Option<PendingWrite>, status: &Status) -> bool {
        let Some(report) = report.cloned() else {
            return true;
        };
        let attempt = async {
            // A write that hangs can't be cancelled. A second one would hang too, with a thread of its own, and the older
            // report could be written last.
            if let Some(hung) = pending.as_mut() {
                hung.await.ok();
            }
            let sink = self.clone();
            let write = pending.insert(spawn_blocking(move || sink.write(&report)));
            let written = write.await.unwrap_or_else(|panic| Err(io::Error::other(panic)));
            *pending = None;
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
            Self::File { path, append } => write_file(path, *append, &line(report, !append)),
            Self::Console => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(&line(report, false))?;
                stdout.flush()
            }
        }
    }
}

/// Encodes a report as a line; as nothing with `blank_when_unavailable` and an unavailable service.
fn line(report: &Report, blank_when_unavailable: bool) -> Vec<u8> {
    if !report.available && blank_when_unavailable {
        return Vec::new();
    }
    let mut line = report.encode();
    line.push(b'\n');
    line
}

/// Creates the file of a reporter with its directory, and proves that it can be written.
pub fn prepare_file(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    open(path).map(drop)
}

/// Replaces the file as a whole, or appends to it. A special file (a pipe, `/dev/stderr`) is written in place.
fn write_file(path: &Path, append: bool, bytes: &[u8]) -> io::Result<()> {
    let special = std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file());
    if append || special {
        return open(path)?.write_all(bytes);
    }
    let written = common::file::write_atomic(path, bytes, MODE);
    written.map(drop).map_err(io::Error::other)
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(MODE).open(path)
}
