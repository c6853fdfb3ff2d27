//! The keys of `http`.

use common::config::Section;

use crate::config::CheckKind;

/// The status of a `GET`.
#[derive(Debug, Clone)]
pub struct HttpConfig {
    /// What is fetched.
    pub url: reqwest::Url,
    /// The status codes of a healthy answer.
    pub expected: StatusSet,
}

/// A set of HTTP status codes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusSet(Vec<(u16, u16)>);

impl StatusSet {
    /// Reads `200-399` or `200, 204, 301-302`: codes and ranges within 100 to 599.
    pub fn parse(text: &str) -> Option<Self> {
        text.split(',')
            .map(|part| {
                let (low, high) = part.split_once('-').unwrap_or((part, part));
                let low: u16 = low.trim().parse().ok()?;
                let high: u16 = high.trim().parse().ok()?;
                (100 <= low && low <= high && high <= 599).then_some((low, high))
            })
            .collect::<Option<Vec<_>>>()
            .map(Self)
    }

    /// Whether `code` is in it.
    pub fn contains(&self, code: u16) -> bool {
        self.0.iter().any(|&(low, high)| low <= code && code <= high)
    }
}

pub(super) fn read(section: &mut Section<'_>, host: Option<&str>, port: u16) -> Option<CheckKind> {
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
    Some(CheckKind::Http(HttpConfig {
        url: url?,
        expected: expected?,
    }))
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
