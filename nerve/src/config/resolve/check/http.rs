//! The keys of `http` and `https`.

use std::net::IpAddr;

use common::config::{Secret, Section};
use common::tls::TlsOptions;
use http::{HeaderName, HeaderValue, Method, Uri, header};

use crate::config::{CheckKind, StatusSet, authority};

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpConfig {
    /// `GET` by default.
    pub method: Method,
    /// The requested URI. Its authority is the `Host`, which may differ from the address of the connection.
    pub uri: Uri,
    /// Headers beside `Host`.
    pub headers: Vec<(HeaderName, Secret)>,
    /// The status codes of a healthy answer.
    pub expected: StatusSet,
    /// A text that must be in the body; never empty.
    pub expect: Option<String>,
    /// Whether HTTP/2 is spoken, from the first byte on a plain connection.
    pub http2: bool,
    /// `https`.
    pub tls: Option<TlsOptions>,
}

pub(super) fn read(section: &mut Section<'_>, host: Option<&str>, port: u16) -> Option<CheckKind> {
    let path = path(section);
    request(section, authority(host?, port), &path, None)
}

pub(super) fn read_https(section: &mut Section<'_>, host: Option<&str>, port: u16) -> Option<CheckKind> {
    let path = section.text_or("path", "/");
    let tls = TlsOptions::of(section, "tls").unwrap_or_default();
    let request = request(section, authority(host?, port), &path, Some(tls))?;
    if let CheckKind::Http(HttpConfig {
        tls: Some(tls),
        http2: false,
        ..
    }) = &request
    {
        server_name(section, tls, host);
    }
    Some(request)
}

/// In HTTP/1.1 the name is the host of a URL: an address there would be connected to.
pub(super) fn server_name(section: &mut Section<'_>, tls: &TlsOptions, host: Option<&str>) {
    let name = tls.server_name.as_deref();
    if name != host && name.is_some_and(|name| name.parse::<IpAddr>().is_ok()) {
        section.problem(
            "tls",
            "has an address as `serverName`",
            "the name that is in the certificate, or the address as the host",
        );
    }
}

fn path(section: &mut Section<'_>) -> String {
    let namespace = section.text("namespace").filter(|path| !path.is_empty());
    match namespace {
        Some(namespace) if !section.has("path") => {
            section.warning(
                "namespace",
                "is Go-Nerve's accidental name of `path`",
                "rename it to `path`",
            );
            // Read, so that the reference has the key.
            section.text_or("path", "/");
            namespace
        }
        _ => section.text_or("path", "/"),
    }
}

fn request(section: &mut Section<'_>, target: String, path: &str, tls: Option<TlsOptions>) -> Option<CheckKind> {
    let method = method(section);
    let (host, headers) = headers(section);
    let expected = status_set(section, "200-399");
    let expect = section.text("expect").filter(|text| !text.is_empty());
    if expect.is_some() && method == Some(Method::HEAD) {
        section.problem(
            "expect",
            "can't be met: a `HEAD` is answered without a body",
            "another `method`",
        );
    }
    let http2 = section.flag_or("http2", false);
    let scheme = if tls.is_some() { "https" } else { "http" };
    let uri = uri(section, scheme, &host.unwrap_or(target), path);
    Some(CheckKind::Http(HttpConfig {
        method: method?,
        uri: uri?,
        headers,
        expected: expected?,
        expect,
        http2,
        tls,
    }))
}

fn method(section: &mut Section<'_>) -> Option<Method> {
    let word = section.text_or("method", "GET").to_ascii_uppercase();
    let method = Method::from_bytes(word.as_bytes())
        .ok()
        .filter(|method| *method != Method::CONNECT);
    if method.is_none() {
        let what = format!("`{}` is not a method of a request", word.escape_debug());
        section.problem("method", what, "e.g. `GET`, `HEAD` or `OPTIONS`");
    }
    method
}

/// The `Host`, and all other headers.
fn headers(section: &mut Section<'_>) -> (Option<String>, Vec<(HeaderName, Secret)>) {
    let (mut host, mut headers) = (None, Vec::new());
    for (name, value) in section.secret_map("headers") {
        let literal = value.literal();
        if literal.is_some_and(|text| HeaderValue::from_str(text).is_err()) {
            section.problem(
                "headers",
                format!("the value of `{}` has a line break in it", name.escape_debug()),
                "",
            );
        }
        match HeaderName::try_from(name.as_str()) {
            Ok(header::HOST) => {
                host = literal.map(str::to_owned);
                let good = host
                    .as_ref()
                    .is_some_and(|host| host.parse::<http::uri::Authority>().is_ok());
                if !good {
                    section.problem(
                        "headers",
                        "`Host` is neither a host nor a host and a port",
                        "e.g. `shop.example.org`",
                    );
                }
            }
            Ok(name) => headers.push((name, value)),
            Err(_) => {
                let what = format!("`{}` is no name of a header", name.escape_debug());
                section.problem("headers", what, "letters, digits and `-`");
            }
        }
    }
    (host, headers)
}

/// `status`.
pub(super) fn status_set(section: &mut Section<'_>, default: &str) -> Option<StatusSet> {
    let text = section.text_or("status", default);
    let set = StatusSet::parse(&text);
    if set.is_none() {
        section.problem(
            "status",
            format!("`{}` is no set of HTTP status codes", text.escape_debug()),
            "codes and ranges from 100 to 599, e.g. `200-399` or `200, 204`, or `not-5xx`",
        );
    }
    set
}

fn uri(section: &mut Section<'_>, scheme: &str, authority: &str, path: &str) -> Option<Uri> {
    let slash = if path.starts_with('/') { "" } else { "/" };
    let uri = Uri::try_from(format!("{scheme}://{authority}{slash}{}", escaped(path)));
    if let Err(error) = &uri {
        section.problem(
            "path",
            format!("makes no URL with the host and port: {error}"),
            "e.g. `/ping`",
        );
    }
    uri.ok()
}

/// What can't stand in a URL, in percent signs, as Go writes it.
fn escaped(path: &str) -> String {
    let plain = |byte: &u8| {
        byte.is_ascii_graphic() && !matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}')
    };
    path.bytes()
        .map(|byte| {
            if plain(&byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_escaped_once() {
        assert_eq!(escaped("/a b?c=é&d=%20"), "/a%20b?c=%C3%A9&d=%20");
    }
}
