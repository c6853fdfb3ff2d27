//! The keys of `zookeeper`.

use common::config::Section;
use common::tls::TlsOptions;

use super::login::LoginConfig;
use crate::config::CheckKind;
use crate::config::conditions::Conditions;

/// Whether it is well, or its statistics.
#[derive(Debug, Clone, PartialEq)]
pub struct ZookeeperCheckConfig {
    /// TLS alone: its commands know no login.
    pub login: LoginConfig,
    /// Conditions on its statistics.
    pub expect: Conditions,
}

pub(super) fn read(section: &mut Section<'_>, _host: Option<&str>, _port: u16) -> Option<CheckKind> {
    let login = LoginConfig {
        tls: TlsOptions::of(section, "tls"),
        ..LoginConfig::default()
    };
    let expect = expect(section)?;
    Some(CheckKind::Zookeeper(ZookeeperCheckConfig { login, expect }))
}

/// `expect`: conditions by the name of a statistic.
pub(super) fn expect(section: &mut Section<'_>) -> Option<Conditions> {
    Conditions::parse(section.text_map("expect"))
        .map_err(|name| {
            section.problem(
                "expect",
                format!("`{}` has no condition that makes sense", name.escape_debug()),
                "a value, several (`leader|follower`), what it must not be (`!read-only`), or a bound (`< 100`, `<=`, `>`, `>=`)",
            );
        })
        .ok()
}
