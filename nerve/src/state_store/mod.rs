//! What nerve remembers over its own restarts: the operators' words and how far each service has warmed up.
//!
//! Services say what is to be kept ([`StateStore::keep`]) and go on; one task writes the latest of it to one file in
//! `stateDir`, whole or not at all, and only when it changed. A file that is missing, broken or old is no obstacle: nerve
//! starts afresh and says so. Without a `stateDir` nothing outlives the process.

mod file;
mod task;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::lifecycle::warmup::WarmUpProgress;
use crate::overrides::persisted::PersistedOverrides;

pub use task::{OpenError, StateStoreTask, open};

/// How long an operator's call waits for the disk.
const SAVE_TIMEOUT: Duration = Duration::from_secs(2);

/// What is kept of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceRecord {
    /// The operators' words.
    #[serde(default)]
    pub words: PersistedOverrides,
    /// How warm it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<WarmUpProgress>,
}

type Services = BTreeMap<String, ServiceRecord>;

/// The daemon's state_store.
#[derive(Debug, Clone)]
pub struct StateStore {
    state: Arc<watch::Sender<State>>,
    /// The version that is on disk; `None` when nothing is written.
    written: Option<watch::Receiver<u64>>,
}

#[derive(Debug, Clone, Default)]
struct State {
    /// Grows with every change.
    version: u64,
    services: Services,
}

impl StateStore {
    /// One that ends with the process.
    pub fn in_memory() -> Self {
        Self {
            state: Arc::new(watch::Sender::default()),
            written: None,
        }
    }

    /// Whether it outlives the process.
    pub fn is_persistent(&self) -> bool {
        self.written.is_some()
    }

    /// What was kept of a service.
    pub fn load(&self, service: &str) -> ServiceRecord {
        self.state.borrow().services.get(service).cloned().unwrap_or_default()
    }

    /// Keeps `kept` of a service; the time within a step of its warm-up alone is no change.
    pub fn keep(&self, service: &str, kept: &ServiceRecord) {
        self.state.send_if_modified(|state| {
            let before = state.services.get(service);
            let step = |kept: &ServiceRecord| kept.progress.map(|progress| progress.step);
            let nothing = ServiceRecord::default();
            let before = before.unwrap_or(&nothing);
            if before.words == kept.words && step(before) == step(kept) {
                return false;
            }
            state.version += 1;
            if *kept == nothing {
                state.services.remove(service);
            } else {
                state.services.insert(service.to_owned(), kept.clone());
            }
            true
        });
    }

    /// Waits until all that was kept so far is on disk, for two seconds at most; says whether it is.
    pub async fn is_written(&self) -> bool {
        let Some(mut written) = self.written.clone() else {
            return false;
        };
        let version = self.state.borrow().version;
        let waiting = written.wait_for(|written| *written >= version);
        matches!(timeout(SAVE_TIMEOUT, waiting).await, Ok(Ok(_)))
    }
}

#[cfg(test)]
mod tests;
