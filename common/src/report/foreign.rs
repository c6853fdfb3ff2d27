//! Decodes reports of other writers: server sets, Curator and Spring Cloud, registrator, and plain `host:port`. Pure.
//!
//! Fields without a counterpart are left out. An instance without a name is named after its node or its address.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use super::fields::{Fields, MAX_HOST, MAX_NAME, bad, missing};
use super::{DecodeError, MAX_WEIGHT, Report};

/// A member of a server set (Finagle, Aurora): its endpoint of the name `endpoint`, or the service's own.
///
/// Only a member that is `ALIVE` takes traffic; one without a status is.
pub(super) fn server_set(node: &str, fields: Fields<'_>, endpoint: Option<&str>) -> Result<Report, DecodeError> {
    let address = match endpoint {
        None => fields
            .object("serviceEndpoint")?
            .ok_or_else(|| missing("serviceEndpoint"))?,
        Some(name) => fields
            .object("additionalEndpoints")?
            .and_then(|endpoints| endpoints.object_named(name))
            .ok_or_else(|| bad("additionalEndpoints", format!("has no `{name}`")))?,
    };
    let status = fields.text_or_empty("status");
    let is_alive = !fields.has("status") || status.eq_ignore_ascii_case("ALIVE");
    Ok(Report {
        host: address.host("host")?,
        port: address.port("port")?.ok_or_else(|| missing("port"))?,
        name: fields
            .number("shard", 0..=u16::MAX)
            .ok()
            .flatten()
            .map_or_else(|| named(node), |shard| shard.to_string()),
        labels: fields.labels("metadata")?,
        ..report(!is_alive, || format!("status is {}", token(&status)))
    })
}

/// A `ServiceInstance` of Curator's discovery. Spring Cloud's payload has `metadata`: whether the instance
/// is in service, its labels, perhaps a weight.
pub(super) fn curator(fields: Fields<'_>) -> Result<Report, DecodeError> {
    let is_enabled = fields.flag("enabled")?.unwrap_or(true);
    // The type of a payload depends on its users.
    let metadata = fields
        .object_named("payload")
        .and_then(|payload| payload.object_named("metadata"));
    let status = metadata.map(|metadata| metadata.text_or_empty("instance_status"));
    let status = status.filter(|status| !status.is_empty() && !status.eq_ignore_ascii_case("UP"));
    let port = match fields.port("port")? {
        None => fields.port("sslPort")?,
        port => port,
    };
    let weight = metadata.and_then(|metadata| metadata.number("weight", 0..=MAX_WEIGHT).ok().flatten());
    let down = report(!is_enabled || status.is_some(), || match &status {
        Some(status) => format!("instance_status is {}", token(status)),
        None => "not enabled".to_owned(),
    });
    Ok(Report {
        host: fields.host("address")?,
        port: port.ok_or_else(|| missing("port"))?,
        name: fields.name(if fields.has("id") { "id" } else { "name" })?,
        weight: down.weight.or(weight),
        labels: metadata.map(Fields::as_labels).unwrap_or_default(),
        ..down
    })
}

/// Registrator's description of a container.
pub(super) fn registrator(fields: Fields<'_>) -> Result<Report, DecodeError> {
    let host = fields.host("IP")?;
    let port = fields.port("PublicPort")?.ok_or_else(|| missing("PublicPort"))?;
    Ok(Report {
        name: address(&host, port),
        labels: fields.labels("Attrs")?,
        host,
        port,
        ..report(false, String::new)
    })
}

/// `host:port` in the data or else in the node's name.
pub(super) fn plain(node: &str, data: &[u8]) -> Result<Report, DecodeError> {
    let text = std::str::from_utf8(data)
        .ok()
        .and_then(|text| host_and_port(text.trim()));
    let (host, port) = text.or_else(|| host_and_port(node)).ok_or(DecodeError::NotUnderstood)?;
    Ok(Report {
        name: address(&host, port),
        host,
        port,
        ..report(false, String::new)
    })
}

/// `host:port`, `[v6]:port`.
fn host_and_port(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_of_a_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let is_sound = bare.map_or_else(
        || !host.is_empty() && host.len() <= MAX_HOST && host.bytes().all(is_of_a_name),
        |v6| v6.parse::<Ipv6Addr>().is_ok(),
    );
    let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse().ok().filter(|port| *port > 0 && is_number)?;
    is_sound.then(|| (bare.unwrap_or(host).to_owned(), port))
}

/// An address as an instance's name.
fn address(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        named(&format!("{host}:{port}"))
    }
}

/// Converts text that may be longer than a name to an instance's name.
fn named(text: &str) -> String {
    let name = text.chars().filter(|c| !c.is_control());
    let mut name: String = name.collect();
    while name.len() > MAX_NAME {
        name.pop();
    }
    if name.is_empty() { "unnamed".to_owned() } else { name }
}

/// Shortens untrusted text for a message.
fn token(text: &str) -> String {
    let word: String = text.chars().filter(|c| !c.is_control()).take(40).collect();
    if word.is_empty() { "not a text".to_owned() } else { word }
}

/// Returns a report with nothing but its availability.
fn report(is_down: bool, reason: impl Fn() -> String) -> Report {
    Report {
        available: !is_down,
        unavailable_reason: if is_down { reason() } else { String::new() },
        host: String::new(),
        port: 0,
        name: String::new(),
        haproxy_server_options: String::new(),
        weight: is_down.then_some(0),
        labels: BTreeMap::new(),
    }
}
