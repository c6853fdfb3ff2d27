//! Reads the state file at start and writes it from then on.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use common::file::{FileError, Lock, lock, write_atomic};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::file::{BadFile, decode, encode};
use super::{Services, State, StateStore};

/// The minimum interval between two writes.
const WRITE_INTERVAL: Duration = Duration::from_millis(200);
/// The delay of a retry after a failed write.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// The interval at which the file's modification time is updated as a heartbeat.
const TOUCH_INTERVAL: Duration = Duration::from_secs(30);
/// The maximum age of the heartbeat at which warm-up progress is used: a restart of nerve, not of the machine.
const MAX_PROGRESS_AGE: Duration = Duration::from_mins(5);

const STATE: &str = "nerve.state.json";
const LOCK: &str = "nerve.lock";

/// The reason that the directory can't be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory or its lock can't be created.
    #[error(transparent)]
    File(#[from] FileError),
    /// Another nerve holds the lock.
    #[error("another nerve uses {}", .0.display())]
    Taken(PathBuf),
}

/// The task that writes the file.
#[derive(Debug)]
pub struct StateStoreTask {
    path: PathBuf,
    state: watch::Receiver<State>,
    written: watch::Sender<u64>,
    failure: Option<String>,
    _lock: Lock,
}

/// Opens the state in `directory`, without records of other services than `services`; the task writes it.
pub fn open<'s>(
    directory: &Path,
    services: impl Iterator<Item = &'s str>,
) -> Result<(StateStore, StateStoreTask), OpenError> {
    let created = DirBuilder::new().recursive(true).mode(0o700).create(directory);
    created.map_err(|source| FileError {
        action: "create",
        path: directory.to_owned(),
        source,
    })?;
    let lock = lock(&directory.join(LOCK))?.ok_or_else(|| OpenError::Taken(directory.to_owned()))?;
    let path = directory.join(STATE);
    let mut records = read(&path);
    let services = services.filter_map(|name| records.remove_entry(name)).collect();
    let state = watch::Sender::new(State { version: 0, services });
    let written = watch::Sender::new(0);
    let task = StateStoreTask {
        path,
        state: state.subscribe(),
        written: written.clone(),
        failure: None,
        _lock: lock,
    };
    let state_store = StateStore {
        state: state.into(),
        written: Some(written.subscribe()),
    };
    Ok((state_store, task))
}

/// Reads the file; returns no records when that fails.
fn read(path: &Path) -> Services {
    let file = path.display();
    let mut services = match std::fs::read(path)
        .map_err(BadFile::from)
        .and_then(|bytes| decode(&bytes))
    {
        Ok(services) => services,
        Err(BadFile::Read(error)) if error.kind() == io::ErrorKind::NotFound => {
            tracing::info!(%file, "No persisted state; starting without.");
            return Services::new();
        }
        Err(error) => {
            tracing::warn!(%file, %error, "Persisted state is unusable; starting without.");
            return Services::new();
        }
    };
    if !is_fresh(path) {
        tracing::info!(%file, "Persisted warm-up progress is too old; services warm up from the beginning.");
        for record in services.values_mut() {
            record.progress = None;
        }
    }
    services
}

fn is_fresh(path: &Path) -> bool {
    let modified = std::fs::metadata(path).and_then(|metadata| metadata.modified());
    modified.is_ok_and(|modified| now().duration_since(modified).unwrap_or_default() <= MAX_PROGRESS_AGE)
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(common::clock::unix_millis())
}

impl StateStoreTask {
    /// Writes changes until `stop`, and then the last of them.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let stopping = tokio::select! {
                biased;
                () = stop.cancelled() => true,
                changed = self.state.changed() => changed.is_err(),
                () = sleep(TOUCH_INTERVAL) => {
                    self.touch().await;
                    continue;
                }
            };
            let written = self.write().await;
            if stopping {
                return stop.cancelled().await;
            }
            let pause = if written {
                WRITE_INTERVAL
            } else {
                self.state.mark_changed();
                RETRY_DELAY
            };
            stop.run_until_cancelled(sleep(pause)).await;
        }
    }

    async fn write(&mut self) -> bool {
        let State { version, services } = self.state.borrow_and_update().clone();
        let failure = self.replace(&services).await.err();
        if failure != self.failure {
            if let Some(error) = &failure {
                tracing::error!(%error, "State can't be written; a restart would lose it.");
            } else {
                tracing::info!("State is written again.");
            }
        }
        self.failure = failure;
        let written = self.failure.is_none();
        if written {
            self.written.send_replace(version);
        }
        written
    }

    async fn replace(&self, services: &Services) -> Result<(), String> {
        // Not on the pool, where each thread would retain as much memory.
        let bytes = encode(services).map_err(|error| error.to_string())?;
        let path = self.path.clone();
        let writing = tokio::task::spawn_blocking(move || write_atomic(&path, &bytes, 0o600));
        let written = writing.await.map_err(|error| error.to_string())?;
        written.map(drop).map_err(|error| error.to_string())
    }

    /// Updates the file's modification time. A failure only makes the next nerve restart its warm-ups.
    async fn touch(&self) {
        let path = self.path.clone();
        let touching = tokio::task::spawn_blocking(move || File::options().write(true).open(path)?.set_modified(now()));
        if let Ok(Err(error)) = touching.await {
            tracing::debug!(%error, "The state file's modification time can't be updated.");
        }
    }
}
