//! Writes one JSON file for each service, as Airbnb's synapse does: for applications that read their backends themselves.
//!
//! A file is replaced whole, and only when it changes, so that a watch on it wakes its readers for a change alone. Files of
//! services that are gone are removed: the directory's manifest lists the files that are ours, and nothing else is touched
//! unless `purgeUnknown` is set. A service whose source has not answered keeps its file.

mod content;

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::exit::Fatal;
use common::file::{Lock, Written, write_atomic};
use common::ready::Latch;
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use crate::config::{FileOutputConfig, PaceConfig};
use crate::desired::Desired;

use super::Locks;
use super::applier::{Applied, Applier, ApplierTask, Target};
use content::{backends, file_name, service_of, stale};

/// The files are for every application of the machine, as Airbnb's are.
const MODE: u32 = 0o644;
/// Names the files that are ours, one a line. Its name hides it from readers of `*.json`.
const MANIFEST: &str = ".synapse-files";
/// Two routers of one directory would remove each other's files.
const LOCK: &str = ".synapse.lock";

/// A directory of files.
#[derive(Debug)]
pub struct FileOutput {
    config: Arc<FileOutputConfig>,
    _lock: Arc<Lock>,
}

/// Makes the directory and takes it for this router.
pub fn build(
    config: FileOutputConfig,
    pace: PaceConfig,
    desired: watch::Receiver<Arc<Desired>>,
    first_write: Latch,
    locks: &mut Locks,
) -> Result<(Applier, ApplierTask<FileOutput>), Fatal> {
    let directory = &config.directory;
    std::fs::create_dir_all(directory).map_err(|error| {
        Fatal::config(format!(
            "outputDirectory: cannot create {}: {error}",
            directory.display()
        ))
    })?;
    let lock = match locks.take(&directory.join(LOCK)) {
        Ok(Some(lock)) => lock,
        Ok(None) => {
            return Err(Fatal::config(format!(
                "outputDirectory: another synapse keeps {}. Stop it, or give this router another directory.",
                directory.display()
            )));
        }
        Err(error) => return Err(Fatal::config(format!("outputDirectory: {error}"))),
    };
    let look_every = Some(config.reconcile_interval);
    let target = FileOutput {
        config: Arc::new(config),
        _lock: lock,
    };
    Ok(Applier::new(target, desired, pace, look_every, first_write))
}

impl Target for FileOutput {
    async fn apply(&mut self, desired: &Arc<Desired>) -> Result<Applied, String> {
        let (config, desired) = (Arc::clone(&self.config), Arc::clone(desired));
        let changed = spawn_blocking(move || apply(&config, &desired)).await;
        let changed = changed.unwrap_or_else(|error| Err(error.to_string()))?;
        Ok(if changed { Applied::Changed } else { Applied::Unchanged })
    }
}

/// The files as they would be written for `desired`, by their paths; writes nothing.
pub fn render(config: &FileOutputConfig, desired: &Desired) -> BTreeMap<PathBuf, String> {
    let files = contents(config, desired).into_iter().map(|(service, bytes)| {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        (config.directory.join(file_name(service)), text)
    });
    files.collect()
}

/// The content of each known service's file.
fn contents<'c>(config: &'c FileOutputConfig, desired: &Desired) -> BTreeMap<&'c str, Vec<u8>> {
    let known = desired.services.iter().filter_map(|service| {
        let name = config.files.get(&service.id)?.as_str();
        Some((name, backends(service.servers.as_ref()?)))
    });
    known.collect()
}

/// Makes the directory what it should be, as far as it goes: one file that can't be written keeps no other from it. Whether
/// anything changed.
fn apply(config: &FileOutputConfig, desired: &Desired) -> Result<bool, String> {
    let directory = &config.directory;
    let cannot = |error| format!("cannot create {}: {error}", directory.display());
    std::fs::create_dir_all(directory).map_err(cannot)?;
    let mut manifest = Manifest::read(directory)?;
    let wanted = contents(config, desired);
    // Before the files themselves: what we wrote is never taken for a stranger's, wherever this ends.
    manifest.add(wanted.keys().copied())?;

    let (mut changed, mut failures) = (false, Vec::new());
    for (service, bytes) in &wanted {
        match write_atomic(&directory.join(file_name(service)), bytes, MODE) {
            Ok(written) => changed |= written == Written::Changed,
            Err(error) => failures.push(error.to_string()),
        }
    }
    let present = if config.purge_unknown {
        services_with_files(directory)?
    } else {
        BTreeSet::new()
    };
    for service in stale(&config.files, &manifest.services, &present) {
        let path = directory.join(file_name(&service));
        match std::fs::remove_file(&path) {
            Ok(()) => {
                tracing::info!(file = %path.display(), "Removed the file of a service that is not configured.");
                changed = true;
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                failures.push(format!("cannot remove {}: {error}", path.display()));
                continue;
            }
        }
        manifest.forget(&service)?;
    }
    if failures.is_empty() {
        Ok(changed)
    } else {
        Err(failures.join("; "))
    }
}

/// The services that have a file in `directory`, regardless of the program that wrote it.
fn services_with_files(directory: &Path) -> Result<BTreeSet<String>, String> {
    let entries = std::fs::read_dir(directory).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let entries = entries.map_err(|error| format!("cannot list {}: {error}", directory.display()))?;
    let names = entries.iter().map(std::fs::DirEntry::file_name);
    Ok(names.filter_map(|name| service_of(name.to_str()?)).collect())
}

/// The services whose files are ours.
#[derive(Debug)]
struct Manifest {
    path: PathBuf,
    services: BTreeSet<String>,
}

impl Manifest {
    fn read(directory: &Path) -> Result<Self, String> {
        let path = directory.join(MANIFEST);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
        };
        let services = text.lines().filter_map(service_of).collect();
        Ok(Self { path, services })
    }

    fn add<'s>(&mut self, services: impl Iterator<Item = &'s str>) -> Result<(), String> {
        self.services.extend(services.map(str::to_owned));
        self.write()
    }

    fn forget(&mut self, service: &str) -> Result<(), String> {
        self.services.remove(service);
        self.write()
    }

    fn write(&self) -> Result<(), String> {
        let lines: String = self.services.iter().map(|service| file_name(service) + "\n").collect();
        let written = write_atomic(&self.path, lines.as_bytes(), 0o600);
        written.map(drop).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests;
