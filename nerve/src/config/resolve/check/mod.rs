//! `checks[]`: the keys that all have here, those of each type in its own file.

pub(in crate::config) mod amqp;
pub(in crate::config) mod exec;
pub(in crate::config) mod file;
pub(in crate::config) mod grpc;
pub(in crate::config) mod http;
pub(in crate::config) mod kubernetes;
pub(in crate::config) mod login;
pub(in crate::config) mod memcached;
pub(in crate::config) mod noop;
pub(in crate::config) mod proxyhttp;
pub(in crate::config) mod push;
pub(in crate::config) mod redis;
pub(in crate::config) mod sql;
pub(in crate::config) mod status;
pub(in crate::config) mod tcp;
pub(in crate::config) mod zookeeper;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use common::config::Section;

use super::{host_of, millis_or};
use crate::config::{CheckConfig, CheckKind, TcpConfig, TcpMode};
use crate::health::verdict::Importance;
use common::ratio::PerMille;

const RISE: u32 = 3;
const FALL: u32 = 2;
const MILLIS: u64 = 1000;

/// The checks of a service at `target`; a plain `tcp` when it names none, as in Go-Nerve.
pub(super) fn checks(
    service: &mut Section<'_>,
    target: Option<&(String, u16)>,
    prefer_ipv4: bool,
) -> Option<Vec<Arc<CheckConfig>>> {
    let mut sections = service.sections("checks", "check");
    let no_target = (super::LOOPBACK.to_string(), 0);
    let (host, port) = target.unwrap_or(&no_target);
    let checks: Vec<_> = sections
        .iter_mut()
        .map(|section| check(section, host, *port, prefer_ipv4).map(Arc::new))
        .collect();
    same_name(service, &checks);
    if !checks.is_empty() {
        return checks.into_iter().collect();
    }
    target.map(|(host, port)| {
        vec![Arc::new(CheckConfig {
            kind: CheckKind::Tcp(TcpConfig {
                mode: TcpMode::HalfOpen,
            }),
            host: host.clone(),
            port: *port,
            prefer_ipv4,
            timeout: Duration::from_millis(MILLIS),
            interval: Duration::from_millis(MILLIS),
            rise: RISE,
            fall: FALL,
            importance: Importance::Required,
        })]
    })
}

/// Heartbeats find their check by its name.
fn same_name(service: &mut Section<'_>, checks: &[Option<Arc<CheckConfig>>]) {
    let mut seen = BTreeSet::new();
    for check in checks.iter().flatten() {
        if let CheckKind::Push(push) = &check.kind
            && !seen.insert(&push.name)
        {
            service.problem(
                "checks",
                format!("two checks of type `push` are named `{}`", push.name),
                "give each a `name` of its own: it is part of the API's path",
            );
        }
    }
}

/// Reads the keys of one type, given the check's host and port.
type Read = fn(&mut Section<'_>, Option<&str>, u16) -> Option<CheckKind>;

/// Each `type`, what the reference calls its section, and its reader.
const TYPES: [(&str, (&str, Read)); 15] = [
    ("amqp", ("check amqp", amqp::read)),
    ("exec", ("check exec", exec::read)),
    ("file", ("check file", file::read)),
    ("grpc", ("check grpc", grpc::read)),
    ("http", ("check http", http::read)),
    ("https", ("check https", http::read_https)),
    ("kubernetes", ("check kubernetes", kubernetes::read)),
    ("memcached", ("check memcached", memcached::read)),
    ("noop", ("check noop", noop::read)),
    ("proxyhttp", ("check proxyhttp", proxyhttp::read)),
    ("push", ("check push", push::read)),
    ("redis", ("check redis", redis::read)),
    ("sql", ("check sql", sql::read)),
    ("tcp", ("check tcp", tcp::read)),
    ("zookeeper", ("check zookeeper", zookeeper::read)),
];

fn check(section: &mut Section<'_>, host: &str, port: u16, prefer_ipv4: bool) -> Option<CheckConfig> {
    let (name, read) = section.choice_or("type", "", &TYPES)?;
    section.is_a(name);
    let host = host_of(section, host);
    let port = section
        .integer("port", 1..=65535)
        .and_then(|port| u16::try_from(port).ok())
        .unwrap_or(port);
    let timeout = millis_or(section, "timeoutInMilli", MILLIS);
    let interval = millis_or(section, "checkIntervalInMilli", MILLIS);
    let rise = count_or(section, "rise", RISE);
    let fall = count_or(section, "fall", FALL);
    let importance = importance(section);
    let kind = read(section, host.as_deref(), port);
    Some(CheckConfig {
        kind: kind?,
        host: host?,
        port,
        prefer_ipv4,
        timeout,
        interval,
        rise,
        fall,
        importance: importance?,
    })
}

fn importance(section: &mut Section<'_>) -> Option<Importance> {
    let required = section.flag_or("required", true);
    let factor = section.text_or("advisoryWeightFactor", "0.5");
    let Some(share) = PerMille::parse_factor(&factor) else {
        section.problem(
            "advisoryWeightFactor",
            format!("`{}` is no factor", factor.escape_debug()),
            "a number greater than 0 and at most 1, e.g. `0.5`",
        );
        return None;
    };
    Some(if required {
        Importance::Required
    } else {
        Importance::Advisory(share)
    })
}

fn count_or(section: &mut Section<'_>, key: &'static str, default: u32) -> u32 {
    u32::try_from(section.integer_or(key, default.into(), 1..=1_000_000)).unwrap_or(default)
}
