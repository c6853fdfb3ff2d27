//! Backends that get new servers at runtime (`add server`), and the options of these servers. Pure.
//!
//! A server added at runtime must equal the one that a reload would make of its line. HAProxy does not apply
//! `default-server` to it, so those options are part of the command; and it adds none where `balance` is not dynamic.
//! Backends whose lines leave a doubt get slots; a refusal by HAProxy is the caller's to handle.

use std::sync::Arc;

use serde::Serialize;

/// HAProxy takes 64 words in a command; the others are synapse's own.
const MAX_WORDS: usize = 52;
/// Bytes; HAProxy takes 16 KiB.
const MAX_LENGTH: usize = 8 * 1024;
/// Algorithms of `balance` that find servers by their place in a map, unless its hash is consistent.
const MAP_BASED: [&str; 7] = ["source", "uri", "url_param", "hdr", "rdp-cookie", "hash", "static-rr"];

/// How HAProxy gets new servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Provisioning {
    /// By a reload, so that there are spare ones in the file.
    #[default]
    Slots,
    /// At runtime.
    Dynamic,
}

impl Provisioning {
    /// The part of a fingerprint that must equal the configuration's.
    pub(crate) fn stable_part(self, structure: &str) -> Option<&str> {
        match self {
            Self::Slots => Some(structure),
            Self::Dynamic => structure.split_once('-').map(|(stable, _)| stable),
        }
    }
}

/// How a backend gets servers at runtime.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct DynamicServers {
    /// The options that its server lines inherit.
    inherited: Arc<str>,
    /// Names of the operator's own servers in it.
    named: Vec<String>,
    /// Prefixes of the names that `server-template` generates.
    templates: Vec<String>,
}

impl DynamicServers {
    /// Reads the lines of a backend after its `defaults`; `None` if it has no dynamic servers, or if the lines leave a doubt.
    pub(crate) fn of(defaults: &[String], backend: &[String]) -> Option<Self> {
        let mut dynamic = Self::default();
        let mut inherited = Vec::new();
        let (mut balance, mut consistent) = ("roundrobin", false);
        for line in defaults.iter().chain(backend).flat_map(|text| text.lines()) {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            match words.as_slice() {
                // `.if`: only HAProxy can evaluate the condition of the lines after it.
                [word, ..] if word.starts_with('.') => return None,
                ["default-server", options @ ..] => inherited.extend(plain(options)?),
                ["balance", algorithm, ..] => balance = algorithm,
                ["hash-type", kind, ..] => consistent = *kind == "consistent",
                ["server", name, ..] if is_plain(name) => dynamic.named.push((*name).to_owned()),
                ["server-template", prefix, ..] if is_plain(prefix) => dynamic.templates.push((*prefix).to_owned()),
                ["server" | "server-template", ..] => return None,
                _ => {}
            }
        }
        let algorithm = balance.split_once('(').map_or(balance, |(word, _)| word);
        if MAP_BASED.contains(&algorithm) && (algorithm == "static-rr" || !consistent) {
            return None;
        }
        dynamic.inherited = inherited.join(" ").into();
        dynamic.fits(&[]).then_some(dynamic)
    }

    /// Returns the inherited and the own part of a new server's options; `None` if a command can't express them.
    pub(crate) fn options(&self, options: &str) -> Option<(Arc<str>, Arc<str>)> {
        let own = plain(&options.split_ascii_whitespace().collect::<Vec<_>>())?;
        self.fits(&own)
            .then(|| (Arc::clone(&self.inherited), own.join(" ").into()))
    }

    /// Whether a new server with these options has a keyword, of its own or inherited.
    pub(crate) fn has_keyword(&self, keyword: &str, options: &str) -> bool {
        let mut words = self.inherited.split(' ').chain(options.split(' '));
        words.any(|word| word == keyword)
    }

    /// Whether the operator has a server of this name in the backend.
    pub(crate) fn is_operator_server(&self, name: &str) -> bool {
        let is_generated = |prefix: &String| {
            let number = name.strip_prefix(prefix.as_str()).unwrap_or_default();
            !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
        };
        self.named.iter().any(|named| named == name) || self.templates.iter().any(is_generated)
    }

    fn fits(&self, own: &[&str]) -> bool {
        let length: usize = own.iter().map(|word| word.len() + 1).sum();
        self.inherited.split(' ').count() + own.len() <= MAX_WORDS && self.inherited.len() + length <= MAX_LENGTH
    }
}

/// The options without those that a new server is not given; `None` if one would mean something else in a command than
/// in the file.
fn plain<'w>(options: &[&'w str]) -> Option<Vec<&'w str>> {
    let mut taken = Vec::new();
    let mut words = options.iter().copied();
    while let Some(word) = words.next() {
        match word {
            // Meaningless for a server with an address, and refused by HAProxy.
            "init-addr" => _ = words.next(),
            // The state is synapse's to set.
            "enabled" | "disabled" => {}
            word if is_plain(word) => taken.push(word),
            _ => return None,
        }
    }
    Some(taken)
}

/// Whether neither HAProxy's file nor its socket interprets the word; `<<` would announce a payload.
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
    fn inherited_options_are_part_of_the_command() {
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
    fn a_static_balance_has_no_dynamic_servers() {
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
    fn ambiguous_lines_have_no_dynamic_servers() {
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
    fn operator_servers_are_recognised() {
        let dynamic = dynamic(
            &[],
            &["server spare 10.0.0.1:80 backup", "server-template t 1-3 10.0.0.1:80"],
        )
        .unwrap();
        for (name, expected) in [
            ("spare", true),
            ("t3", true),
            ("t", false),
            ("tx", false),
            ("other", false),
        ] {
            assert_eq!(dynamic.is_operator_server(name), expected, "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_options_stay_within_one_command(options in "[ -~\n\t]{0,60}") {
            let dynamic = dynamic(&["default-server inter 2s"], &[]).unwrap();
            if let Some((inherited, own)) = dynamic.options(&options) {
                let text = format!("{inherited} {own}");
                prop_assert!(!text.contains([';', '\n', '\\', '<']));
                prop_assert!(text.split(' ').count() <= MAX_WORDS + 1);
            }
        }
    }
}
