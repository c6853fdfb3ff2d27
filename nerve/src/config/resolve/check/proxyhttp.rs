//! The keys of `proxyhttp`.

use common::config::{Secret, Section};
use common::tls::TlsOptions;
use http::Uri;

use crate::config::{CheckKind, StatusSet};

/// URLs through an HTTP proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyHttpConfig {
    /// The proxy.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The user at the proxy.
    pub username: Option<String>,
    /// The user's password.
    pub password: Option<Secret>,
    /// What is fetched; never empty.
    pub urls: Vec<Uri>,
    /// Whether each must be reached; otherwise one is enough.
    pub fail_on_any: bool,
    /// The status codes of an answer that counts.
    pub expected: StatusSet,
    /// How `https` URLs are fetched.
    pub tls: TlsOptions,
}

pub(super) fn read(section: &mut Section<'_>, host: Option<&str>, default_port: u16) -> Option<CheckKind> {
    let host = match section.text("proxyHost").filter(|host| !host.is_empty()) {
        Some(host) => super::super::host(section, "proxyHost", host),
        None => host.map(str::to_owned),
    };
    let port = section.integer("proxyPort", 1..=65535);
    let port = port.and_then(|port| u16::try_from(port).ok()).unwrap_or(default_port);
    let username = section.text("proxyUsername").filter(|user| !user.is_empty());
    let password = section.secret("proxyPassword");
    if password.is_some() && username.is_none() {
        section.problem(
            "proxyUsername",
            "is missing",
            "the user whose password `proxyPassword` is",
        );
    }
    let texts = section.texts("urls");
    let urls: Vec<_> = texts.iter().filter_map(|url| absolute(section, url)).collect();
    if texts.is_empty() {
        section.problem(
            "urls",
            "is missing",
            "what to fetch through the proxy, e.g. `[http://example.org/]`",
        );
    }
    let fail_on_any = section.flag_or("failOnAnyUnreachable", false);
    let expected = super::http::status_set(section, "not-5xx");
    let tls = TlsOptions::of(section, "tls").unwrap_or_default();
    if tls.server_name.is_some() {
        section.problem(
            "tls",
            "has a `serverName`, and each URL has its own",
            "URLs with the names that are in the certificates",
        );
    }
    Some(CheckKind::ProxyHttp(ProxyHttpConfig {
        host: host?,
        port,
        username,
        password,
        urls,
        fail_on_any,
        expected: expected?,
        tls,
    }))
}

/// `http://` is the default scheme.
fn absolute(section: &mut Section<'_>, url: &str) -> Option<Uri> {
    let (http, https) = (url.starts_with("http://"), url.starts_with("https://"));
    let scheme = if http || https { "" } else { "http://" };
    let uri = Uri::try_from(format!("{scheme}{url}")).ok();
    // Credentials in a URL would be shown.
    let uri = uri.filter(|uri| {
        uri.authority()
            .is_some_and(|authority| !authority.as_str().contains('@'))
    });
    if uri.is_none() {
        section.problem(
            "urls",
            "has an entry that is no URL, or one with a password",
            "e.g. `http://example.org/`",
        );
    }
    uri
}
