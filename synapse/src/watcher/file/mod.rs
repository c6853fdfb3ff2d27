//! `type: file`: a document of registrations, or a directory of them.
//!
//! The file is polled, because that works everywhere: notifications miss the changes of a bind mount, of a link that is
//! moved over another (Kubernetes) or of a network file system. A poll costs one `stat` per file; only changed files are
//! read. A file that is gone or invalid keeps its last content and reports it; one that is removed from a directory takes
//! its registrations with it.

mod document;

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::clock::unix_millis;
use common::zk::reflector::Snapshot;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::reader::{self, Nodes, ReadResult};

/// The longest document.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// Two writes within this may leave the same traces on a coarse file system.
const SETTLED_MILLIS: u64 = 3_000;

/// Looks at a file or a directory.
#[derive(Debug)]
#[must_use = "nothing is read until the task runs"]
pub(super) struct FileTask {
    path: PathBuf,
    interval: Duration,
    out: watch::Sender<Snapshot>,
}

/// Looks at `path` at each `interval`.
pub(super) fn file(path: PathBuf, interval: Duration) -> (watch::Receiver<Snapshot>, FileTask) {
    let (out, snapshots) = watch::channel(reader::unread());
    (snapshots, FileTask { path, interval, out })
}

impl FileTask {
    /// Looks until `stop`.
    pub(super) async fn run(self, stop: CancellationToken) {
        let work = async {
            let mut files = Files::default();
            loop {
                files = self.look(files).await;
                sleep(self.interval).await;
            }
        };
        stop.run_until_cancelled(work).await;
    }

    /// The disk may hang, and no other source with it.
    async fn look(&self, mut files: Files) -> Files {
        let path = self.path.clone();
        let looked = spawn_blocking(move || {
            files.look(&path);
            files
        });
        // It fails only when the runtime ends.
        let files: Files = looked.await.unwrap_or_default();
        let look = files.read_result(&self.path);
        self.out
            .send_if_modified(|snapshot| reader::take_in(snapshot, look, Instant::now()));
        files
    }
}

/// What is known of the files.
#[derive(Debug, Default)]
struct Files {
    files: BTreeMap<String, Document>,
    /// Why the path itself could not be read; empty when it could.
    error: String,
}

/// What is known of one file.
#[derive(Debug, Default)]
struct Document {
    /// When it was last read whole, if that was long enough after its last change.
    traces: Option<Traces>,
    /// Its last good content.
    nodes: Option<Nodes>,
    /// Why that is not its content now; empty when it is.
    error: String,
}

/// Distinguishes a changed file from an unchanged one without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Traces([i64; 7]);

impl Traces {
    #[expect(clippy::cast_possible_wrap, reason = "compared, never counted with")]
    fn of(file: &Metadata) -> Self {
        Self([
            file.dev() as i64,
            file.ino() as i64,
            file.size() as i64,
            file.mtime(),
            file.mtime_nsec(),
            file.ctime(),
            file.ctime_nsec(),
        ])
    }
}

impl Files {
    fn look(&mut self, path: &Path) {
        match list(path) {
            Ok(found) => {
                self.files.retain(|name, _| found.contains_key(name));
                for (name, path) in found {
                    let document = self.files.entry(name.clone()).or_default();
                    document.look(&name, &path, unix_millis());
                }
                self.error.clear();
            }
            Err(error) => self.error = error.to_string(),
        }
    }

    fn read_result(&self, path: &Path) -> ReadResult {
        let mut errors = Vec::new();
        if !self.error.is_empty() {
            errors.push(format!("{}: {}", path.display(), self.error));
        }
        let bad = self.files.iter().filter(|(_, file)| !file.error.is_empty());
        errors.extend(bad.map(|(name, file)| format!("{name}: {}", file.error)));
        let is_known = self.error.is_empty() && self.files.is_empty() || self.files.values().any(|f| f.nodes.is_some());
        let nodes = self.files.values().filter_map(|file| file.nodes.as_ref()).flatten();
        ReadResult {
            nodes: is_known.then(|| nodes.map(|(name, data)| (name.clone(), data.clone())).collect()),
            error: errors.join("; "),
        }
    }
}

impl Document {
    fn look(&mut self, name: &str, path: &Path, now: u64) {
        match self.read(path, now) {
            Ok(None) => {}
            Ok(Some(text)) => match document::nodes(name, &text) {
                Ok(nodes) => {
                    self.nodes = Some(nodes);
                    self.error.clear();
                }
                Err(error) => self.error = error,
            },
            Err(error) => {
                self.traces = None;
                self.error = error.to_string();
            }
        }
    }

    /// The text; `None` when it can only be the same.
    fn read(&mut self, path: &Path, now: u64) -> io::Result<Option<String>> {
        let metadata = fs::metadata(path)?;
        let traces = Traces::of(&metadata);
        if self.traces == Some(traces) {
            return Ok(None);
        }
        if metadata.len() > MAX_BYTES {
            return Err(io::Error::other(format!("more than {MAX_BYTES} bytes")));
        }
        // A pipe would never end.
        if !metadata.is_file() {
            return Err(io::Error::other("not a plain file"));
        }
        let text = fs::read_to_string(path)?;
        // The change time is the kernel's own; the modification time is copied with a file.
        let changed = u64::try_from(metadata.ctime())
            .unwrap_or_default()
            .saturating_mul(1_000);
        let is_settled = now.saturating_sub(changed) > SETTLED_MILLIS && Traces::of(&fs::metadata(path)?) == traces;
        self.traces = is_settled.then_some(traces);
        Ok(Some(text))
    }
}

/// The documents at `path`, by name: itself, or what is in the directory that it is.
fn list(path: &Path) -> io::Result<BTreeMap<String, PathBuf>> {
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if !fs::metadata(path)?.is_dir() {
        return Ok(BTreeMap::from([(name(path), path.to_owned())]));
    }
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        let is_document = path
            .extension()
            .is_some_and(|extension| ["json", "yaml", "yml"].iter().any(|known| extension == *known));
        let name = name(&path);
        if is_document && !name.starts_with('.') {
            found.insert(name, path);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
