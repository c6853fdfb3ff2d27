//! The keys of `noop`: none of its own.

use common::config::Section;

use crate::config::CheckKind;

#[expect(clippy::unnecessary_wraps, reason = "the shape of all readers")]
pub(super) fn read(_section: &mut Section<'_>, _host: Option<&str>, _port: u16) -> Option<CheckKind> {
    Some(CheckKind::Noop)
}
