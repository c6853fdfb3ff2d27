//! `type: zookeeper` and `zookeeper_poll`.

use std::time::Duration;

use common::config::Section;
use common::report::{Decoder, Method};
use common::zk::security::Security;
use common::zk::session::EnsembleConfig;

use crate::config::ZookeeperConfig;

/// Below this a server with the usual tick of 2 s grants more than was requested.
const MIN_USUAL_TIMEOUT: Duration = Duration::from_secs(4);

/// 30 days.
const MAX_MILLIS: u64 = 30 * 24 * 60 * 60 * 1000;

/// Reads a section of the type `zookeeper`, or of `zookeeper_poll`.
pub(super) fn zookeeper(section: &mut Section<'_>, is_polled: bool) -> Option<ZookeeperConfig> {
    let hosts = section.texts("hosts");
    if hosts.is_empty() {
        section.problem(
            "hosts",
            "there is no host",
            "name the ensemble's servers: `hosts: ['zk1:2181', 'zk2:2181']`",
        );
    }
    for (nth, host) in hosts.iter().enumerate() {
        if !is_host(host, nth + 1 == hosts.len()) {
            section.problem(
                "hosts",
                format!("{host:?} is not `host` or `host:port`"),
                "name one server per item; the last may carry a chroot (`zk2:2181/app`)",
            );
        }
    }
    let path = path(section);
    let session_timeout = session_timeout(section);
    let security = Security::of(section);
    let polling = is_polled.then(|| section.duration_or("pollingInterval", Duration::from_mins(1)));
    let decoder = decoder(section);
    Some(ZookeeperConfig {
        ensemble: EnsembleConfig {
            hosts,
            session_timeout,
            security: security?,
        },
        path: path?,
        decoder: decoder?,
        polling,
    })
}

fn decoder(section: &mut Section<'_>) -> Option<Decoder> {
    let Some(mut decode) = section.section("decode", "decode") else {
        return Some(Decoder::default());
    };
    let method = decode.choice_or(
        "method",
        "auto",
        &[
            ("auto", Method::Auto),
            ("nerve", Method::Nerve),
            ("serverset", Method::ServerSet),
            ("curator", Method::Curator),
            ("registrator", Method::Registrator),
            ("plain", Method::Plain),
        ],
    );
    let endpoint_name = decode.text("endpointName").filter(|name| !name.is_empty());
    if endpoint_name.is_some() && !matches!(method, None | Some(Method::Auto | Method::ServerSet)) {
        decode.problem(
            "endpointName",
            "only the members of server sets have endpoints with names",
            "remove it, or use `method: serverset`",
        );
    }
    Some(Decoder {
        method: method?,
        endpoint_name,
    })
}

/// `timeoutInMilli` is Go-Synapse's name; its default of 2 s is not kept, for a session that short does not outlive the
/// restart of one server.
fn session_timeout(section: &mut Section<'_>) -> Duration {
    let ours = section.duration_or("sessionTimeout", Duration::from_secs(10));
    let theirs = section.integer("timeoutInMilli", 1..=MAX_MILLIS);
    if theirs.is_some() && section.has("sessionTimeout") {
        section.problem(
            "timeoutInMilli",
            "this is another name of `sessionTimeout`, which is given too",
            "keep one of them",
        );
    }
    let timeout = theirs.map_or(ours, Duration::from_millis);
    if timeout < MIN_USUAL_TIMEOUT {
        let key = if theirs.is_some() {
            "timeoutInMilli"
        } else {
            "sessionTimeout"
        };
        section.warning(
            key,
            "a session shorter than two ticks of the server (usually 4 s) is lengthened by it",
            "use at least 4 s; 10 s outlives the restart of one server",
        );
    }
    timeout
}

fn path(section: &mut Section<'_>) -> Option<String> {
    let written = section.required_text("path")?;
    let path = written.trim_end_matches('/');
    let is_sound = path.strip_prefix('/').is_some_and(|below| {
        below
            .split('/')
            .all(|part| !matches!(part, "" | "." | "..") && !part.chars().any(char::is_control))
    });
    if !is_sound {
        section.problem(
            "path",
            format!("{written:?} is not the absolute path of a node"),
            "write it as in `/services/web`",
        );
        return None;
    }
    Some(path.to_owned())
}

/// `host[:port]` or `[v6][:port]`, with a chroot when it is the `last`.
fn is_host(text: &str, last: bool) -> bool {
    let server = match text.split_once('/') {
        Some((server, _)) if last => server,
        Some(_) => return false,
        None => text,
    };
    let (host, port) = match server.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (server, None),
    };
    let is_bracketed = host.starts_with('[') && host.ends_with(']');
    !host.is_empty()
        && !host.contains(|c: char| c.is_whitespace() || c.is_control() || c == ',')
        && (is_bracketed || !host.contains(':'))
        && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}
