//! The keys of `redis`.

use common::config::Section;

use super::login::{self, LoginConfig};
use crate::config::CheckKind;

/// A `PING`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisConfig {
    /// Credentials.
    pub login: LoginConfig,
    /// A key that must be there.
    pub key: Option<String>,
}

#[expect(clippy::unnecessary_wraps, reason = "the shape of all readers")]
pub(super) fn read(section: &mut Section<'_>, _host: Option<&str>, _port: u16) -> Option<CheckKind> {
    Some(CheckKind::Redis(RedisConfig {
        login: login::read(section),
        key: section.text("key").filter(|key| !key.is_empty()),
    }))
}
