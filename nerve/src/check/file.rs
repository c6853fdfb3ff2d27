//! A file that is there, and fresh.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::config::FileConfig;
use crate::health::verdict::{Failure, FailureKind};

#[derive(Debug)]
pub(super) struct FileProbe {
    config: FileConfig,
    /// One look at a time: on a file system that hangs they would pile up, each with a thread.
    looking: Arc<Semaphore>,
}

impl FileProbe {
    pub(super) fn new(config: &FileConfig) -> Self {
        Self {
            config: config.clone(),
            looking: Arc::new(Semaphore::new(1)),
        }
    }

    pub(super) async fn probe(&self) -> Result<String, Failure> {
        let broken = |text: String| Failure::new(FailureKind::Program, text);
        let Ok(permit) = Arc::clone(&self.looking).try_acquire_owned() else {
            return Err(broken("the file system has not answered the last look yet".to_owned()));
        };
        let path = self.config.path.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let _held = permit;
            written(&path)
        });
        let written = looked.await.map_err(|error| broken(error.to_string()))?;
        let written = written.map_err(|error| Failure::new(FailureKind::Answer, error.to_string()))?;
        let age = Duration::from_millis(common::clock::unix_millis().saturating_sub(written));
        judge(age, self.config.max_age).map_err(|text| Failure::new(FailureKind::Answer, text))
    }
}

/// When it was last written, milliseconds since the Unix epoch.
fn written(path: &Path) -> std::io::Result<u64> {
    let modified = std::fs::metadata(path)?.modified()?;
    let since = modified.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Ok(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

fn judge(age: Duration, max_age: Option<Duration>) -> Result<String, String> {
    let seconds = Duration::from_secs(age.as_secs());
    match max_age {
        Some(max_age) if age > max_age => Err(format!("was written {seconds:?} ago, more than {max_age:?}")),
        _ => Ok(format!("was written {seconds:?} ago")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_fresh_up_to_its_age() {
        let minute = Duration::from_mins(1);
        assert!(judge(minute, Some(minute)).is_ok());
        assert!(judge(minute + Duration::from_millis(1), Some(minute)).is_err());
        assert!(judge(minute, None).is_ok());
    }
}
