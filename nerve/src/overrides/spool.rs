//! Watches hacheck's spool directory.
//!
//! The directory is listed every second; only files that changed are read. A missing directory counts as empty; while it
//! cannot be read, its last content stays in force.

use std::collections::BTreeMap;
use std::fs::{DirEntry, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::Metadata;
use super::hacheck::{Spool, parse};

/// The current content of the spool.
pub type Spools = watch::Receiver<Arc<Spool>>;

const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// The maximum number of files.
const MAX_FILES: usize = 10_000;
/// The maximum number of bytes read of a file: far more than a reason needs.
const MAX_BYTES: u64 = 4096;

/// The task that watches a directory.
#[derive(Debug)]
pub struct SpoolTask {
    directory: PathBuf,
    seen: BTreeMap<String, Seen>,
    spool: watch::Sender<Arc<Spool>>,
    /// The last error, so that it is logged once.
    failure: Option<String>,
}

/// A file as it was when it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    modified: SystemTime,
    length: u64,
    metadata: Metadata,
}

/// Reads a directory once; the task polls it from then on.
pub fn spool(directory: PathBuf) -> (Spools, SpoolTask) {
    let (sender, spools) = watch::channel(Arc::default());
    let mut task = SpoolTask {
        directory,
        seen: BTreeMap::new(),
        spool: sender,
        failure: None,
    };
    let found = list(&task.directory, &task.seen);
    task.publish(found);
    (spools, task)
}

/// Returns an empty spool.
pub fn no_spool() -> Spools {
    watch::channel(Arc::default()).1
}

impl SpoolTask {
    /// Polls until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        while stop.run_until_cancelled(sleep(POLL_INTERVAL)).await.is_some() {
            let (directory, seen) = (self.directory.clone(), self.seen.clone());
            let listing = tokio::task::spawn_blocking(move || list(&directory, &seen));
            match stop.run_until_cancelled(listing).await {
                Some(Ok(found)) => self.publish(found),
                Some(Err(error)) => tracing::error!(%error, "Reading hacheck's spool panicked."),
                None => return,
            }
        }
    }

    fn publish(&mut self, found: io::Result<BTreeMap<String, Seen>>) {
        let failure = found.as_ref().err().map(ToString::to_string);
        if failure != self.failure {
            let directory = self.directory.display();
            if let Some(error) = &failure {
                tracing::warn!(%directory, %error, "Hacheck's spool can't be read; its last content stays in force.");
            } else {
                tracing::info!(%directory, "Hacheck's spool can be read again.");
            }
            self.failure = failure;
        }
        let Ok(found) = found else { return };
        if found != self.seen {
            let spool = found.iter().map(|(name, seen)| (name.clone(), seen.metadata.clone()));
            self.spool.send_replace(Arc::new(spool.collect()));
            self.seen = found;
        }
    }
}

/// Lists the files; those that did not change since they were `seen` are not read again.
fn list(directory: &Path, seen: &BTreeMap<String, Seen>) -> io::Result<BTreeMap<String, Seen>> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(error),
    };
    let mut found = BTreeMap::new();
    for entry in entries.take(MAX_FILES) {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        // Hidden files are still being written.
        if name.starts_with('.') {
            continue;
        }
        if let Some(file) = read_file(&entry, seen.get(&name)) {
            found.insert(name, file);
        }
    }
    Ok(found)
}

/// Reads a file; `None` when it has vanished or is not a regular file.
fn read_file(entry: &DirEntry, seen: Option<&Seen>) -> Option<Seen> {
    let attributes = std::fs::metadata(entry.path())
        .ok()
        .filter(std::fs::Metadata::is_file)?;
    let (modified, length) = (attributes.modified().ok()?, attributes.len());
    if let Some(seen) = seen.filter(|seen| (seen.modified, seen.length) == (modified, length)) {
        return Some(seen.clone());
    }
    let since = modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let since = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    let mut content = Vec::new();
    let read = File::open(entry.path()).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut content));
    let metadata = match read {
        Ok(_) => parse(&content, since),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        // Its existence alone means down.
        Err(error) => Metadata::new(&format!("the file can't be read: {error}"), "", since, None),
    };
    Some(Seen {
        modified,
        length,
        metadata,
    })
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn the_spool_follows_its_files() {
        let directory = tempfile::tempdir().expect("a directory");
        let spool_directory = directory.path().join("hacheck");
        let (mut spools, task) = spool(spool_directory.clone());
        assert!(spools.borrow().is_empty(), "a missing directory is empty");
        let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
        tasks.spawn(task.run(stop.clone()));
        std::fs::create_dir(&spool_directory).expect("it is made");
        std::fs::create_dir(spool_directory.join("below")).expect("it is made");
        std::fs::write(spool_directory.join(".web.tmp"), "half").expect("it is written");
        std::fs::write(spool_directory.join("web"), "deploy").expect("it is written");
        let mut until = async |fits: fn(&Spool) -> bool| {
            let changed = timeout(Duration::from_secs(20), spools.wait_for(|spool| fits(spool))).await;
            changed.expect("in time").expect("the task runs").clone()
        };
        let spool = until(|spool| !spool.is_empty()).await;
        assert!(
            spool.keys().eq(["web"]) && spool.values().all(|metadata| metadata.reason == "deploy"),
            "{spool:?}"
        );
        std::fs::write(spool_directory.join("web"), "more than that").expect("it is written");
        until(|spool| spool.values().any(|metadata| metadata.reason == "more than that")).await;
        std::fs::remove_file(spool_directory.join("web")).expect("it goes");
        until(Spool::is_empty).await;
        stop.cancel();
        tasks.join_next().await.expect("one task").expect("no panic");
    }
}
