//! `servers[]` of `type: static` and `type: dns`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use common::config::Section;
use common::report::MAX_WEIGHT;
use common::report::Report;

use crate::config::{DnsConfig, Question, Record};

/// The longest DNS name.
const MAX_HOST: usize = 253;

/// The longest name of a server.
const MAX_NAME: usize = 255;

/// What every server may have.
struct Common {
    name: Option<String>,
    host: Option<String>,
    port: Option<u16>,
    weight: Option<u16>,
    labels: BTreeMap<String, String>,
    options: String,
}

/// Reads `type: static`.
pub(super) fn fixed(section: &mut Section<'_>) -> Option<Vec<Report>> {
    let mut known = BTreeSet::new();
    let servers: Vec<_> = sections(section, "server")
        .into_iter()
        .map(|mut section| {
            let common = common(&mut section);
            require_port(&mut section, common.port);
            let (host, port) = (common.host?, common.port?);
            let name = common.name.unwrap_or_else(|| SocketName(&host, port).to_string());
            if !known.insert((name.clone(), host.clone(), port)) {
                section.problem(
                    "",
                    format!("`{name}` at {host}:{port} is here already"),
                    "remove one of them",
                );
            }
            Some(Report {
                available: true,
                unavailable_reason: String::new(),
                host,
                port,
                name,
                haproxy_server_options: common.options,
                weight: common.weight,
                labels: common.labels,
            })
        })
        .collect();
    servers.into_iter().collect()
}

/// Reads `type: dns`.
pub(super) fn dns(section: &mut Section<'_>) -> Option<DnsConfig> {
    let questions: Vec<_> = sections(section, "server dns")
        .into_iter()
        .map(|mut section| question(&mut section))
        .collect();
    let nameserver = section.text("nameserver").filter(|text| !text.is_empty());
    let address = nameserver.as_deref().and_then(nameserver_address);
    if nameserver.is_some() && address.is_none() {
        section.problem(
            "nameserver",
            "is neither an IP address nor one with a port",
            "e.g. 10.0.0.2, or 127.0.0.1:8600",
        );
    }
    let check_interval = section.duration_or("checkInterval", Duration::from_secs(30));
    Some(DnsConfig {
        questions: questions.into_iter().collect::<Option<_>>()?,
        nameserver: address,
        check_interval,
    })
}

fn question(section: &mut Section<'_>) -> Option<Question> {
    let record = section.choice_or("record", "a", &[("a", 'a'), ("aaaa", '6'), ("srv", 's')]);
    let common = common(section);
    let host = common.host?;
    let record = match record? {
        's' => {
            if common.port.is_some() {
                section.problem("port", "an SRV record has a port of its own", "remove it");
            }
            if host.parse::<IpAddr>().is_ok() {
                section.problem(
                    "host",
                    "is an address, and has no SRV records",
                    "name the service: `_http._tcp.web.example`",
                );
            }
            Record::Srv
        }
        record => {
            require_port(section, common.port);
            if record == 'a' {
                Record::A(common.port?)
            } else {
                Record::Aaaa(common.port?)
            }
        }
    };
    Some(Question {
        host,
        record,
        name: common.name,
        weight: common.weight,
        labels: common.labels,
        options: common.options,
    })
}

fn sections<'s>(section: &mut Section<'s>, name: &str) -> Vec<Section<'s>> {
    let sections = section.sections("servers", name);
    if sections.is_empty() {
        section.problem(
            "servers",
            "there is no server",
            "e.g. `servers: [{host: 10.0.0.1, port: 80}]`",
        );
    }
    sections
}

fn common(section: &mut Section<'_>) -> Common {
    let name = section.text("name").filter(|name| !name.is_empty());
    if name
        .as_ref()
        .is_some_and(|name| name.len() > MAX_NAME || name.chars().any(char::is_control))
    {
        section.problem(
            "name",
            "is too long, or has a control character in it",
            "at most 255 bytes of one line",
        );
    }
    let host = section.required_text("host");
    if let Some(host) = &host
        && !is_host(host)
    {
        section.problem(
            "host",
            format!("{host:?} is neither an IP address nor a DNS name"),
            "without a port",
        );
    }
    let port = section
        .integer("port", 0..=65_535)
        .and_then(|port| u16::try_from(port).ok());
    if port == Some(0) {
        section.problem("port", "must not be 0", "1 to 65535");
    }
    let weight = section
        .integer("weight", 0..=MAX_WEIGHT.into())
        .and_then(|weight| u16::try_from(weight).ok());
    let labels = section.text_map("labels");
    let options = section.text_or("options", "");
    Common {
        name,
        host,
        port,
        weight,
        labels,
        options,
    }
}

fn require_port(section: &mut Section<'_>, port: Option<u16>) {
    if port.is_none() && !section.has("port") {
        section.problem("port", "is required", "1 to 65535");
    }
}

fn is_host(host: &str) -> bool {
    let is_of_a_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    host.parse::<IpAddr>().is_ok() || host.len() <= MAX_HOST && host.bytes().all(is_of_a_name)
}

fn nameserver_address(text: &str) -> Option<SocketAddr> {
    let alone = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53));
    text.parse().or(alone).ok()
}

/// `host:port`, or `[v6]:port`.
struct SocketName<'h>(&'h str, u16);

impl std::fmt::Display for SocketName<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.parse() {
            Ok(ip) => write!(f, "{}", SocketAddr::new(ip, self.1)),
            Err(_) => write!(f, "{}:{}", self.0, self.1),
        }
    }
}
