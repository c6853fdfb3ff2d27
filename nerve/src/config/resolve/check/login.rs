//! The keys of checks that log in.

use common::config::{Secret, Section};
use common::tls::TlsOptions;

/// Credentials, and whether TLS is used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoginConfig {
    /// Empty when the server has no user names.
    pub username: String,
    /// `None` when there is no login.
    pub password: Option<Secret>,
    /// `None` is plain text.
    pub tls: Option<TlsOptions>,
}

pub(super) fn read(section: &mut Section<'_>) -> LoginConfig {
    let username = section.text_or("username", "");
    let password = section.secret("password");
    if password.is_none() && !username.is_empty() {
        section.problem(
            "password",
            "is missing",
            "a text, `env:NAME` or `file:/PATH`; or leave `username` out",
        );
    }
    LoginConfig {
        username,
        password,
        tls: TlsOptions::of(section, "tls"),
    }
}
