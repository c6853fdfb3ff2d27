//! A Unix socket that only its owner may open, and whose file is removed with it.

use std::fs::Permissions;
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixSocket, UnixStream};

/// Greatest number of connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// The socket's file, removed on drop unless something else is at its path by then.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
}

/// Listens at `path`, mode 0600. Replaces a socket left behind by a crash, but no live socket and no other file.
pub(super) async fn bind(path: &Path) -> Result<(UnixListener, SocketFile)> {
    match UnixStream::connect(path).await {
        Ok(_) => return Err(in_use()),
        Err(error) => match error.kind() {
            ErrorKind::NotFound => {}
            // The kernel returns this for a file that is no socket, too.
            ErrorKind::ConnectionRefused if is_socket(path)? => std::fs::remove_file(path)?,
            ErrorKind::ConnectionRefused => {
                let what = "something that is no socket is there";
                return Err(Error::new(ErrorKind::AlreadyExists, what));
            }
            // A full queue belongs to a live process.
            ErrorKind::WouldBlock => return Err(in_use()),
            _ => return Err(error),
        },
    }
    let socket = UnixSocket::new_stream()?;
    socket.bind(path)?;
    let file = SocketFile {
        path: path.to_owned(),
        identity: identity(path)?,
    };
    // No client can connect before `listen`, so the mode is set in time.
    std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok((socket.listen(BACKLOG)?, file))
}

fn in_use() -> Error {
    Error::new(ErrorKind::AddrInUse, "another process serves there")
}

fn is_socket(path: &Path) -> Result<bool> {
    Ok(std::fs::symlink_metadata(path)?.file_type().is_socket())
}

fn identity(path: &Path) -> Result<(u64, u64)> {
    let metadata = std::fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|now| now == self.identity) {
            // The next start replaces a socket that remains.
            std::fs::remove_file(&self.path).ok();
        }
    }
}
