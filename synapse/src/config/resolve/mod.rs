//! From the file's keys to [`Config`]: Go-Synapse's keys with its defaults, and ours beside them.
//!
//! Reading goes on after a problem, so that one run names them all; a value that could not be made is `None`, and with
//! it everything that holds it. Pure: the directory that relative paths start from is an argument.

mod haproxy;
mod lines;
mod service;
mod watcher;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use common::config::Section;
use common::http::Listen;

use super::{Config, DEFAULT_API, RouterConfig, RouterKind};
use service::Services;

/// What the whole file shares while it is read.
struct Reader<'p> {
    /// Where relative paths start.
    base: &'p Path,
    /// The number of the service that was read last: it is counted through the whole file.
    services: usize,
    /// The HAProxy files named so far: no two routers may write the same.
    config_paths: BTreeSet<PathBuf>,
}

/// `type` of a router.
#[derive(Debug, Clone, Copy)]
enum Type {
    Haproxy,
    Console,
}

/// Reads the whole file.
pub(super) fn root(section: &mut Section<'_>, base: &Path) -> Option<Config> {
    let mut reader = Reader {
        base,
        services: 0,
        config_paths: BTreeSet::new(),
    };
    let log_level = section.text_or("logLevel", "info");
    let log_json = section.choice_or("logFormat", "text", &[("text", false), ("json", true)]);
    let api = api(section, base);
    let shutdown_timeout = section.duration_or("shutdownTimeout", Duration::from_secs(10));
    let routers = section.sections("routers", "router");
    if routers.is_empty() {
        section.problem(
            "routers",
            "there is no router, so there is nothing to do",
            "name at least one: `routers: [{type: haproxy, …}]`",
        );
    }
    let routers: Vec<_> = routers.into_iter().map(|router| reader.router(router)).collect();
    Some(Config {
        log_level,
        log_json: log_json?,
        api: api?,
        shutdown_timeout,
        routers: routers.into_iter().collect::<Option<_>>()?,
        effective: Arc::default(),
    })
}

fn api(section: &mut Section<'_>, base: &Path) -> Option<Listen> {
    let by_address = section.has("apiHost") || section.has("apiPort");
    let host = section.text_or("apiHost", &DEFAULT_API.ip().to_string());
    let port = section.integer_or("apiPort", DEFAULT_API.port().into(), 1..=65535);
    if let Some(path) = section.text("apiSocket").filter(|path| !path.is_empty()) {
        if by_address {
            section.problem(
                "apiSocket",
                "the API listens either on a Unix socket or on an address",
                "remove `apiSocket`, or `apiHost` and `apiPort`",
            );
        }
        let path = base.join(path);
        lines::socket_path(section, "apiSocket", &path, lines::UNIX_PATH_MAX);
        return Some(Listen::Unix(path));
    }
    let literal = if host.eq_ignore_ascii_case("localhost") {
        Some(DEFAULT_API.ip())
    } else {
        host.trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<IpAddr>()
            .ok()
    };
    if literal.is_none() {
        section.problem(
            "apiHost",
            format!("`{host}` is not an IP address"),
            "use 127.0.0.1 (the default), or 0.0.0.0 for all interfaces",
        );
    }
    Some(Listen::Tcp(SocketAddr::new(literal?, u16::try_from(port).ok()?)))
}

impl Reader<'_> {
    fn router(&mut self, mut section: Section<'_>) -> Option<RouterConfig> {
        let kind = section.choice_or("type", "", &[("haproxy", Type::Haproxy), ("console", Type::Console)]);
        match kind {
            Some(Type::Haproxy) => section.is_a("router haproxy"),
            Some(Type::Console) => section.is_a("router console"),
            None => {}
        }
        let events_buffer = section.milliseconds_or("eventsBufferDurationInMilli", Duration::from_millis(500));
        let services = self.services(&mut section);
        let kind = match kind? {
            Type::Haproxy => {
                let ids = services.as_ref().map(Services::ids).unwrap_or_default();
                self.haproxy(&mut section, &ids).map(Box::new).map(RouterKind::Haproxy)
            }
            Type::Console => Some(RouterKind::Console),
        };
        Some(RouterConfig {
            events_buffer,
            services: services?.0,
            kind: kind?,
        })
    }
}
