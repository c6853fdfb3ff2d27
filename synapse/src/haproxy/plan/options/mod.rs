//! The end of a server line. Pure.
//!
//! Two authors write it. The instance's `haproxy_server_options` come from the registry and are hostile: only keywords
//! of a fixed list, each once, each value of a fixed form, are taken; the rest is left out and said. An operator who
//! trusts the registry may take more ([`OptionsPolicy::Legacy`]), but nothing that leaves its line or is ours to say. The
//! operator's `serverOptions` come from our own configuration and are trusted, except that they stay on their line and
//! see only safe values.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use crate::config::{CookieValue, OptionsPolicy};

use crate::haproxy::plan::model::instance_name;

/// Longer options are not an instance's but an attack's.
const MAX_LENGTH: usize = 1024;
/// HAProxy takes 64 words in a line; the operator's have to fit with_suffix these.
const MAX_WORDS: usize = 40;
/// A day: no interval that means something is longer.
const MAX_MILLIS: u64 = 24 * 60 * 60 * 1000;

/// An instance's options, sorted out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Parsed {
    /// What goes into the file: single spaces, nothing but `[A-Za-z0-9_.-]` in a word.
    pub(crate) options: String,
    /// What doesn't, each fit for a log.
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
    /// `[A-Za-z0-9_.-]`, as many as 64.
    Token,
    /// Takes a value and is never taken itself: paths, identities, other servers, downgrades.
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
        // The weight that counts is the registration's own, and the id is ours.
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
            Self::Number(least, most) => number(value).is_some_and(|number| (least..=most).contains(&number)),
            Self::Time => millis(value).is_some_and(|millis| (1..=MAX_MILLIS).contains(&millis)),
            Self::OneOf(words) => words.contains(&value),
            Self::Token => {
                (1..=64).contains(&value.len())
                    && value
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
            }
        }
    }
}

/// Digits alone: `parse` would take a sign.
fn number(text: &str) -> Option<u64> {
    let digits = (1..=9).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// A time as HAProxy writes it: milliseconds without a unit. Sub-millisecond times are none.
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

/// Keywords of a server line that no policy takes, and whether a value follows: the weight that counts is the
/// registration's own, and id and state are ours.
const OURS: [(&str, bool); 4] = [("weight", true), ("id", true), ("enabled", false), ("disabled", false)];

/// Sorts out an instance's options.
pub(crate) fn parse(text: &str, policy: OptionsPolicy) -> Parsed {
    match policy {
        OptionsPolicy::Strict => strict(text),
        OptionsPolicy::Legacy => legacy(text),
        OptionsPolicy::Ignore if text.trim().is_empty() => Parsed::default(),
        OptionsPolicy::Ignore => Parsed {
            options: String::new(),
            ignored: vec![printable(text)],
        },
    }
}

/// Everything but [`OURS`], as long as HAProxy reads it as the plain words it looks like: one strange word refuses all,
/// for nobody knows which keyword it was the value of.
fn legacy(text: &str) -> Parsed {
    let plain = |word: &str| {
        word.bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"\"'\\#$;".contains(&byte))
    };
    let words: Vec<&str> = text.split([' ', '\t']).filter(|word| !word.is_empty()).collect();
    if text.len() > MAX_LENGTH || words.len() > MAX_WORDS || !words.iter().all(|word| plain(word)) {
        return Parsed {
            options: String::new(),
            ignored: vec![printable(text)],
        };
    }
    let (mut taken, mut ignored) = (Vec::new(), Vec::new());
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        match OURS.iter().find(|(keyword, _)| *keyword == word) {
            Some((_, true)) => ignored.push(format!("{word} {}", words.next().unwrap_or_default())),
            Some((_, false)) => ignored.push(word.to_owned()),
            None => taken.push(word),
        }
    }
    Parsed {
        options: taken.join(" "),
        ignored,
    }
}

/// What is on the allow-list.
fn strict(text: &str) -> Parsed {
    if text.len() > MAX_LENGTH {
        return Parsed {
            options: String::new(),
            ignored: vec![format!("{} bytes, more than {MAX_LENGTH}", text.len())],
        };
    }
    let mut taken: Vec<&str> = Vec::new();
    let mut seen = BTreeSet::new();
    let mut ignored = Vec::new();
    // Only space and tab part words: whatever else may look like a gap, a line feed above all, spoils its word.
    let mut words = text.split([' ', '\t']).filter(|word| !word.is_empty());
    while let Some(keyword) = words.next() {
        let Some(form) = form(keyword) else {
            ignored.push(printable(keyword));
            continue;
        };
        let value = if form == Form::Flag {
            None
        } else {
            Some(words.next().unwrap_or_default())
        };
        let room = taken.len().saturating_add(2) <= MAX_WORDS;
        if room && value.is_none_or(|value| form.takes(value)) && seen.insert(keyword) {
            taken.push(keyword);
            taken.extend(value);
        } else {
            ignored.push(printable(&format!("{keyword} {}", value.unwrap_or_default())));
        }
    }
    Parsed {
        options: taken.join(" "),
        ignored,
    }
}

/// Text from the registry, fit for a log and a page.
fn printable(text: &str) -> String {
    text.trim().chars().take(64).flat_map(char::escape_debug).collect()
}

/// A name that is safe in a configuration file, a socket command and a log: `[A-Za-z0-9_.:-]`, 1 to 60 of them.
pub(crate) fn safe_name(name: &str) -> String {
    let safe: String = name
        .chars()
        .take(60)
        .map(|c| {
            if c.is_ascii_alphanumeric() || "_.:-".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect();
    if safe.is_empty() { "server".into() } else { safe }
}

/// What the operator says about the server lines of one service: `serverOptions`, expanded once for each instance (a
/// template may hold `randString`, and options that differ at each look would be a reload at each look), and what
/// registrations have a say in.
#[derive(Debug)]
pub(crate) struct OperatorOptions {
    /// What becomes of the options of a registration.
    pub(crate) policy: OptionsPolicy,
    template: String,
    expanded: BTreeMap<(String, SocketAddr), Arc<str>>,
    spare: Option<Arc<str>>,
}

impl OperatorOptions {
    /// Tries the template; an error is the operator's to mend.
    pub(crate) fn new(template: &str) -> Result<Self, String> {
        let one = expand(template, "one", SocketAddr::from(([192, 0, 2, 1], 1)))?;
        let two = expand(template, "two", SocketAddr::from(([192, 0, 2, 2], 2)))?;
        Ok(Self {
            policy: OptionsPolicy::default(),
            template: template.to_owned(),
            expanded: BTreeMap::new(),
            spare: (one == two).then(|| one.into()),
        })
    }

    /// The same for servers that cookies lead to.
    pub(crate) fn with_cookie(template: &str, cookie: Option<CookieValue>) -> Result<Self, String> {
        let value = match cookie {
            None => return Self::new(template),
            Some(CookieValue::Name) => "{{.Server}}",
            Some(CookieValue::Hash) => "{{sha1String .Server}}",
        };
        Self::new(&format!("cookie {value} {template}"))
    }

    /// What they are for every instance alike; `None` when they differ.
    pub(crate) fn spare(&self) -> Option<&Arc<str>> {
        self.spare.as_ref()
    }

    /// What they are for this instance; `name` is safe.
    pub(crate) fn of(&mut self, name: &str, address: SocketAddr) -> Result<Arc<str>, String> {
        if let Some(spare) = &self.spare {
            return Ok(Arc::clone(spare));
        }
        let key = (name.to_owned(), address);
        if let Some(known) = self.expanded.get(&key) {
            return Ok(Arc::clone(known));
        }
        let options: Arc<str> = expand(&self.template, name, address)?.into();
        self.expanded.insert(key, Arc::clone(&options));
        Ok(options)
    }

    /// Forgets instances that are gone.
    pub(crate) fn retain(&mut self, keep: impl Fn(SocketAddr) -> bool) {
        self.expanded.retain(|(_, address), _| keep(*address));
    }
}

fn expand(template: &str, name: &str, address: SocketAddr) -> Result<String, String> {
    let fields = BTreeMap::from([
        ("Name".to_owned(), name.to_owned()),
        ("Host".to_owned(), address.ip().to_string()),
        ("Port".to_owned(), address.port().to_string()),
        // What the server is called once it has a slot of its own; spare slots change their tenants, so it is not theirs.
        ("Server".to_owned(), instance_name(name, address)),
    ]);
    let text = if template.contains("{{") {
        common::template::render(template, &fields).map_err(|error| error.to_string())?
    } else {
        template.to_owned()
    };
    match text.chars().find(|c| c.is_control() && *c != '\t') {
        Some(c) => Err(format!("it holds the control character {}", c.escape_debug())),
        None => Ok(text.split_ascii_whitespace().collect::<Vec<_>>().join(" ")),
    }
}

#[cfg(test)]
mod tests;
