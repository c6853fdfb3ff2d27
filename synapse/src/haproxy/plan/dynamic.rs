//! Which backends get new servers while HAProxy runs (`add server`), and with which words. Pure.
//!
//! A server that is made so has to be the one that a reload would make of its line. HAProxy does not give it what
//! `default-server` says, so that is said here; and it makes none where `balance` is not dynamic. What can't be told from
//! the lines for certain is left to slots, and what HAProxy refuses all the same to the caller.

use std::sync::Arc;

/// The words of an option that is meaningless for a server with an address, and that HAProxy does not take.
const WITHOUT_MEANING: [&str; 1] = ["init-addr"];
/// Our own to say.
const STATES: [&str; 2] = ["enabled", "disabled"];
/// HAProxy takes 64 words in a command; the others are ours.
const MAX_WORDS: usize = 52;
/// And 16 KiB.
const MAX_LENGTH: usize = 8 * 1024;
/// What `balance` says when servers are found by their place in a map, unless it is made for servers to come and go.
const BY_MAP: [&str; 7] = ["source", "uri", "url_param", "hdr", "rdp-cookie", "hash", "static-rr"];

/// How a backend gets new servers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct DynamicServers {
    /// What its server lines inherit.
    inherited: Arc<str>,
    /// The operator's own servers in it.
    named: Vec<String>,
    /// What the names of those begin with that `server-template` makes.
    templates: Vec<String>,
}

impl DynamicServers {
    /// Of a backend of these lines after these `defaults`; `None` when it gets none, or that can't be told.
    pub(crate) fn of(defaults: &[String], backend: &[String]) -> Option<Self> {
        let mut dynamic = Self::default();
        let mut inherited = Vec::new();
        let (mut balance, mut consistent) = ("roundrobin", false);
        for line in defaults.iter().chain(backend).flat_map(|text| text.lines()) {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            match words.as_slice() {
                // `.if`: whether the lines after it count is for HAProxy to say.
                [word, ..] if word.starts_with('.') => return None,
                ["default-server", options @ ..] => inherited.push(plain(options)?),
                ["balance", algorithm, ..] => balance = algorithm,
                ["hash-type", kind, ..] => consistent = *kind == "consistent",
                ["server", name, ..] if is_plain(name) => dynamic.named.push((*name).to_owned()),
                ["server-template", prefix, ..] if is_plain(prefix) => dynamic.templates.push((*prefix).to_owned()),
                ["server" | "server-template", ..] => return None,
                _ => {}
            }
        }
        let algorithm = balance.split_once('(').map_or(balance, |(word, _)| word);
        if BY_MAP.contains(&algorithm) && (algorithm == "static-rr" || !consistent) {
            return None;
        }
        dynamic.inherited = inherited.concat().join(" ").into();
        dynamic.words(&[]).is_some().then_some(dynamic)
    }

    /// What a new server of this class inherits and what is its own; `None` when a command can't say it.
    pub(crate) fn options(&self, options: &str) -> Option<(Arc<str>, Arc<str>)> {
        let own = plain(&options.split_ascii_whitespace().collect::<Vec<_>>())?;
        self.words(&own)?;
        Some((Arc::clone(&self.inherited), own.join(" ").into()))
    }

    /// Whether such a server has a check or an agent that has to be begun.
    pub(crate) fn has_keyword(&self, keyword: &str, options: &str) -> bool {
        let mut words = self.inherited.split(' ').chain(options.split(' '));
        words.any(|word| word == keyword)
    }

    /// Whether the operator has a server of this name in the backend.
    pub(crate) fn is_operator_server(&self, name: &str) -> bool {
        let of_template = |prefix: &String| {
            let number = name.strip_prefix(prefix.as_str()).unwrap_or_default();
            !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
        };
        self.named.iter().any(|named| named == name) || self.templates.iter().any(of_template)
    }

    fn words(&self, own: &[&str]) -> Option<usize> {
        let words = self.inherited.split(' ').count().checked_add(own.len())?;
        let length = own.iter().map(|word| word.len().saturating_add(1)).sum::<usize>();
        let fits = words <= MAX_WORDS && self.inherited.len().saturating_add(length) <= MAX_LENGTH;
        fits.then_some(words)
    }
}

/// The options without those that a new server is not given; `None` when a word would mean something else in a command
/// than in the file.
fn plain<'w>(options: &[&'w str]) -> Option<Vec<&'w str>> {
    let mut taken = Vec::new();
    let mut words = options.iter().copied();
    while let Some(word) = words.next() {
        if !is_plain(word) {
            return None;
        }
        if WITHOUT_MEANING.contains(&word) {
            words.next();
        } else if !STATES.contains(&word) {
            taken.push(word);
        }
    }
    Some(taken)
}

/// Neither HAProxy's file nor its socket reads anything into it; `<<` would announce a payload.
fn is_plain(word: &str) -> bool {
    word.bytes()
        .all(|byte| byte.is_ascii_graphic() && !b"\"'\\#$;<".contains(&byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn dynamic(defaults: &[&str], backend: &[&str]) -> Option<DynamicServers> {
        let lines = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
        DynamicServers::of(&lines(defaults), &lines(backend))
    }

    #[test]
    fn what_a_line_would_inherit_is_said() {
        let dynamic = dynamic(
            &["default-server init-addr last,libc,none inter 2s", "mode http"],
            &["default-server check disabled rise 2"],
        )
        .unwrap();
        let (inherited, own) = dynamic.options("backup init-addr none").unwrap();
        assert_eq!((&*inherited, &*own), ("inter 2s check rise 2", "backup"));
        assert!(dynamic.has_keyword("check", "backup") && !dynamic.has_keyword("agent-check", "backup"));
    }

    #[test]
    fn not_where_haproxy_makes_none() {
        let by = |line: &str| dynamic(&[], &[line]).is_some();
        assert!(by("balance roundrobin") && by("balance leastconn") && by("balance random(2)") && by("balance first"));
        assert!(
            !by("balance static-rr") && !by("balance source") && !by("balance hdr(host)") && !by("balance uri whole")
        );
        assert!(dynamic(&["hash-type consistent"], &["balance uri"]).is_some());
        assert!(dynamic(&["hash-type consistent"], &["balance static-rr"]).is_none());
        assert!(dynamic(&["balance source"], &["hash-type map-based"]).is_none());
        assert!(dynamic(&["balance source"], &["balance leastconn"]).is_some());
    }

    #[test]
    fn not_where_it_can_not_be_told() {
        assert!(dynamic(&[], &[".if defined(X)", "default-server check"]).is_none());
        assert!(dynamic(&[], &["default-server ca-file \"/a b\""]).is_none());
        assert!(dynamic(&[], &["server \"a\" 10.0.0.1:80"]).is_none());
        let dynamic = dynamic(&[], &[]).unwrap();
        for odd in ["sni str(a);quit", "cookie $X", "cookie a\\", "check <<", "crt 'a'"] {
            assert_eq!(dynamic.options(odd), None, "{odd}");
        }
        assert_eq!(dynamic.options(&"check ".repeat(60)), None);
    }

    #[test]
    fn the_operators_own_servers_are_known() {
        let dynamic = dynamic(
            &[],
            &["server spare 10.0.0.1:80 backup", "server-template t 1-3 10.0.0.1:80"],
        )
        .unwrap();
        for (name, whose) in [
            ("spare", true),
            ("t3", true),
            ("t", false),
            ("tx", false),
            ("other", false),
        ] {
            assert_eq!(dynamic.is_operator_server(name), whose, "{name}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_said_stays_one_command(options in "[ -~\n\t]{0,60}") {
            let dynamic = dynamic(&["default-server inter 2s"], &[]).unwrap();
            if let Some((inherited, own)) = dynamic.options(&options) {
                let said = format!("{inherited} {own}");
                prop_assert!(!said.contains([';', '\n', '\\', '<']));
                prop_assert!(said.split(' ').count() <= MAX_WORDS + 1);
            }
        }
    }
}
