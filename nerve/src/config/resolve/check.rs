//! `checks[]`.

use std::sync::Arc;
use std::time::Duration;

use common::config::Section;

use super::{host_of, millis_or};
use crate::config::{CheckConfig, CheckKind, StatusSet};
use crate::health::verdict::{Importance, Share};

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
    if !checks.is_empty() {
        return checks.into_iter().collect();
    }
    target.map(|(host, port)| {
        vec![Arc::new(CheckConfig {
            kind: CheckKind::Tcp,
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

#[derive(Debug, Clone, Copy)]
enum Type {
    Tcp,
    Http,
    Exec,
}

fn check(section: &mut Section<'_>, host: &str, port: u16, prefer_ipv4: bool) -> Option<CheckConfig> {
    let kind = section.choice_or(
        "type",
        "",
        &[("tcp", Type::Tcp), ("http", Type::Http), ("exec", Type::Exec)],
    )?;
    section.is_a(match kind {
        Type::Tcp => "check tcp",
        Type::Http => "check http",
        Type::Exec => "check exec",
    });
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
    let kind = match kind {
        Type::Tcp => Some(CheckKind::Tcp),
        Type::Http => http(section, host.as_deref(), port),
        Type::Exec => exec(section),
    };
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
    let Some(share) = Share::parse(&factor) else {
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

fn http(section: &mut Section<'_>, host: Option<&str>, port: u16) -> Option<CheckKind> {
    let namespace = section.text("namespace").filter(|path| !path.is_empty());
    let path = match namespace {
        Some(namespace) if !section.has("path") => {
            section.warning(
                "namespace",
                "is Go-Nerve's accidental name of `path`",
                "rename it to `path`",
            );
            // Asked for, so that the reference knows the key.
            section.text_or("path", "/");
            namespace
        }
        _ => section.text_or("path", "/"),
    };
    let status = section.text_or("status", "200-399");
    let expected = StatusSet::parse(&status);
    if expected.is_none() {
        section.problem(
            "status",
            format!("`{}` is no set of HTTP status codes", status.escape_debug()),
            "codes and ranges from 100 to 599, e.g. `200-399` or `200, 204`",
        );
    }
    let url = url(section, host?, port, &path);
    Some(CheckKind::Http {
        url: url?,
        expected: expected?,
    })
}

fn url(section: &mut Section<'_>, host: &str, port: u16, path: &str) -> Option<reqwest::Url> {
    let slash = if path.starts_with('/') { "" } else { "/" };
    let literal_v6 = host.contains(':');
    let (open, close) = if literal_v6 { ("[", "]") } else { ("", "") };
    let url = format!("http://{open}{host}{close}:{port}{slash}{path}");
    match reqwest::Url::parse(&url) {
        Ok(url) => Some(url),
        Err(error) => {
            section.problem(
                "path",
                format!("makes no URL with the host and port: {error}"),
                "e.g. `/ping`",
            );
            None
        }
    }
}

fn exec(section: &mut Section<'_>) -> Option<CheckKind> {
    let argv = section.texts("command");
    if argv.first().is_none_or(String::is_empty) {
        section.problem(
            "command",
            "is missing",
            "the program, then its arguments, e.g. `[/bin/sh, -c, \"test -f /run/ok\"]`",
        );
        return None;
    }
    Some(CheckKind::Exec(argv))
}
