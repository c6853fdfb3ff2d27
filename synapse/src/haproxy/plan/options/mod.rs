//! The options at the end of a server line. Pure.
//!
//! They have two authors. An instance's `haproxy_server_options` come from the registry and are hostile: only keywords of a
//! fixed list, each once, each with a value of a fixed form, are taken; the rest is left out and reported. If the operator
//! trusts the registry, more is taken ([`OptionsPolicy::Legacy`]), but nothing that leaves its line or is synapse's to set.
//! The operator's `serverOptions` come from our own configuration and are trusted, except that they stay on their line and
//! get only safe values.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use crate::config::{CookieValue, OptionsPolicy};
use crate::haproxy::plan::model::instance_name;

/// Bytes; longer options are an attack.
const MAX_LENGTH: usize = 1024;
/// HAProxy takes 64 words in a line; the operator's have to fit beside these.
const MAX_WORDS: usize = 40;
/// A day: no longer interval is meaningful.
const MAX_MILLIS: u64 = 24 * 60 * 60 * 1000;

/// An instance's options, checked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Parsed {
    /// The options for the file: single spaces, and in [`OptionsPolicy::Strict`] words of `[A-Za-z0-9_.-]`.
    pub(crate) options: String,
    /// The others, each fit for a log.
    pub(crate) ignored: Vec<String>,
}

/// The form of a keyword's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Flag,
    /// A whole number in this range.
    Number(u64, u64),
    /// A time of 1 ms to a day.
    Time,
    OneOf(&'static [&'static str]),
    /// 1 to 64 of `[A-Za-z0-9_.-]`.
    Token,
    /// Any; the keyword is never taken: paths, identities, other servers, downgrades.
    Refused,
}

fn form(keyword: &str) -> Option<Form> {
    Some(match keyword {
        "backup" | "check" | "check-send-proxy" | "send-proxy" | "send-proxy-v2" => Form::Flag,
        "inter" | "fastinter" | "downinter" | "slowstart" => Form::Time,
        "rise" | "fall" | "error-limit" => Form::Number(1, 1000),
        "port" => Form::Number(1, 65535),
        "maxconn" | "minconn" | "maxqueue" => Form::Number(0, 1_000_000),
        "cookie" => Form::Token,
        "observe" => Form::OneOf(&["layer4", "layer7"]),
        "on-error" => Form::OneOf(&["fastinter", "fail-check", "sudden-death", "mark-down"]),
        "on-marked-down" => Form::OneOf(&["shutdown-sessions"]),
        "on-marked-up" => Form::OneOf(&["shutdown-backup-sessions"]),
        // The weight comes from the registration's own field, and the id is synapse's to set.
        "weight" | "id" | "redir" | "source" | "ca-file" | "crt" | "crl-file" | "track" | "init-addr" | "resolvers"
        | "sni" | "verify" | "verifyhost" | "addr" | "agent-addr" | "agent-inter" | "agent-port" | "agent-send"
        | "proto" | "alpn" | "ciphers" | "ciphersuites" | "namespace" | "usesrc" => Form::Refused,
        _ => return None,
    })
}

impl Form {
    fn takes(self, value: &str) -> bool {
        match self {
            Self::Flag | Self::Refused => false,
            Self::Number(min, max) => number(value).is_some_and(|number| (min..=max).contains(&number)),
            Self::Time => millis(value).is_some_and(|millis| (1..=MAX_MILLIS).contains(&millis)),
            Self::OneOf(words) => words.contains(&value),
            Self::Token => (1..=64).contains(&value.len()) && value.chars().all(|c| is_safe(c, "_.-")),
        }
    }
}

fn is_safe(c: char, punctuation: &str) -> bool {
    c.is_ascii_alphanumeric() || punctuation.contains(c)
}

/// Digits alone: `parse` would take a sign.
fn number(text: &str) -> Option<u64> {
    let digits = text.len() <= 9 && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

/// A time as HAProxy writes it: without a unit in milliseconds. Sub-millisecond units are not taken.
fn millis(text: &str) -> Option<u64> {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let factor = match unit {
        "" | "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 60 * 60 * 1000,
        "d" => MAX_MILLIS,
        _ => return None,
    };
    number(text.strip_suffix(unit)?)?.checked_mul(factor)
}

/// Keywords of a server line that no policy takes, and whether a value follows: the weight comes from the registration's
/// own field, id and state are synapse's to set.
const RESERVED: [(&str, bool); 4] = [("weight", true), ("id", true), ("enabled", false), ("disabled", false)];

/// Checks an instance's options.
pub(crate) fn parse(text: &str, policy: OptionsPolicy) -> Parsed {
    // Only space and tab separate words: any other character that looks like a gap, above all a line feed, spoils the option.
    let words: Vec<&str> = text.split([' ', '\t']).filter(|word| !word.is_empty()).collect();
    let (taken, ignored) = match policy {
        OptionsPolicy::Strict if text.len() > MAX_LENGTH => {
            let ignored = format!("{} bytes, more than {MAX_LENGTH}", text.len());
            (Vec::new(), vec![ignored])
        }
        OptionsPolicy::Strict => strict(words),
        OptionsPolicy::Legacy if is_plain(text, &words) => legacy(words),
        OptionsPolicy::Ignore if text.trim().is_empty() => (Vec::new(), Vec::new()),
        OptionsPolicy::Legacy | OptionsPolicy::Ignore => (Vec::new(), vec![printable(text)]),
    };
    Parsed {
        options: taken.join(" "),
        ignored,
    }
}

/// Whether HAProxy reads the text as the plain words it looks like. One other word refuses all, because it may be the value
/// of any keyword.
fn is_plain(text: &str, words: &[&str]) -> bool {
    let is_plain = |c: char| c.is_ascii_graphic() && !"\"'\\#$;".contains(c);
    text.len() <= MAX_LENGTH && words.len() <= MAX_WORDS && words.iter().all(|word| word.chars().all(is_plain))
}

/// Takes all but [`RESERVED`].
fn legacy(words: Vec<&str>) -> (Vec<&str>, Vec<String>) {
    let (mut taken, mut ignored) = (Vec::new(), Vec::new());
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        match RESERVED.iter().find(|(keyword, _)| *keyword == word) {
            Some((_, true)) => ignored.push(format!("{word} {}", words.next().unwrap_or_default())),
            Some((_, false)) => ignored.push(word.to_owned()),
            None => taken.push(word),
        }
    }
    (taken, ignored)
}

/// Takes what is on the allow-list.
fn strict(words: Vec<&str>) -> (Vec<&str>, Vec<String>) {
    let (mut taken, mut ignored) = (Vec::new(), Vec::new());
    let mut seen = BTreeSet::new();
    let mut words = words.into_iter();
    while let Some(keyword) = words.next() {
        let Some(form) = form(keyword) else {
            ignored.push(printable(keyword));
            continue;
        };
        let value = (form != Form::Flag).then(|| words.next().unwrap_or_default());
        let fits = taken.len() + 2 <= MAX_WORDS;
        if fits && value.is_none_or(|value| form.takes(value)) && seen.insert(keyword) {
            taken.push(keyword);
            taken.extend(value);
        } else {
            ignored.push(printable(&format!("{keyword} {}", value.unwrap_or_default())));
        }
    }
    (taken, ignored)
}

/// Text from the registry, fit for a log and a page.
fn printable(text: &str) -> String {
    text.trim().chars().take(64).flat_map(char::escape_debug).collect()
}

/// A name that is safe in a configuration file, a socket command and a log: `[A-Za-z0-9_.:-]`, 1 to 60 of them.
pub(crate) fn safe_name(name: &str) -> String {
    let safe = name.chars().take(60).map(|c| if is_safe(c, "_.:-") { c } else { '_' });
    let safe: String = safe.collect();
    if safe.is_empty() { "server".into() } else { safe }
}

/// The operator's options for the server lines of one service: `serverOptions`, expanded once for each instance, because a
/// template may contain `randString`, and other options at each step would be a reload at each step.
#[derive(Debug, Default)]
pub(crate) struct OperatorOptions {
    /// What becomes of the options of a registration.
    pub(crate) policy: OptionsPolicy,
    template: String,
    expanded: BTreeMap<(String, SocketAddr), Arc<str>>,
    spare: Option<Arc<str>>,
}

impl OperatorOptions {
    /// Tries the template.
    pub(crate) fn new(template: &str) -> Result<Self, String> {
        let one = expand(template, "one", SocketAddr::from(([192, 0, 2, 1], 1)))?;
        let two = expand(template, "two", SocketAddr::from(([192, 0, 2, 2], 2)))?;
        Ok(Self {
            template: template.to_owned(),
            spare: (one == two).then(|| one.into()),
            ..Self::default()
        })
    }

    /// The same with a cookie for each server.
    pub(crate) fn with_cookie(template: &str, cookie: Option<CookieValue>) -> Result<Self, String> {
        let value = match cookie {
            None => return Self::new(template),
            Some(CookieValue::Name) => "{{.Server}}",
            Some(CookieValue::Hash) => "{{sha1String .Server}}",
        };
        Self::new(&format!("cookie {value} {template}"))
    }

    /// The options that all instances share; `None` if they differ.
    pub(crate) fn spare(&self) -> Option<&Arc<str>> {
        self.spare.as_ref()
    }

    /// The options for one instance; `name` is safe.
    pub(crate) fn of(&mut self, name: &str, address: SocketAddr) -> Result<Arc<str>, String> {
        let key = (name.to_owned(), address);
        if let Some(known) = self.spare.as_ref().or_else(|| self.expanded.get(&key)) {
            return Ok(Arc::clone(known));
        }
        let options: Arc<str> = expand(&self.template, name, address)?.into();
        self.expanded.insert(key, Arc::clone(&options));
        Ok(options)
    }

    /// Forgets the instances at addresses of which `keep` is false.
    pub(crate) fn retain(&mut self, keep: impl Fn(SocketAddr) -> bool) {
        self.expanded.retain(|(_, address), _| keep(*address));
    }
}

fn expand(template: &str, name: &str, address: SocketAddr) -> Result<String, String> {
    let fields = BTreeMap::from([
        ("Name".to_owned(), name.to_owned()),
        ("Host".to_owned(), address.ip().to_string()),
        ("Port".to_owned(), address.port().to_string()),
        // The name of a slot of its own. Spare slots change their instances, so theirs would not do.
        ("Server".to_owned(), instance_name(name, address)),
    ]);
    let text = if template.contains("{{") {
        common::template::render(template, &fields).map_err(|error| error.to_string())?
    } else {
        template.to_owned()
    };
    match text.chars().find(|c| c.is_control() && *c != '\t') {
        Some(c) => Err(format!("it contains the control character {}", c.escape_debug())),
        None => Ok(text.split_ascii_whitespace().collect::<Vec<_>>().join(" ")),
    }
}

#[cfg(test)]
mod tests;
