//! A report file, meant for others to read (0644).

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

const MODE: u32 = 0o644;

pub(super) fn prepare(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    open(path).map(drop)
}

/// Replaces the file whole, or adds to it. What is no regular file (a pipe, `/dev/stderr`) is written as it is.
pub(super) fn write(path: &Path, append: bool, bytes: &[u8]) -> io::Result<()> {
    let special = std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file());
    if append || special {
        return open(path)?.write_all(bytes);
    }
    common::file::write_atomic(path, bytes, MODE)
        .map(drop)
        .map_err(io::Error::other)
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(MODE).open(path)
}
