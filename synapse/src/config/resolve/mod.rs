//! From the file's keys to [`Config`]: Go-Synapse's keys with its defaults, and ours beside them.
//!
//! Reading goes on after a problem, so that one run names them all; a value that could not be made is `None`, and with
//! it everything that holds it. Pure: the directory that relative paths start from is an argument.

mod file_output;
mod guard;
mod haproxy;
mod lines;
mod obsolete;
mod pace;
mod panic_threshold;
mod router_context;
mod sections;
mod selection;
mod service;
mod service_haproxy;
mod template;
mod watcher;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use common::config::Section;
use common::http::{Listen, ProbesConfig};
use common::telemetry::log::Format;

use super::{Config, DEFAULT_API, DEFAULT_PROBES_PORT, RouterConfig, RouterKind, StopConfig, ZoneConfig};
use router_context::RouterContext;
use service::Services;

/// What the whole file shares while it is read.
struct ResolveContext<'p> {
    /// Where relative paths start.
    base: &'p Path,
    /// The number of the service that was read last: it is counted through the whole file.
    services: usize,
    /// The files and directories that routers write, as named so far: no two may write the same.
    written: BTreeSet<PathBuf>,
    /// The services' ids so far.
    ids: BTreeSet<String>,
    /// The settings of the router that is being read, for all its services.
    context: RouterContext,
}

/// `type` of a router.
#[derive(Debug, Clone, Copy)]
enum Type {
    Haproxy,
    Template,
    FileOutput,
    Console,
}

/// Reads the whole file.
pub(super) fn root(section: &mut Section<'_>, base: &Path) -> Option<Config> {
    let mut reader = ResolveContext {
        base,
        services: 0,
        written: BTreeSet::new(),
        ids: BTreeSet::new(),
        context: RouterContext::default(),
    };
    let log_level = section.text_or("logLevel", "info");
    let log_format = section.choice_or("logFormat", "text", &[("text", Format::Text), ("json", Format::Json)]);
    let api = api(section, base);
    let probes = ProbesConfig::read(section, DEFAULT_PROBES_PORT);
    let stop = StopConfig {
        delay: section.duration_or("stopDelay", Duration::ZERO),
        timeout: section.duration_or("shutdownTimeout", Duration::from_secs(10)),
    };
    let zone = selection::zone(section, None);
    let snapshot_path = section.text_or("snapshotPath", "");
    let routers = section.sections("routers", "router");
    if routers.is_empty() {
        section.problem(
            "routers",
            "there is no router, so there is nothing to do",
            "name at least one: `routers: [{type: haproxy, …}]`",
        );
    }
    let routers: Vec<_> = routers
        .into_iter()
        .map(|router| reader.router(router, zone.as_ref()))
        .collect();
    let routers: Vec<RouterConfig> = routers.into_iter().collect::<Option<_>>()?;
    Some(Config {
        log_level,
        log_format: log_format?,
        api: api?,
        probes: probes.ok()?,
        stop,
        snapshot_path: snapshot(&snapshot_path, base, &routers),
        routers,
        effective: "".into(),
    })
}

/// As it is written, or beside the first file that a router of HAProxy writes.
fn snapshot(written: &str, base: &Path, routers: &[RouterConfig]) -> Option<PathBuf> {
    if !written.is_empty() {
        return Some(base.join(written));
    }
    routers.iter().find_map(|router| match &router.kind {
        RouterKind::Haproxy(haproxy) => Some(common::file::with_suffix(&haproxy.config_path, ".snapshot")),
        RouterKind::Console | RouterKind::Template(_) | RouterKind::FileOutput(_) => None,
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

impl ResolveContext<'_> {
    fn router(&mut self, mut section: Section<'_>, zone: Option<&ZoneConfig>) -> Option<RouterConfig> {
        let kind = section.choice_or(
            "type",
            "",
            &[
                ("haproxy", Type::Haproxy),
                ("template", Type::Template),
                ("file_output", Type::FileOutput),
                ("console", Type::Console),
            ],
        );
        match kind {
            Some(Type::Haproxy) => section.is_a("router haproxy"),
            Some(Type::Template) => section.is_a("router template"),
            Some(Type::FileOutput) => section.is_a("router file_output"),
            Some(Type::Console) => section.is_a("router console"),
            None => {}
        }
        let mut pace = pace::pace(&mut section);
        let zone = selection::zone(&mut section, zone);
        self.context = if matches!(kind, Some(Type::Haproxy)) {
            RouterContext::of(&mut section)
        } else {
            RouterContext::default()
        };
        let services = self.services(&mut section, zone.as_ref(), matches!(kind, Some(Type::FileOutput)));
        let kind = match kind? {
            Type::Haproxy => {
                pace.jitter = pace::jitter(&mut section);
                let ids = services.as_ref().map(Services::ids).unwrap_or_default();
                self.haproxy(&mut section, &ids).map(Box::new).map(RouterKind::Haproxy)
            }
            Type::Template => {
                pace.budget = pace::budget(&mut section);
                pace.jitter = pace::jitter(&mut section);
                self.template(&mut section).map(RouterKind::Template)
            }
            Type::FileOutput => {
                pace.budget = pace::budget(&mut section);
                self.file_output(&mut section, services.as_ref())
                    .map(RouterKind::FileOutput)
            }
            Type::Console => {
                pace.budget = pace::budget(&mut section);
                Some(RouterKind::Console)
            }
        };
        Some(RouterConfig {
            pace,
            services: Arc::new(services?.services),
            kind: kind?,
        })
    }

    /// Takes `path`, which the router's `key` names, for this router alone.
    fn take(&mut self, section: &mut Section<'_>, key: &str, path: &Path) {
        if !self.written.insert(path.to_owned()) {
            section.problem(
                key,
                format!("another router writes {} already", path.display()),
                "give each router its own",
            );
        }
    }
}
