//! The locks on what the routers write. A router and the one that takes its place share one, for they are never at work
//! together; two daemons would fight.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use common::file::{FileError, Lock, lock};

/// The locks of this process.
#[derive(Debug, Default)]
pub struct Locks(BTreeMap<PathBuf, Weak<Lock>>);

impl Locks {
    /// The lock at `path`; `None` when another process has it.
    pub(crate) fn take(&mut self, path: &Path) -> Result<Option<Arc<Lock>>, FileError> {
        if let Some(ours) = self.0.get(path).and_then(Weak::upgrade) {
            return Ok(Some(ours));
        }
        let Some(new) = lock(path)?.map(Arc::new) else {
            return Ok(None);
        };
        self.0.insert(path.to_owned(), Arc::downgrade(&new));
        Ok(Some(new))
    }
}
