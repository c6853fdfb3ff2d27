//! What text of the file may become part of haproxy.cfg or of a command line of HAProxy.

use std::net::IpAddr;
use std::path::Path;

use common::config::Section;

use super::obsolete::{Place, Replacement, instead};
use super::router_context::RouterContext;

/// The longest path a Unix socket can have (`sun_path` with its closing NUL is 108 bytes).
pub(super) const UNIX_PATH_MAX: usize = 107;

/// The longest path HAProxy accepts for one: it binds `<path>.<pid>.tmp` first (measured: 2.6.12 reports "max 97").
pub(super) const HAPROXY_SOCKET_MAX: usize = 97;

impl RouterContext {
    /// A list of lines of haproxy.cfg that every part of it depends on: one that HAProxy refuses is a problem.
    pub(super) fn lines(&self, section: &mut Section<'_>, key: &'static str, place: Place) -> Vec<String> {
        let lines = section.texts(key);
        self.modern(section, key, lines, place, Section::problem)
    }

    /// A list of lines of one service: it is left out when HAProxy refuses one, and the others go on.
    pub(super) fn service_lines(&self, section: &mut Section<'_>, key: &'static str) -> Vec<String> {
        let lines = section.texts(key);
        self.modern(section, key, lines, Place::Proxy, Section::warning)
    }

    /// Checks lines, and rewrites those of HAProxy's 1.x days if that is wished and what they mean is certain.
    pub(super) fn modern<'a>(
        &self,
        section: &mut Section<'a>,
        key: &str,
        lines: Vec<String>,
        place: Place,
        refused: fn(&mut Section<'a>, &str, String, String),
    ) -> Vec<String> {
        check(section, key, &lines);
        if !self.haproxy {
            return lines;
        }
        let refusal = |line: &str| format!("`{line}` is of HAProxy's 1.x days, and HAProxy refuses it now");
        let mut modern = Vec::with_capacity(lines.len());
        for line in lines {
            match instead(&line, place) {
                None => modern.push(line),
                Some(Replacement::Line(new)) if self.modernise => {
                    let now = new.as_ref().map_or("dropped".to_owned(), |new| format!("made `{new}`"));
                    let what = format!("`{line}` is of HAProxy's 1.x days, and was {now}");
                    section.warning(key, what, "change it in the file as well");
                    modern.extend(new);
                }
                Some(Replacement::NoEffect) => {
                    let what = format!("`{line}` does nothing in HAProxy 2.6, and later versions refuse it");
                    section.warning(key, what, "remove it");
                    modern.extend((!self.modernise).then_some(line));
                }
                Some(Replacement::Line(new)) => {
                    let new = new.map_or("remove it".to_owned(), |new| format!("write `{new}`"));
                    let help = format!("{new}, or set `modernise: true`");
                    refused(section, key, refusal(&line), help);
                    modern.push(line);
                }
                Some(Replacement::Advice(advice)) => {
                    refused(section, key, refusal(&line), advice);
                    modern.push(line);
                }
            }
        }
        modern
    }
}

/// Refuses what a `bind` line can't have before its port. A name would be looked up at each reload, and one that is not
/// found refuses the whole file.
pub(super) fn bind_host(section: &mut Section<'_>, key: &str, host: &str) {
    let plain = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    if !(host == "*" || host == "localhost" || plain.parse::<IpAddr>().is_ok()) {
        section.problem(
            key,
            format!("`{host}` is not an IP address"),
            "use an address of this machine, or `*` for all",
        );
    }
}

/// The words of a line as HAProxy splits it, up to a comment.
pub(super) fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split_ascii_whitespace().take_while(|word| !word.starts_with('#'))
}

/// Refuses lines that are not one line each.
pub(super) fn check(section: &mut Section<'_>, key: &str, lines: &[String]) {
    for line in lines {
        if line.chars().any(|c| c.is_control() && c != '\t') {
            section.problem(
                key,
                format!("{line:?} holds a control character"),
                "each item is one line of haproxy.cfg; write several lines as several items",
            );
        }
    }
}

/// Whether HAProxy takes `name` for a proxy.
pub(super) fn is_proxy_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b':' | b'-'))
}

/// Refuses a proxy's name that HAProxy would refuse.
pub(super) fn check_name(section: &mut Section<'_>, key: &str, name: &str) {
    if !is_proxy_name(name) {
        section.problem(
            key,
            format!("{name:?} can't be the name of a section in HAProxy"),
            "use letters, digits, `_`, `.`, `:` and `-`",
        );
    }
}

/// Refuses a path that can't be a Unix socket, or can't be written into haproxy.cfg or on a command line as it is.
pub(super) fn socket_path(section: &mut Section<'_>, key: &str, path: &Path, max: usize) {
    let length = path.as_os_str().len();
    if length > max {
        section.problem(
            key,
            format!(
                "the Unix socket {} has a path of {length} bytes, and {max} is the limit",
                path.display()
            ),
            "use a shorter directory, e.g. below /run",
        );
    }
    plain_path(section, key, path);
}

/// Refuses a path with characters that mean something to HAProxy's configuration or command line.
pub(super) fn plain_path(section: &mut Section<'_>, key: &str, path: &Path) {
    let special = |c: char| c.is_whitespace() || c.is_control() || "\"'\\#$,".contains(c);
    if path.to_string_lossy().contains(special) {
        section.problem(
            key,
            format!(
                "the path {} holds a blank, a quote or another character that HAProxy gives a meaning",
                path.display()
            ),
            "use letters, digits, `/`, `.`, `_` and `-`",
        );
    }
}
