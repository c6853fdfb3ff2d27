//! haproxy.cfg. Pure: the same input, the same bytes.
//!
//! The look is the original's: its header, then `global`, `defaults`, the extra sections, then a frontend and a backend
//! of the same name for each service. From the registry only typed values get here: names made safe, parsed addresses,
//! numbers, options off the allow-list.
//!
//! A file has a *structure*: everything but who sits in which slot. Its fingerprint stands in `global` as an environment
//! variable of HAProxy's ([`STRUCTURE`]), so that the running process can be asked which structure it has loaded. That
//! is how synapse knows, after a restart or a reload by whomever, whether file, process and plan belong together.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::config::{HaproxyConfig, HaproxyControl, ServiceConfig};

use super::bind;
use super::model::{Backend, Layout, NOWHERE, Occupant, Slot};

/// The first line of every file we write, as the original wrote it.
pub(super) const HEADER: &str = "# Handled by synapse. Do not modify it.";
/// The variable that carries the fingerprint.
pub(super) const STRUCTURE: &str = "SYNAPSE_STRUCTURE";
const INDENT: &str = "  ";

/// For `defaults[]` that are empty in managed mode: safe for TCP and HTTP alike. A connection that fails goes to another
/// server at once; a request that was sent and not answered is sent again only if repeating it does no harm (see
/// [`RETRY_ONLY_READS`]).
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
];
/// Goes with [`DEFAULTS`] into each HTTP backend.
const RETRY_ONLY_READS: &str = "http-request disable-l7-retry unless METH_GET";
/// A reload closes idle client connections at once without it: a client that has just sent a request on one loses it.
const KEEP_IDLE: &str = "option idle-close-on-response";

/// Everything of the file that does not change while synapse runs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame {
    global: Vec<String>,
    /// `defaults` and the extra sections.
    base: String,
    /// What the extra sections listen on.
    pub(super) base_binds: Vec<SocketAddr>,
    services: Vec<Section>,
}

/// One service's text around its servers.
#[derive(Debug, PartialEq, Eq)]
struct Section {
    id: String,
    frontend: String,
    backend: String,
    binds: Vec<SocketAddr>,
}

/// A whole file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Rendered {
    pub(super) text: Arc<String>,
    /// The fingerprint of its structure.
    pub(super) structure: String,
    /// The lines (from 1) at which the services' sections start, in order.
    pub(super) sections: Vec<(usize, String)>,
}

impl Frame {
    /// The fixed text of a router's file.
    pub(super) fn new(config: &HaproxyConfig, services: &[ServiceConfig]) -> Self {
        let managed = matches!(config.control, HaproxyControl::Managed { .. });
        let ours = managed && config.defaults.is_empty();
        let defaults: Vec<String> = if ours {
            DEFAULTS.iter().map(|line| (*line).to_owned()).collect()
        } else {
            config.defaults.clone()
        };
        let mut base = String::new();
        section(&mut base, "defaults", &defaults);
        let mut base_binds = Vec::new();
        for (kind, extras) in [
            ("listen", &config.listen),
            ("frontend", &config.frontend),
            ("backend", &config.backend),
        ] {
            for (name, lines) in extras {
                let mut lines = lines.clone();
                if kind != "backend" {
                    base_binds.extend(bind::addresses(&lines));
                    lines.extend(keep_idle(&defaults, &lines));
                }
                section(&mut base, &format!("{kind} {name}"), &lines);
            }
        }
        let services = services
            .iter()
            .map(|service| {
                let mut frontend = String::new();
                if !service.frontend.is_empty() {
                    let mut lines = service.frontend.clone();
                    lines.extend(keep_idle(&defaults, &lines));
                    if !says(&lines, "default_backend") {
                        lines.push(format!("default_backend {}", service.id));
                    }
                    section(&mut frontend, &format!("frontend {}", service.id), &lines);
                }
                let mut lines = service.backend.clone();
                if ours && is_http(&defaults, &lines) {
                    lines.insert(0, RETRY_ONLY_READS.to_owned());
                }
                let mut backend = String::new();
                section(&mut backend, &format!("backend {}", service.id), &lines);
                Section {
                    id: service.id.clone(),
                    frontend,
                    backend,
                    binds: bind::addresses(&service.frontend),
                }
            })
            .collect();
        Self {
            global: global(config, managed),
            base,
            base_binds,
            services,
        }
    }

    /// The services' ids and what they listen on.
    pub(super) fn binds(&self) -> impl Iterator<Item = (&str, &[SocketAddr])> {
        self.services
            .iter()
            .map(|section| (section.id.as_str(), section.binds.as_slice()))
    }

    /// The file for `layout`; a service without slots in it is left out.
    pub(super) fn render(&self, layout: &Layout) -> Rendered {
        let mut head = format!("{HEADER}\nglobal\n");
        for line in &self.global {
            push_line(&mut head, line);
        }
        // One line follows that is not known yet: the fingerprint.
        let first_line = lines(&head).saturating_add(lines(&self.base)).saturating_add(2);
        let mut print = Fingerprint::default();
        print.add(&head);
        print.add(&self.base);
        let mut body = String::new();
        let mut sections = Vec::new();
        for section in &self.services {
            let Some(backend) = layout.get(&section.id) else {
                continue;
            };
            sections.push((first_line.saturating_add(lines(&body)), section.id.clone()));
            body.push_str(&section.frontend);
            body.push_str(&section.backend);
            print.add(&section.frontend);
            print.add(&section.backend);
            servers(&mut body, &mut print, backend);
        }
        let structure = print.finish();
        let text = Arc::new(format!(
            "{head}{INDENT}setenv {STRUCTURE} {structure}\n{}{body}",
            self.base
        ));
        Rendered {
            text,
            structure,
            sections,
        }
    }
}

/// The server lines, and without the occupants their fingerprint.
fn servers(body: &mut String, print: &mut Fingerprint, backend: &Backend) {
    for slot in &backend.slots {
        push_server(body, slot);
        print.add(&slot.name);
        print.add(&slot.id.to_string());
        print.add(&slot.class);
    }
}

/// One server line.
fn push_server(text: &mut String, slot: &Slot) {
    let (address, weight, state) = match slot.occupant {
        Occupant::Active { address, weight } => (address, weight, "enabled"),
        Occupant::Free | Occupant::Draining { .. } => (NOWHERE, 1, "disabled"),
    };
    let line = format!(
        "server {} {address} id {} weight {weight} {state} {}",
        slot.name, slot.id, slot.class
    );
    push_line(text, line.trim_end());
}

/// A file of ours with the occupants of `layout` in its server lines and nothing else changed: what HAProxy has loaded
/// stays true also when our configuration would give another file.
pub(super) fn seat(text: &str, layout: &Layout) -> String {
    let mut seated = String::with_capacity(text.len());
    let mut slots = [].iter();
    for line in text.lines() {
        let mut words = words(line);
        match (words.next(), words.next()) {
            (Some("backend"), Some(name)) if !line.starts_with(' ') => {
                slots = layout.get(name).map_or([].iter(), |backend| backend.slots.iter());
            }
            (Some("server"), Some(name)) if slots.as_slice().first().is_some_and(|slot| *slot.name == *name) => {
                slots.by_ref().take(1).for_each(|slot| push_server(&mut seated, slot));
                continue;
            }
            _ => {}
        }
        seated.push_str(line);
        seated.push('\n');
    }
    seated
}

/// `global[]` and, in managed mode, what our way of running HAProxy needs and the operator has not said.
fn global(config: &HaproxyConfig, managed: bool) -> Vec<String> {
    let mut lines = config.global.clone();
    if managed {
        let socket = config.stats_socket.display().to_string();
        let ours = |line: &String| words(line).take(2).eq(["stats", "socket"]) && line.contains(&socket);
        let known = lines.iter().any(ours);
        if !known {
            lines.push(format!(
                "stats socket {socket} mode 600 level admin expose-fd listeners"
            ));
        }
        // Old workers end, however long their connections live and however often we reload.
        for (keyword, value) in [("hard-stop-after", "5m"), ("mworker-max-reloads", "5")] {
            if !says(&lines, keyword) {
                lines.push(format!("{keyword} {value}"));
            }
        }
    }
    lines
}

/// [`KEEP_IDLE`], if a section with these lines speaks HTTP and nobody has decided about it.
fn keep_idle(defaults: &[String], lines: &[String]) -> Option<String> {
    let decided = lines
        .iter()
        .chain(defaults)
        .any(|line| line.contains("idle-close-on-response"));
    (!decided && is_http(defaults, lines)).then(|| KEEP_IDLE.to_owned())
}

/// The last `mode` of a section counts, and that of `defaults` if it has none.
fn is_http(defaults: &[String], lines: &[String]) -> bool {
    let mode = |lines: &[String]| {
        lines.iter().rev().find_map(|line| {
            let mut words = words(line);
            (words.next() == Some("mode")).then(|| words.next() == Some("http"))
        })
    };
    mode(lines).or_else(|| mode(defaults)).unwrap_or(false)
}

fn says(lines: &[String], keyword: &str) -> bool {
    lines.iter().any(|line| words(line).next() == Some(keyword))
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split_ascii_whitespace()
}

fn section(text: &mut String, title: &str, lines: &[String]) {
    text.push('\n');
    text.push_str(title);
    text.push('\n');
    for line in lines {
        push_line(text, line);
    }
}

/// The operator's lines are theirs, but a line they are.
fn push_line(text: &mut String, line: &str) {
    for line in line.lines().map(str::trim).filter(|line| !line.is_empty()) {
        text.push_str(INDENT);
        text.push_str(line);
        text.push('\n');
    }
}

fn lines(text: &str) -> usize {
    text.bytes().filter(|byte| *byte == b'\n').count()
}

/// FNV-1a, 64 bits: it tells structures apart and need not withstand anyone.
struct Fingerprint(u64);

impl Default for Fingerprint {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fingerprint {
    /// Adds a text and its end.
    fn add(&mut self, text: &str) {
        for byte in text.bytes().chain([0xff]) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> String {
        let mut text = String::new();
        let _infallible = write!(text, "{:016x}", self.0);
        text
    }
}

#[cfg(test)]
mod tests;
