//! A service's own lines in HAProxy: `routerOptions`, and `haproxy`, which has keys for the most frequent of them.

use std::path::Path;

use common::config::Section;

use super::lines::{self, words};
use super::router_context::RouterContext;
use crate::config::{CookieValue, ServiceHaproxy};

/// What the sections of a service are made of.
#[derive(Debug, Default)]
pub(super) struct SectionLines {
    pub(super) frontend: Vec<String>,
    pub(super) backend: Vec<String>,
    /// What they are called, when that is chosen.
    pub(super) backend_name: Option<String>,
}

impl RouterContext {
    /// `routerOptions`.
    pub(super) fn router_options(&self, section: &mut Section<'_>) -> SectionLines {
        let Some(mut options) = section.section("routerOptions", "routerOptions") else {
            return SectionLines::default();
        };
        SectionLines {
            frontend: self.service_lines(&mut options, "frontend"),
            backend: self.service_lines(&mut options, "backend"),
            backend_name: None,
        }
    }

    /// `haproxy`: what can be lines goes before those of `own`.
    pub(super) fn service_haproxy(&self, section: &mut Section<'_>, own: &mut SectionLines) -> ServiceHaproxy {
        let Some(mut keys) = section.section("haproxy", "haproxy") else {
            return ServiceHaproxy::default();
        };
        let mode = keys.choice("mode", &[("http", "http"), ("tcp", "tcp")]);
        let mut front: Vec<String> = self.bind(&mut keys).into_iter().collect();
        if let Some(mode) = mode {
            if own
                .frontend
                .iter()
                .chain(&own.backend)
                .any(|line| words(line).next() == Some("mode"))
            {
                keys.problem(
                    "mode",
                    "`routerOptions` has a `mode` line as well",
                    "remove one of the two",
                );
            }
            let line = format!("mode {mode}");
            own.backend.insert(0, line.clone());
            // Without a line a service has no frontend.
            if !(front.is_empty() && own.frontend.is_empty()) {
                front.insert(0, line);
            }
        }
        own.frontend.splice(0..0, front);
        own.backend_name = keys.text("backendName").filter(|name| !name.is_empty());
        if let Some(name) = &own.backend_name {
            lines::check_name(&mut keys, "backendName", name);
        }
        let shared_frontend = self.service_lines(&mut keys, "sharedFrontend");
        if !shared_frontend.is_empty() && self.haproxy && !self.shared_frontend {
            keys.problem(
                "sharedFrontend",
                "the router has no shared frontend that these lines could go to",
                "add `sharedFrontend: ['mode http', 'bind 127.0.0.1:80']` to the router",
            );
        }
        let cookie = keys.choice(
            "cookieValue",
            &[("name", CookieValue::Name), ("hash", CookieValue::Hash)],
        );
        if cookie.is_some() && mode == Some("tcp") {
            keys.problem(
                "cookieValue",
                "cookies are HTTP's, and `mode` is `tcp`",
                "remove one of the two",
            );
        }
        ServiceHaproxy {
            cookie,
            shared_frontend,
            panic_threshold: None,
        }
    }

    /// The `bind` line of `port`, `bindAddress` and `bindOptions`; none for a service that has lines or only a backend.
    fn bind(&self, keys: &mut Section<'_>) -> Option<String> {
        let port = keys.integer("port", 1..=65535);
        let address = keys.text("bindAddress").filter(|address| !address.is_empty());
        let options = keys.text("bindOptions").unwrap_or_default();
        lines::check(keys, "bindOptions", std::slice::from_ref(&options));
        let place = match (port, address) {
            (Some(port), address) => {
                if let Some(host) = &address {
                    lines::bind_host(keys, "bindAddress", host);
                }
                let host = address.as_deref().unwrap_or(&self.bind_address);
                if host.contains(':') && !host.starts_with('[') {
                    format!("[{host}]:{port}")
                } else {
                    format!("{host}:{port}")
                }
            }
            (None, Some(path)) if path.starts_with('/') => {
                lines::socket_path(keys, "bindAddress", Path::new(&path), lines::HAPROXY_SOCKET_MAX);
                path
            }
            (None, Some(address)) => {
                keys.problem(
                    "bindAddress",
                    format!("`{address}` without a `port` is no place to listen at"),
                    "add `port`, or write the absolute path of a Unix socket",
                );
                return None;
            }
            (None, None) => {
                if !options.is_empty() {
                    keys.problem(
                        "bindOptions",
                        "there is no `port` and no `bindAddress` for these options",
                        "add one, or write the `bind` line in `routerOptions.frontend`",
                    );
                }
                return None;
            }
        };
        Some(format!("bind {place} {options}").trim_end().to_owned())
    }
}
