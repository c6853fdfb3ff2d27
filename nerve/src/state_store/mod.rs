//! The state that nerve keeps over its own restarts: the operator's overrides and the warm-up progress of each service.
//!
//! Services save their record ([`StateStore::save`]) without waiting; one task writes the latest to one file in `stateDir`,
//! atomically, and only when it changed. A file that is missing, broken or old is no obstacle: nerve starts without it and
//! logs that. Without a `stateDir` nothing outlives the process.

mod file;
mod task;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::lifecycle::warmup::WarmUpProgress;
use crate::overrides::PersistedOverrides;

pub use task::{OpenError, StateStoreTask, open};

/// The timeout after which a command no longer waits for the disk.
const SAVE_TIMEOUT: Duration = Duration::from_secs(2);

/// The record of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceRecord {
    /// The operator's overrides.
    #[serde(default)]
    pub words: PersistedOverrides,
    /// The warm-up progress; its name in the file is that of earlier releases.
    #[serde(rename = "warmth", default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<WarmUpProgress>,
}

type Services = BTreeMap<String, ServiceRecord>;

/// The handle of the stored state.
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
    /// Returns a store that ends with the process.
    pub fn in_memory() -> Self {
        Self {
            state: Arc::new(watch::Sender::default()),
            written: None,
        }
    }

    /// Whether the state outlives the process.
    pub fn is_persistent(&self) -> bool {
        self.written.is_some()
    }

    /// Returns the record of a service.
    pub fn load(&self, service: &str) -> ServiceRecord {
        self.state.borrow().services.get(service).cloned().unwrap_or_default()
    }

    /// Saves the record of a service, unless only the time within a step of its warm-up changed.
    pub fn save(&self, service: &str, record: &ServiceRecord) {
        self.state.send_if_modified(|state| {
            let empty = ServiceRecord::default();
            let before = state.services.get(service).unwrap_or(&empty);
            let step = |record: &ServiceRecord| record.progress.map(|progress| progress.step);
            if before.words == record.words && step(before) == step(record) {
                return false;
            }
            state.version += 1;
            if *record == empty {
                state.services.remove(service);
            } else {
                state.services.insert(service.to_owned(), record.clone());
            }
            true
        });
    }

    /// Waits until everything saved so far is on disk, at most `SAVE_TIMEOUT`; returns whether it is.
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
