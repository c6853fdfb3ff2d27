//! Reads the state file at the start and writes it from then on.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use common::file::{FileError, Lock, lock, write_atomic};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::file::{decode, encode};
use super::{Services, State, StateStore};

/// At most so often the file is written.
const PAUSE: Duration = Duration::from_millis(200);
/// How long after a failure writing is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How often the file's time is brought forward, which says that nerve lives.
const TOUCH: Duration = Duration::from_secs(30);
/// How long after its last sign of life the progress of a service is believed: a restart of nerve, not of the machine.
const FRESH: Duration = Duration::from_mins(5);

const STATE: &str = "nerve.state.json";
const LOCK: &str = "nerve.lock";

/// The directory can't be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It can't be made.
    #[error("cannot make {}: {source}", directory.display())]
    Directory {
        /// Which.
        directory: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// The lock can't be taken.
    #[error(transparent)]
    Lock(#[from] FileError),
    /// Another nerve has it.
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

/// The state_store in `directory`, as far as it is of `services`, and the task that keeps it.
pub fn open<'s>(
    directory: &Path,
    services: impl Iterator<Item = &'s str>,
) -> Result<(StateStore, StateStoreTask), OpenError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(|source| OpenError::Directory {
        directory: directory.to_owned(),
        source,
    })?;
    let lock = lock(&directory.join(LOCK))?.ok_or_else(|| OpenError::Taken(directory.to_owned()))?;
    let path = directory.join(STATE);
    let mut remembered = read(&path);
    let services = services.filter_map(|name| remembered.remove_entry(name)).collect();
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

/// What the file kind; nothing when it can't be read.
fn read(path: &Path) -> Services {
    let file = path.display();
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            tracing::info!(%file, "There is no state of an earlier nerve; starting afresh.");
            return Services::new();
        }
        Err(error) => {
            tracing::warn!(%file, %error, "The state of the earlier nerve can't be read; starting afresh.");
            return Services::new();
        }
    };
    let mut services = decode(&bytes).unwrap_or_else(|error| {
        tracing::warn!(%file, %error, "The state of the earlier nerve is broken; starting afresh.");
        Services::new()
    });
    if !is_fresh(path) {
        tracing::info!(%file, "The earlier nerve is long gone: services warm up from the beginning.");
        for kept in services.values_mut() {
            kept.progress = None;
        }
    }
    services
}

fn is_fresh(path: &Path) -> bool {
    let modified = std::fs::metadata(path).and_then(|metadata| metadata.modified());
    modified.is_ok_and(|modified| now().duration_since(modified).unwrap_or_default() <= FRESH)
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(common::clock::unix_millis())
}

impl StateStoreTask {
    /// Writes what changes until `stop`, and then what is left.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let stopping = tokio::select! {
                biased;
                () = stop.cancelled() => true,
                changed = self.state.changed() => changed.is_err(),
                () = sleep(TOUCH) => {
                    self.touch().await;
                    continue;
                }
            };
            let written = self.write().await;
            if stopping {
                return stop.cancelled().await;
            }
            let pause = if written {
                PAUSE
            } else {
                self.state.mark_changed();
                RETRY
            };
            stop.run_until_cancelled(sleep(pause)).await;
        }
    }

    async fn write(&mut self) -> bool {
        let State { version, services } = self.state.borrow_and_update().clone();
        let failure = self.replace(&services).await.err();
        if failure != self.failure {
            if let Some(error) = &failure {
                tracing::error!(%error, "The state can't be written: a restart would not know of it.");
            } else {
                tracing::info!("The state is written again.");
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
        // Here and not on the pool, where each thread would come to keep as much state_store.
        let bytes = encode(services).map_err(|error| error.to_string())?;
        let path = self.path.clone();
        let writing = tokio::task::spawn_blocking(move || write_atomic(&path, &bytes, 0o600));
        let written = writing.await.map_err(|error| error.to_string())?;
        written.map(drop).map_err(|error| error.to_string())
    }

    /// Brings the file's time forward. Its failure only makes the next nerve start its warm-ups from the beginning.
    async fn touch(&self) {
        let path = self.path.clone();
        let touching = tokio::task::spawn_blocking(move || File::options().write(true).open(path)?.set_modified(now()));
        if let Ok(Err(error)) = touching.await {
            tracing::debug!(%error, "The state's time can't be brought forward.");
        }
    }
}
