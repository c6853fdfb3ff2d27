//! The keys of `memcached`.

use common::config::Section;

use super::login::{self, LoginConfig};
use super::zookeeper::expect;
use crate::config::CheckKind;
use crate::config::conditions::Conditions;

/// The version, or statistics.
#[derive(Debug, Clone, PartialEq)]
pub struct MemcachedConfig {
    /// Credentials.
    pub login: LoginConfig,
    /// Conditions on its statistics.
    pub expect: Conditions,
}

pub(super) fn read(section: &mut Section<'_>, _host: Option<&str>, _port: u16) -> Option<CheckKind> {
    let login = login::read(section);
    if login.password.is_some() && login.username.is_empty() {
        section.problem(
            "username",
            "is missing",
            "memcached stores a password under its user name",
        );
    }
    let expect = expect(section)?;
    Some(CheckKind::Memcached(MemcachedConfig { login, expect }))
}
