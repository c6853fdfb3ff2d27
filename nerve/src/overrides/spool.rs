//! Watches hacheck's spool directory.
//!
//! The whole directory is looked at every second; only files that changed are read. A directory that is not there is an
//! empty one; one that cannot be read says what it said last.

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

/// What the spool says now.
pub type Spools = watch::Receiver<Arc<Spool>>;

const INTERVAL: Duration = Duration::from_secs(1);
/// How many files are looked at.
const MAX_FILES: usize = 10_000;
/// How much of a file is read: far more than a reason takes.
const MAX_BYTES: u64 = 4096;

/// The task that watches a directory.
#[derive(Debug)]
pub struct SpoolTask {
    directory: PathBuf,
    seen: BTreeMap<String, Seen>,
    spool: watch::Sender<Arc<Spool>>,
    /// Why it can't be read, to say so once.
    failure: Option<String>,
}

/// A file as it was when it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    modified: SystemTime,
    length: u64,
    note: Metadata,
}

/// A directory that has been looked at once, and the task that goes on looking.
pub fn spool(directory: PathBuf) -> (Spools, SpoolTask) {
    let (sender, spools) = watch::channel(Arc::default());
    let mut task = SpoolTask {
        directory,
        seen: BTreeMap::new(),
        spool: sender,
        failure: None,
    };
    let found = look(&task.directory, &task.seen);
    task.publish(found);
    (spools, task)
}

/// A spool that says nothing.
pub fn no_spool() -> Spools {
    watch::channel(Arc::default()).1
}

impl SpoolTask {
    /// Looks again and again until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        while stop.run_until_cancelled(sleep(INTERVAL)).await.is_some() {
            let (directory, seen) = (self.directory.clone(), self.seen.clone());
            let looking = tokio::task::spawn_blocking(move || look(&directory, &seen));
            match stop.run_until_cancelled(looking).await {
                Some(Ok(found)) => self.publish(found),
                Some(Err(error)) => tracing::error!(%error, "Looking at hacheck's spool broke."),
                None => return,
            }
        }
    }

    fn publish(&mut self, found: io::Result<BTreeMap<String, Seen>>) {
        let failure = found.as_ref().err().map(ToString::to_string);
        if failure != self.failure {
            let directory = self.directory.display();
            if let Some(error) = &failure {
                tracing::warn!(%directory, %error, "Hacheck's spool can't be read; what it said last holds.");
            } else {
                tracing::info!(%directory, "Hacheck's spool can be read again.");
            }
            self.failure = failure;
        }
        let Ok(found) = found else { return };
        if found != self.seen {
            let notes = found.iter().map(|(name, seen)| (name.clone(), seen.note.clone()));
            self.spool.send_replace(Arc::new(notes.collect()));
            self.seen = found;
        }
    }
}

/// The files that are there now; those that did not change as they were.
fn look(directory: &Path, seen: &BTreeMap<String, Seen>) -> io::Result<BTreeMap<String, Seen>> {
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
        // Hidden files are those that are still being written.
        if name.starts_with('.') {
            continue;
        }
        if let Some(file) = look_at(&entry, seen.get(&name)) {
            found.insert(name, file);
        }
    }
    Ok(found)
}

/// A file; `None` when it has vanished or is none.
fn look_at(entry: &DirEntry, seen: Option<&Seen>) -> Option<Seen> {
    let metadata = std::fs::metadata(entry.path())
        .ok()
        .filter(std::fs::Metadata::is_file)?;
    let (modified, length) = (metadata.modified().ok()?, metadata.len());
    if let Some(seen) = seen.filter(|seen| (seen.modified, seen.length) == (modified, length)) {
        return Some(seen.clone());
    }
    let since = modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let since = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    let mut content = Vec::new();
    let read = File::open(entry.path()).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut content));
    let note = match read {
        Ok(_) => parse(&content, since),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        // It is there, and that alone says down.
        Err(error) => Metadata::new(&format!("the file can't be read: {error}"), "", since, None),
    };
    Some(Seen { modified, length, note })
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn what_is_spooled_is_heard_and_what_is_gone_is_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let spool_directory = directory.path().join("hacheck");
        let (mut spools, task) = spool(spool_directory.clone());
        assert!(
            spools.borrow().is_empty(),
            "a directory that is not there is an empty one"
        );
        let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
        tasks.spawn(task.run(stop.clone()));
        std::fs::create_dir(&spool_directory).expect("it is made");
        std::fs::create_dir(spool_directory.join("below")).expect("it is made");
        std::fs::write(spool_directory.join(".web.tmp"), "half").expect("it is written");
        std::fs::write(spool_directory.join("web"), "deploy").expect("it is written");
        let mut until = async |fits: fn(&Spool) -> bool| {
            let heard = timeout(Duration::from_secs(20), spools.wait_for(|spool| fits(spool))).await;
            heard.expect("in time").expect("the task runs").clone()
        };
        let spool = until(|spool| !spool.is_empty()).await;
        assert!(
            spool.keys().eq(["web"]) && spool.values().all(|note| note.reason == "deploy"),
            "{spool:?}"
        );
        std::fs::write(spool_directory.join("web"), "more than that").expect("it is written");
        until(|spool| spool.values().any(|note| note.reason == "more than that")).await;
        std::fs::remove_file(spool_directory.join("web")).expect("it goes");
        until(Spool::is_empty).await;
        stop.cancel();
        tasks.join_next().await.expect("one task").expect("no panic");
    }
}
