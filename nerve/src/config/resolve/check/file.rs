//! The keys of `file`.

use std::path::PathBuf;
use std::time::Duration;

use common::config::Section;

use crate::config::CheckKind;

/// A file that is there, and fresh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileConfig {
    /// Which.
    pub path: PathBuf,
    /// How long ago it may have been written; any time when `None`.
    pub max_age: Option<Duration>,
}

pub(super) fn read(section: &mut Section<'_>, _host: Option<&str>, _port: u16) -> Option<CheckKind> {
    let max_age = section.duration("maxAge");
    let path = PathBuf::from(section.required_text("path")?);
    Some(CheckKind::File(FileConfig { path, max_age }))
}
