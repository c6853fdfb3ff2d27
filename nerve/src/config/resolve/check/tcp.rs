//! The keys of `tcp`.

use common::config::Section;

use crate::config::CheckKind;

/// A connection.
#[derive(Debug, Clone)]
pub struct TcpConfig;

#[expect(clippy::unnecessary_wraps, reason = "the shape of all readers")]
pub(super) fn read(_section: &mut Section<'_>, _host: Option<&str>, _port: u16) -> Option<CheckKind> {
    Some(CheckKind::Tcp(TcpConfig))
}
