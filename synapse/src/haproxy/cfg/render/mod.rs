//! haproxy.cfg. Pure: the same input gives the same bytes.
//!
//! The form is the original's: its header, then `global`, `defaults`, the extra sections, then a frontend and a backend of
//! the same name for each service. From the registry only typed values get into the file: names made safe, parsed addresses,
//! numbers, options of the allow-list.
//!
//! A file has a *structure*: everything but the assignment of instances to slots. Its fingerprint is in `global` as an
//! environment variable of HAProxy ([`STRUCTURE`](crate::haproxy::runtime::client::STRUCTURE)), so that the running process
//! reports which structure it has loaded. After a restart or a foreign reload, synapse finds by it whether file, process and
//! plan belong together.
//!
//! Servers that are added at runtime are in the file too, but it keeps the fingerprint of the moment at which it was loaded.
//! That has two parts then: all that needs a reload, and the servers of that moment.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use common::hash::Fnv1a;

use crate::config::{HaproxyConfig, HaproxyControl, PanicThreshold, SHARED_FRONTEND, ServiceConfig, Then};
use crate::haproxy::cfg::bind;
use crate::haproxy::cfg::format::{HEADER, push_line, push_servers, structure_line};
use crate::haproxy::cfg::panic_threshold;
use crate::haproxy::plan::dynamic::{DynamicServers, Provisioning};
use crate::haproxy::plan::model::{Backend, Layout};
use crate::name::BackendName;

/// Replacement of an empty `defaults[]` in managed mode, safe for TCP and HTTP alike. A failed connection goes to another
/// server at once; a request that was sent and not answered is sent again only if that does no harm (see
/// [`RETRY_ONLY_READS`]). Health checks stay opt-in, because otherwise every host would probe every instance. When `check` is
/// set, failing servers are probed faster (`fastinter`) and dead ones slower (`downinter`). A name in a server line of the
/// operator's that is not found leaves that server down, not the whole file refused. There is no `on-marked-down
/// shutdown-sessions`: it would cut the requests in flight of an instance that leaves gracefully.
const DEFAULTS: &[&str] = &[
    "timeout connect 2s",
    "timeout client 60s",
    "timeout server 60s",
    "timeout queue 5s",
    "timeout http-request 10s",
    "timeout http-keep-alive 10s",
    "timeout tunnel 1h",
    "timeout check 2s",
    "retries 3",
    "option redispatch 1",
    "retry-on conn-failure empty-response",
    "option dontlognull",
    "default-server init-addr last,libc,none inter 2s fastinter 500ms downinter 5s",
];
/// Added to [`DEFAULTS`] if `global` has a `log`.
const LOG: &str = "log global";
/// Lines for `global[]` in managed mode, each unless its keyword is there: old workers end, however long their connections
/// live and however frequent the reloads, and checks don't all run at one moment.
const GLOBAL: [&str; 3] = ["hard-stop-after 5m", "mworker-max-reloads 5", "spread-checks 20"];
/// The same, unless one of [`LIMITS`] sets the number of connections: HAProxy allocates memory for as many as the system
/// allows, and in containers that is often a thousand million.
const FD_LIMIT: &str = "fd-hard-limit 100000";
const LIMITS: [&str; 3] = ["maxconn", "ulimit-n", "fd-hard-limit"];
/// Carries the health of servers from the old worker to the new one, see `server_state`.
const LOAD_STATE: &str = "load-server-state-from-file global";
/// Added with [`DEFAULTS`] to each HTTP backend.
const RETRY_ONLY_READS: &str = "http-request disable-l7-retry unless METH_GET";
/// Without it a reload closes idle client connections at once, and a client that has just sent a request on one loses it.
const KEEP_IDLE: &str = "option idle-close-on-response";

/// The part of the file that does not change while synapse runs.
#[derive(Debug, PartialEq, Eq, Default)]
pub(crate) struct ConfigTemplate {
    /// Header and `global`.
    head: String,
    /// `defaults` and the extra sections.
    base: String,
    /// The addresses of the extra sections and of the shared frontend.
    pub(crate) base_binds: Vec<SocketAddr>,
    services: Vec<Section>,
    /// The frontend that services share, without their lines.
    shared: Option<String>,
}

/// The text of one service around its servers.
#[derive(Debug, PartialEq, Eq)]
struct Section {
    id: String,
    frontend: String,
    backend: String,
    binds: Vec<SocketAddr>,
    /// Its lines in the shared frontend.
    shared: String,
    /// The backend that its panic threshold needs.
    shadow: Option<Shadow>,
    /// How it gets new servers at runtime, if it does.
    dynamic: Option<DynamicServers>,
}

/// The shadow backend of a service, see the module `panic_threshold`.
#[derive(Debug, PartialEq, Eq)]
struct Shadow {
    name: BackendName,
    text: String,
    rule: PanicThreshold,
}

/// A whole file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Rendered {
    pub(crate) text: Arc<String>,
    /// The fingerprint of its structure.
    pub(crate) structure: String,
    /// The lines (from 1) at which the parts of each service start, in order; `None` for a part of no service.
    pub(crate) sections: Vec<(usize, Option<String>)>,
}

impl ConfigTemplate {
    /// Builds the fixed text of a router's file.
    pub(crate) fn new(config: &HaproxyConfig, services: &[ServiceConfig]) -> Self {
        let managed = matches!(config.control, HaproxyControl::Managed { .. });
        let defaults = defaults(config, managed);
        let extra = (managed && config.defaults.is_empty()).then_some(RETRY_ONLY_READS);
        // Proxies take the last `defaults` before them, even a named one: the main one has to be that.
        let (sets, extras): (Vec<_>, Vec<_>) = config
            .extra_sections
            .iter()
            .partition(|extra| extra.title.starts_with("defaults "));
        let mut base: String = sets.iter().map(|set| section(&set.title, &set.lines)).collect();
        base.push_str(&section("defaults", &defaults));
        let mut base_binds = Vec::new();
        for extra in extras {
            let mut lines = extra.lines.clone();
            if matches!(words(&extra.title).next(), Some("listen" | "frontend")) {
                base_binds.extend(bind::addresses(&lines));
                let from = extra.title.split_once(" from ").map_or("", |(_, set)| set.trim());
                let set = sets.iter().find(|set| words(&set.title).nth(1) == Some(from));
                lines.extend(keep_idle(set.map_or(&defaults, |set| &set.lines), &lines));
            }
            base.push_str(&section(&extra.title, &lines));
        }
        let shared = config.shared_frontend.clone().map(|mut lines| {
            base_binds.extend(bind::addresses(&lines));
            lines.extend(keep_idle(&defaults, &lines));
            section(&format!("frontend {SHARED_FRONTEND}"), &lines)
        });
        let services = services.iter().map(|service| Section::new(service, &defaults, extra));
        Self {
            services: services.collect(),
            head: format!("{HEADER}{}", section("global", &global(config, managed))),
            base,
            base_binds,
            shared,
        }
    }

    /// The ids of the services and the addresses they listen on.
    pub(crate) fn binds(&self) -> impl Iterator<Item = (&str, &[SocketAddr])> {
        let services = self.services.iter();
        services.map(|section| (section.id.as_str(), section.binds.as_slice()))
    }

    /// The shadow backend and the panic threshold of a service.
    pub(crate) fn shadow(&self, service: &str) -> Option<(&str, PanicThreshold)> {
        let mut shadows = self.shadows();
        let (_, shadow) = shadows.find(|(id, _)| *id == service)?;
        Some((&shadow.name, shadow.rule))
    }

    /// Adds the shadow backend of every service in `layout` that needs one.
    pub(crate) fn add_shadows(&self, layout: &mut Layout) {
        for (primary, shadow) in self.shadows() {
            if let Some(primary) = layout.get(primary) {
                let backend = panic_threshold::shadow(primary, shadow.rule.then);
                layout.insert(shadow.name.clone(), backend);
            }
        }
    }

    /// Syncs the shadow backends in `layout` with their primaries.
    pub(crate) fn sync_shadows(&self, layout: &mut Layout) {
        for (primary, shadow) in self.shadows() {
            if let Some(mut backend) = layout.remove(&shadow.name) {
                if let Some(primary) = layout.get(primary) {
                    panic_threshold::sync(&mut backend, primary, shadow.rule.then);
                }
                layout.insert(shadow.name.clone(), backend);
            }
        }
    }

    fn shadows(&self) -> impl Iterator<Item = (&str, &Shadow)> {
        let sections = self.services.iter();
        sections.filter_map(|section| Some((section.id.as_str(), section.shadow.as_ref()?)))
    }

    /// The services that can get new servers at runtime.
    pub(crate) fn dynamic_backends(&self) -> BTreeMap<&str, &DynamicServers> {
        let sections = self.services.iter();
        sections
            .filter_map(|section| Some((section.id.as_str(), section.dynamic.as_ref()?)))
            .collect()
    }

    /// Renders the file for `layout`; a service that is not in it is left out.
    pub(crate) fn render(&self, layout: &Layout, provisioning: Provisioning) -> Rendered {
        // One line between them is not known yet: the fingerprint.
        let first_line = lines(&self.head) + lines(&self.base) + 2;
        let mut structure = Fingerprint::default();
        let mut servers = Fingerprint::default();
        structure.add(&self.head);
        structure.add(&self.base);
        let mut body = String::new();
        let mut sections = Vec::new();
        let mut start = |body: &str, id: Option<&String>| sections.push((first_line + lines(body), id.cloned()));
        for section in &self.services {
            let Some(backend) = layout.get(section.id.as_str()) else {
                continue;
            };
            start(&body, Some(&section.id));
            for part in [&section.frontend, &section.backend] {
                body.push_str(part);
                structure.add(part);
            }
            if let Some(shadow) = &section.shadow {
                structure.add(&shadow.text);
            }
            let print = match provisioning {
                Provisioning::Slots => &mut structure,
                Provisioning::Dynamic => &mut servers,
            };
            push_servers(&mut body, &backend.slots);
            print.add_servers(backend);
            if let Some(shadow) = &section.shadow {
                start(&body, Some(&section.id));
                body.push_str(&shadow.text);
                if let Some(backend) = layout.get(&shadow.name) {
                    push_servers(&mut body, &backend.slots);
                    print.add_servers(backend);
                }
            }
        }
        // Last, as in Airbnb's, and only with the lines of services whose backend exists.
        if let Some(shared) = &self.shared {
            start(&body, None);
            body.push_str(shared);
            structure.add(shared);
            let present = self
                .services
                .iter()
                .filter(|section| layout.contains_key(section.id.as_str()));
            for section in present.filter(|section| !section.shared.is_empty()) {
                start(&body, Some(&section.id));
                body.push_str(&section.shared);
                structure.add(&section.shared);
            }
        }
        let structure = match provisioning {
            Provisioning::Slots => structure.finish(),
            Provisioning::Dynamic => format!("{}-{}", structure.finish(), servers.finish()),
        };
        let text = [&self.head, &structure_line(&structure), &self.base, &body]
            .map(String::as_str)
            .concat();
        Rendered {
            text: Arc::new(text),
            structure,
            sections,
        }
    }
}

impl Section {
    /// `extra` is a line for HTTP backends.
    fn new(service: &ServiceConfig, defaults: &[String], extra: Option<&str>) -> Self {
        let (id, rule) = (&service.id, service.haproxy.panic_threshold);
        let mut frontend = String::new();
        if !service.frontend.is_empty() {
            let mut lines = service.frontend.clone();
            lines.extend(keep_idle(defaults, &lines));
            if let Some(rule) = rule.filter(|rule| rule.then == Then::UseAll) {
                let http = is_http(defaults, &lines);
                panic_threshold::add_selection(&mut lines, http, rule, id);
            }
            if !has_keyword(&lines, "default_backend") {
                lines.push(format!("default_backend {id}"));
            }
            frontend = section(&format!("frontend {id}"), &lines);
        }
        let mut lines = service.backend.clone();
        let http = is_http(defaults, &lines);
        lines.splice(0..0, extra.filter(|_| http).map(str::to_owned));
        let shadow = rule.map(|rule| Shadow::new(rule, id, &lines));
        if let Some(rule) = rule.filter(|rule| rule.then == Then::FailFast) {
            panic_threshold::add_rejection(&mut lines, http, rule, id);
        }
        let mut shared = String::new();
        service
            .haproxy
            .shared_frontend
            .iter()
            .for_each(|line| push_line(&mut shared, line));
        Self {
            // A shadow backend has to follow its primary, server by server.
            dynamic: DynamicServers::of(defaults, &service.backend).filter(|_| shadow.is_none()),
            id: id.clone(),
            frontend,
            backend: section(&format!("backend {id}"), &lines),
            binds: bind::addresses(&[service.frontend.as_slice(), &service.haproxy.shared_frontend].concat()),
            shared,
            shadow,
        }
    }
}

impl Shadow {
    /// With `use-all` the lines of the primary apply to the shadow too; otherwise no request ever gets there.
    fn new(rule: PanicThreshold, id: &str, lines: &[String]) -> Self {
        let name = BackendName::from(PanicThreshold::shadow_backend(id));
        let lines = if rule.then == Then::UseAll { lines } else { &[] };
        let text = section(&format!("backend {name}"), lines);
        Self { name, text, rule }
    }
}

/// `defaults[]`, or [`DEFAULTS`] if it is empty in managed mode.
fn defaults(config: &HaproxyConfig, managed: bool) -> Vec<String> {
    let mut defaults = config.defaults.clone();
    if managed && defaults.is_empty() {
        let log = has_keyword(&config.global, "log").then_some(LOG);
        defaults.extend(DEFAULTS.iter().copied().chain(log).map(str::to_owned));
    }
    if managed && config.state_file.is_some() && !has_keyword(&defaults, "load-server-state-from-file") {
        defaults.push(LOAD_STATE.to_owned());
    }
    defaults
}

/// `global[]` and, in managed mode, the lines that synapse's way of running HAProxy needs and the operator has not set.
fn global(config: &HaproxyConfig, managed: bool) -> Vec<String> {
    let mut lines = config.global.clone();
    if managed {
        let socket = config.stats_socket.display().to_string();
        let is_ours = |line: &String| words(line).take(2).eq(["stats", "socket"]) && line.contains(&socket);
        if !lines.iter().any(is_ours) {
            lines.push(format!(
                "stats socket {socket} mode 600 level admin expose-fd listeners"
            ));
        }
        for line in GLOBAL {
            if !words(line).next().is_some_and(|keyword| has_keyword(&lines, keyword)) {
                lines.push(line.to_owned());
            }
        }
        if !LIMITS.iter().any(|keyword| has_keyword(&lines, keyword)) {
            lines.push(FD_LIMIT.to_owned());
        }
        if let Some(path) = &config.state_file
            && !has_keyword(&lines, "server-state-file")
        {
            lines.push(format!("server-state-file {}", path.display()));
        }
    }
    lines
}

/// [`KEEP_IDLE`], for an HTTP section in which the operator has not set it.
fn keep_idle(defaults: &[String], lines: &[String]) -> Option<String> {
    let is_set = lines
        .iter()
        .chain(defaults)
        .any(|line| line.contains("idle-close-on-response"));
    (!is_set && is_http(defaults, lines)).then(|| KEEP_IDLE.to_owned())
}

/// The last `mode` of a section counts, and that of `defaults` if it has none.
pub(crate) fn is_http(defaults: &[String], lines: &[String]) -> bool {
    let mode = |lines: &[String]| {
        lines.iter().rev().find_map(|line| {
            let mut words = words(line);
            (words.next() == Some("mode")).then(|| words.next() == Some("http"))
        })
    };
    mode(lines).or_else(|| mode(defaults)).unwrap_or(false)
}

fn has_keyword(lines: &[String], keyword: &str) -> bool {
    lines.iter().any(|line| words(line).next() == Some(keyword))
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split_ascii_whitespace()
}

fn section(title: &str, lines: &[String]) -> String {
    let mut text = format!("\n{title}\n");
    for line in lines {
        push_line(&mut text, line);
    }
    text
}

fn lines(text: &str) -> usize {
    text.bytes().filter(|byte| *byte == b'\n').count()
}

/// FNV-1a, 64 bits: it distinguishes structures and need not withstand an attacker.
#[derive(Default)]
struct Fingerprint(Fnv1a);

impl Fingerprint {
    /// Adds a text and its end.
    fn add(&mut self, text: &str) {
        self.0 = self.0.with(text.as_bytes()).with(&[0xff]);
    }

    /// Adds the server lines without their assignments.
    fn add_servers(&mut self, backend: &Backend) {
        for slot in backend.slots.iter().filter(|slot| slot.is_listed()) {
            self.add(&slot.name);
            self.add(&slot.id.to_string());
            self.add(&slot.options);
        }
    }

    fn finish(&self) -> String {
        self.0.to_string()
    }
}

#[cfg(test)]
mod tests;
