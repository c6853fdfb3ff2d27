//! Lines of HAProxy's 1.x days, which the versions synapse works with refuse. Pure.
//!
//! The table has the equivalent of today. Each of its rows is tried against a real HAProxy: it refuses the old line and
//! accepts the new one.

/// Where a line stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// `global`.
    Global,
    /// `defaults`.
    Defaults,
    /// A frontend, a backend, or both.
    Proxy,
}

/// What to write instead of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Replacement {
    /// This does exactly the same; `None` when it needs no line any more.
    Line(Option<String>),
    /// The replacement needs a decision of the operator.
    Advice(String),
    /// Nothing: 2.6 takes the line and does nothing with it, later versions refuse it.
    NoEffect,
}

/// How a row finds what to write instead.
#[derive(Debug, Clone, Copy)]
enum Rule {
    /// These words; the rest of the line stays.
    Words(&'static str),
    /// Nothing.
    Drop,
    /// The action that adds the header; the line names it as `Name:\ value`.
    AddHeader(&'static str),
    /// The action that deletes the header; the line names it as `^Name:`.
    DelHeader(&'static str),
    Advice(&'static str),
    /// See [`Replacement::NoEffect`].
    NoEffect,
}

const GLOBAL: &[(&str, Rule)] = &[
    ("nbproc", Rule::Words("nbthread")),
    (
        "tune.chksize",
        Rule::Advice("remove it: checks use buffers of `tune.bufsize`"),
    ),
];

const REPLACE: Rule =
    Rule::Advice("write `http-request replace-header`, or `replace-path` or `set-method` for the first line");
const REPLACE_RESPONSE: Rule = Rule::Advice("write `http-response replace-header`, or `set-status` for the first line");
const DENY: Rule = Rule::Advice("write `http-request deny if { … }`");
const ALLOW: Rule = Rule::Advice("write `http-request allow if { … }`");
const TARPIT: Rule = Rule::Advice("write `http-request tarpit if { … }`");
const DENY_RESPONSE: Rule = Rule::Advice("write `http-response deny if { … }`");
const HEADERS_STAY: Rule = Rule::Advice("remove it: it exempted headers from rules that are gone as well");
const RETURN: Rule = Rule::Advice("write `http-request return status 200 if { … }`");

const PROXY: &[(&str, Rule)] = &[
    ("option forceclose", Rule::Words("option httpclose")),
    ("option http-tunnel", Rule::Drop),
    ("option http-use-htx", Rule::Drop),
    ("option independant-streams", Rule::Words("option independent-streams")),
    ("option allredisp", Rule::Words("option redispatch")),
    ("redispatch", Rule::Words("option redispatch")),
    ("redisp", Rule::Words("option redispatch")),
    ("clitimeout", Rule::Words("timeout client")),
    ("contimeout", Rule::Words("timeout connect")),
    ("srvtimeout", Rule::Words("timeout server")),
    ("timeout clitimeout", Rule::Words("timeout client")),
    ("timeout contimeout", Rule::Words("timeout connect")),
    ("timeout srvtimeout", Rule::Words("timeout server")),
    ("bind-process", Rule::NoEffect),
    (
        "block",
        Rule::Advice("write `http-request deny` with the same condition, before all other `http-request` lines"),
    ),
    ("reqadd", Rule::AddHeader("http-request add-header")),
    ("rspadd", Rule::AddHeader("http-response add-header")),
    ("reqdel", Rule::DelHeader("http-request del-header")),
    ("reqidel", Rule::DelHeader("http-request del-header")),
    ("rspdel", Rule::DelHeader("http-response del-header")),
    ("rspidel", Rule::DelHeader("http-response del-header")),
    ("reqrep", REPLACE),
    ("reqirep", REPLACE),
    ("rsprep", REPLACE_RESPONSE),
    ("rspirep", REPLACE_RESPONSE),
    ("reqdeny", DENY),
    ("reqideny", DENY),
    ("reqallow", ALLOW),
    ("reqiallow", ALLOW),
    ("reqtarpit", TARPIT),
    ("reqitarpit", TARPIT),
    ("rspdeny", DENY_RESPONSE),
    ("rspideny", DENY_RESPONSE),
    ("reqpass", HEADERS_STAY),
    ("reqipass", HEADERS_STAY),
    ("mode health", RETURN),
    ("monitor-net", RETURN),
    (
        "appsession",
        Rule::Advice("write `cookie`, or a `stick-table` with `stick on` and `stick store-response`"),
    ),
    (
        "grace",
        Rule::Advice("remove it: the next worker takes over the listeners without a gap"),
    ),
    (
        "option http_proxy",
        Rule::Advice("remove it: it has not worked since HAProxy 1.9"),
    ),
    (
        "option tcpsplice",
        Rule::Advice("write `option splice-auto`, if anything"),
    ),
];

/// The replacement of `line`; `None` when HAProxy accepts it, as far as this table goes.
pub(crate) fn instead(line: &str, place: Place) -> Option<Replacement> {
    let table = if place == Place::Global { GLOBAL } else { PROXY };
    let line = line.trim();
    let (no, said) = match line.strip_prefix("no ") {
        Some(said) => ("no ", said.trim_start()),
        None => ("", line),
    };
    let (rule, rest) = table
        .iter()
        .find_map(|(words, rule)| Some((*rule, after(said, words)?)))?;
    let found = match rule {
        Rule::Words(words) => Some(Some(format!("{no}{words} {rest}").trim_end().to_owned())),
        Rule::Drop => Some(None),
        Rule::AddHeader(action) => added(rest).map(|header| Some(format!("{action} {header}"))),
        Rule::DelHeader(action) => deleted(rest).map(|header| Some(format!("{action} {header}"))),
        Rule::NoEffect => return Some(Replacement::NoEffect),
        Rule::Advice(_) => None,
    };
    let advice = |rule| match rule {
        Rule::Advice(advice) => advice.to_owned(),
        Rule::AddHeader(action) | Rule::DelHeader(action) | Rule::Words(action) => format!("write `{action}`"),
        Rule::Drop | Rule::NoEffect => "remove it".to_owned(),
    };
    Some(match found {
        // HAProxy takes no rules in a `defaults` without a name.
        Some(Some(line)) if place == Place::Defaults && line.starts_with("http-re") => Replacement::Advice(format!(
            "move it to the frontends or backends it is for, as `{line}`: `defaults` takes no such rules"
        )),
        Some(line) => Replacement::Line(line),
        None => Replacement::Advice(advice(rule)),
    })
}

/// The text after `words` at the start of `line`, with any blanks between them.
fn after<'l>(line: &'l str, words: &str) -> Option<&'l str> {
    let mut rest = line;
    for word in words.split(' ') {
        rest = rest.trim_start().strip_prefix(word)?;
        if !(rest.is_empty() || rest.starts_with([' ', '\t'])) {
            return None;
        }
    }
    Some(rest.trim_start())
}

/// `Name:\ value [condition]` as `Name value [condition]`, if the value means the same where `%` has a meaning.
fn added(rest: &str) -> Option<String> {
    let (header, condition) = first_word(rest)?;
    let (name, mut value) = header.split_once(':').filter(|(name, _)| is_name(name))?;
    while let Some(shorter) = value.strip_prefix("\\ ") {
        value = shorter;
    }
    if value.is_empty() {
        return None;
    }
    let value = value.replace('%', "%%");
    Some(format!("{name} {value} {condition}").trim_end().to_owned())
}

/// `^Name:` with or without `.*` as `Name [condition]`; any other pattern may mean more than one header.
fn deleted(rest: &str) -> Option<String> {
    let (pattern, condition) = first_word(rest)?;
    let (name, tail) = pattern.strip_prefix('^')?.split_once(':')?;
    let whole = matches!(tail, "" | ".*" | "\\ .*" | "\\ *.*");
    (whole && is_name(name)).then(|| format!("{name} {condition}").trim_end().to_owned())
}

/// The first token, in which blanks are escaped, and the rest. Other escapes and quotes are left as they are.
fn first_word(text: &str) -> Option<(&str, &str)> {
    let mut escaped = false;
    let end = text.find(|c: char| {
        let ends = !escaped && matches!(c, ' ' | '\t');
        escaped = !escaped && c == '\\';
        ends
    });
    let (word, rest) = text.split_at_checked(end.unwrap_or(text.len()))?;
    let plain = !word.replace("\\ ", " ").contains(['\\', '"', '\'', '#', '$']);
    (plain && !word.is_empty()).then(|| (word, rest.trim_start()))
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

#[cfg(test)]
mod tests;
