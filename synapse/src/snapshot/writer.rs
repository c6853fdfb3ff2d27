//! Reads the snapshot at the start, and writes it when the content of the sources changes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use common::hash::sha1_hex;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{Content, Remembered, decode, encode};
use crate::pipeline::guard::Guarded;

/// The least time between two writes.
const PACE: Duration = Duration::from_secs(2);
/// How soon a failed write is tried again.
const RETRY_DELAY: Duration = Duration::from_secs(10);
/// No file is longer: 100,000 instances take 30 MB.
const MAX_FILE_LEN: u64 = 256 * 1024 * 1024;
/// It is for synapse alone.
const MODE: u32 = 0o600;

/// What `path` remembers; nothing when it can't be read, which is logged.
pub fn load(path: &Path) -> Content {
    let mut bytes = Vec::new();
    // It may be longer by the time it is read.
    let read = File::open(path).and_then(|file| file.take(MAX_FILE_LEN).read_to_end(&mut bytes));
    let refused = match read {
        Err(error) if error.kind() == ErrorKind::NotFound => return Content::default(),
        Err(error) => error.to_string(),
        Ok(_) => match decode(&bytes) {
            Ok(content) => return content,
            Err(refused) => refused.to_string(),
        },
    };
    tracing::warn!(path = %path.display(), reason = %refused, "The snapshot of the sources is not used.");
    Content::default()
}

/// The services of one router, as they are published.
#[derive(Debug, Clone)]
pub struct Followed {
    /// The names of their sources; `None`: nothing of it is kept.
    pub sources: Vec<Option<String>>,
    /// What they have, in the same order.
    pub guarded: watch::Receiver<Arc<Vec<Guarded>>>,
}

/// The task that owns the file.
#[derive(Debug)]
#[must_use = "nothing is written until the task runs"]
pub struct SnapshotWriter {
    path: PathBuf,
    /// As routers come and go.
    followed: watch::Receiver<Vec<Followed>>,
    /// Rung at each change of any of them.
    bell: watch::Receiver<()>,
    /// The checksum of the instances that the file has: they themselves are a megabyte where there are many.
    written: String,
    complaint: String,
}

impl SnapshotWriter {
    /// Keeps what is `followed` in `path`, which has `content` now.
    pub fn new(
        path: PathBuf,
        content: &Content,
        followed: watch::Receiver<Vec<Followed>>,
        bell: watch::Receiver<()>,
    ) -> Self {
        Self {
            path,
            followed,
            bell,
            written: instances(content),
            complaint: String::new(),
        }
    }

    /// Writes until `stop`, and once more then.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            self.bell.mark_unchanged();
            // Never given up halfway: a write that goes on by itself could end after the last one.
            let wait = if self.write().await { PACE } else { RETRY_DELAY };
            if stop.run_until_cancelled(self.news(wait)).await.is_none() {
                break;
            }
        }
        // The publisher has ended; its last value stays to be read.
        self.write().await;
    }

    /// Waits at least so long, and then for news; after a failed write there is something to do anyway.
    async fn news(&mut self, wait: Duration) {
        sleep(wait).await;
        if self.complaint.is_empty() && self.bell.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether the file has the content of the sources.
    async fn write(&mut self) -> bool {
        let content = self.content();
        let now = instances(&content);
        if now == self.written {
            return true;
        }
        let path = self.path.clone();
        let write = move || common::file::write_atomic(&path, &encode(&content), MODE);
        let complaint = match spawn_blocking(write).await {
            Ok(Ok(_)) => {
                self.written = now;
                String::new()
            }
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        if !complaint.is_empty() && complaint != self.complaint {
            tracing::warn!(error = %complaint, "The snapshot of the sources can't be written; the one on disk stays.");
        }
        self.complaint = complaint;
        self.complaint.is_empty()
    }

    /// The last content of the sources. Two services of one source may hold different instances of it: all are kept.
    fn content(&self) -> Content {
        let (now, unix_millis) = (Instant::now(), common::clock::unix_millis());
        let mut sources: BTreeMap<String, Remembered> = BTreeMap::new();
        for followed in self.followed.borrow().iter() {
            let guarded = Arc::clone(&followed.guarded.borrow());
            for (name, guarded) in followed.sources.iter().zip(guarded.iter()) {
                let Some(name) = name else { continue };
                let Some(remembered) = Remembered::of(&guarded.whole(), now, unix_millis) else {
                    continue;
                };
                match sources.get_mut(name) {
                    None => {
                        sources.insert(name.clone(), remembered);
                    }
                    Some(known) => {
                        let more = remembered.instances.into_iter();
                        let more: Vec<_> = more.filter(|one| !known.instances.contains(one)).collect();
                        known.instances.extend(more);
                    }
                }
            }
        }
        Content { sources }
    }
}

/// The checksum of the instances of all sources; when they were last true is nothing to write a file for.
fn instances(content: &Content) -> String {
    let instances = content.sources.iter();
    let instances: Vec<_> = instances.map(|(name, source)| (name, &source.instances)).collect();
    // As in [`encode`], nothing could fail.
    sha1_hex(&serde_json::to_vec(&instances).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::super::Instance;
    use super::*;

    /// What one service has, with so many instances.
    fn guarded(count: u16) -> Arc<Vec<Guarded>> {
        let instances = (1..=count).map(|port| Instance {
            node: Arc::from(format!("n{port}")),
            name: String::new(),
            address: ([10, 0, 0, 1], port).into(),
            weight: None,
            options: String::new(),
            labels: BTreeMap::new(),
            created: 0,
            czxid: 0,
        });
        let remembered = Remembered {
            at: 0,
            instances: instances.collect(),
        };
        Arc::new(vec![Guarded {
            state: Arc::new(remembered.state(Instant::now(), 0)),
            held: BTreeMap::new(),
            holds: true,
            remembered: false,
        }])
    }

    fn count(path: &Path) -> Option<usize> {
        load(path).sources.get("s").map(|remembered| remembered.instances.len())
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_is_written_as_soon_as_possible_and_at_the_end() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("not yet there").join("snapshot");
        let (said, bell) = (watch::Sender::new(guarded(1)), watch::Sender::new(()));
        let followed = Followed {
            sources: vec![Some("s".to_owned())],
            guarded: said.subscribe(),
        };
        let keeper = SnapshotWriter::new(
            path.clone(),
            &Content::default(),
            watch::Sender::new(vec![followed]).subscribe(),
            bell.subscribe(),
        );
        let stop = CancellationToken::new();
        let act = async {
            sleep(Duration::from_secs(1)).await;
            assert_eq!(count(&path), None, "there is nowhere to write to");
            std::fs::create_dir(path.parent().expect("a directory")).expect("it can be made");
            while count(&path) != Some(1) {
                sleep(Duration::from_millis(100)).await;
            }
            said.send_replace(guarded(2));
            bell.send_replace(());
            while count(&path) != Some(2) {
                sleep(Duration::from_millis(100)).await;
            }
            said.send_replace(guarded(3));
            bell.send_replace(());
            stop.cancel();
        };
        let both = async { tokio::join!(keeper.run(stop.clone()), act) };
        timeout(Duration::from_mins(1), both).await.expect("in time");
        assert_eq!(count(&path), Some(3));
    }
}
