//! Files that are either complete or absent.

#[cfg(test)]
mod tests;

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{Error, ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// What a write did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// The file has the new bytes.
    Changed,
    /// It already had them; nothing was touched.
    Unchanged,
}

/// A file operation that failed, on which path and in which step.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}", path.display())]
pub struct FileError {
    /// `create`, `write`, `rename`...
    pub action: &'static str,
    /// The file.
    pub path: PathBuf,
    /// The cause.
    pub source: Error,
}

/// Returns `path` with `suffix` at the end of its name.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Replaces `path` by `bytes` so that a reader, or a crash at any point, sees the old file or the new one: temporary
/// file in the same directory, fsync, rename, fsync of the directory. Equal bytes and mode touch nothing.
/// `mode` is the file's permission bits (0o600 for everything that is not meant for others), regardless of the umask.
/// A symbolic link is replaced, not followed.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> Result<Written, FileError> {
    if holds(path, bytes, mode) {
        return Ok(Written::Unchanged);
    }
    let Some(name) = path.file_name() else {
        return Err(failed("create", path)(Error::from(ErrorKind::InvalidInput)));
    };
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    // Random, because process ids repeat, in a container at every start, and a crash may have left a file.
    temporary.push(format!(".{:016x}.tmp", fastrand::u64(..)));
    let temporary = directory.join(temporary);
    let renamed = write_new(&temporary, bytes, mode)
        .and_then(|()| std::fs::rename(&temporary, path).map_err(|source| ("replace", source)));
    if let Err((action, source)) = renamed {
        // The first failure is reported.
        std::fs::remove_file(&temporary).ok();
        return Err(failed(action, path)(source));
    }
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(failed("sync the directory of", path))?;
    Ok(Written::Changed)
}

/// Whether `path` is a plain file with these bytes and permission bits.
pub fn holds(path: &Path, bytes: &[u8], mode: u32) -> bool {
    let same = std::fs::symlink_metadata(path).is_ok_and(|metadata| {
        metadata.is_file() && metadata.len() == bytes.len() as u64 && metadata.permissions().mode() & 0o7777 == mode
    });
    same && std::fs::read(path).is_ok_and(|old| old == bytes)
}

/// Writes a new file; an error has the failed step, as a phrase that precedes the name of the file to be replaced.
fn write_new(temporary: &Path, bytes: &[u8], mode: u32) -> Result<(), (&'static str, Error)> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(temporary)
        .map_err(|source| ("create a temporary file beside", source))?;
    // The umask may have taken bits away.
    file.set_permissions(Permissions::from_mode(mode))
        .map_err(|source| ("set the mode of", source))?;
    file.write_all(bytes).map_err(|source| ("write", source))?;
    file.sync_all().map_err(|source| ("sync", source))
}

/// An exclusive lock on a file, held as long as the value lives (and dropped by the kernel with the process).
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Locks `path`, creating it (0600) when absent. `Ok(None)`: another process holds it.
pub fn lock(path: &Path) -> Result<Option<Lock>, FileError> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(failed("open", path))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(Lock { _file: file })),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(source)) => Err(failed("lock", path)(source)),
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(Error) -> FileError {
    let path = path.to_owned();
    move |source| FileError { action, path, source }
}
