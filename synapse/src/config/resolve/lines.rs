//! What text of the file may become part of haproxy.cfg or of a command line of HAProxy.

use std::path::Path;

use common::config::Section;

/// The longest path a Unix socket can have (`sun_path` with its closing NUL is 108 bytes).
pub(super) const UNIX_PATH_MAX: usize = 107;

/// The longest path HAProxy takes for one: it binds `<path>.<pid>.tmp` first (measured: 2.6.12 says "max 97").
pub(super) const HAPROXY_SOCKET_MAX: usize = 97;

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
