//! Which of its registered instances a service uses, as configured. Pure.

use crate::desired::Server;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::path::PathBuf;

use regex_lite::Regex;

/// The keys of a service that select its servers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SelectionConfig {
    /// `labelFilters[]`: all of them have to hold.
    pub label_filters: Vec<LabelFilter>,
    /// `leaderElection`: only the registration with the lowest sequence number.
    pub leader_election: bool,
    /// `portOverride`: the port of every server, in place of the registered one.
    pub port_override: Option<NonZeroU16>,
    /// `defaultServers[]`.
    pub default_servers: Vec<DefaultServer>,
    /// `keepDefaultServers`: whether they stay beside registered ones.
    pub keep_default_servers: bool,
    /// `usePreviousServers`: whether a service that would lose its last server keeps those it had.
    pub use_previous_servers: bool,
    /// `serverSort`.
    pub sort: ServerSort,
    /// `serverCorrelation`.
    pub correlation: Option<Correlation>,
    /// `zone`, the service's own or what it inherits.
    pub zone: Option<ZoneConfig>,
    /// `subsetSize`: at most so many of them, chosen by this host.
    pub subset_size: Option<usize>,
    /// `useRegisteredWeights` of the router.
    pub weights: Weights,
}

impl SelectionConfig {
    /// Whether the selection follows the health that the proxy reports.
    pub fn goes_by_health(&self) -> bool {
        let spills = |zone: &ZoneConfig| matches!(zone.policy, ZonePolicy::SpillOver { .. });
        self.subset_size.is_some() || self.zone.as_ref().is_some_and(spills)
    }
}

/// One of `labelFilters[]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelFilter {
    /// `label`.
    pub label: String,
    /// `condition` with its `value` or `values`.
    pub condition: Condition,
}

/// `condition`. A label that is not there equals nothing and matches nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// `equals`, `in`.
    In(BTreeSet<String>),
    /// `not-equals`, `not-in`.
    NotIn(BTreeSet<String>),
    /// `exists`.
    Exists,
    /// `not-exists`.
    NotExists,
    /// `matches`.
    Matches(Pattern),
}

impl Condition {
    /// Whether it holds of a label's value.
    pub fn holds(&self, value: Option<&str>) -> bool {
        match self {
            Self::In(values) => value.is_some_and(|value| values.contains(value)),
            Self::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            Self::Exists => value.is_some(),
            Self::NotExists => value.is_none(),
            Self::Matches(pattern) => value.is_some_and(|value| pattern.matches(value)),
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = |values: &BTreeSet<String>| {
            let quoted: Vec<String> = values.iter().map(|value| format!("`{value}`")).collect();
            quoted.join(", ")
        };
        match self {
            Self::In(values) => write!(f, "in {}", words(values)),
            Self::NotIn(values) => write!(f, "not in {}", words(values)),
            Self::Exists => f.write_str("exists"),
            Self::NotExists => f.write_str("not-exists"),
            Self::Matches(pattern) => write!(f, "matches `{}`", pattern.text),
        }
    }
}

/// A regular expression that has to match the whole of a text.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    regex: Regex,
}

impl Pattern {
    /// Compiles it, or returns what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        // By itself first: `a)|(b` makes sense only once it stands in parentheses.
        let compiled = Regex::new(text).and_then(|_| Regex::new(&format!(r"\A(?:{text})\z")));
        compiled.map_err(|error| error.to_string()).map(|regex| Self {
            text: text.to_owned(),
            regex,
        })
    }

    fn matches(&self, value: &str) -> bool {
        self.regex.is_match(value)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

/// What the weights of registrations count for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Weights {
    /// They hold as they are.
    #[default]
    Registered,
    /// All weigh the same; a registered weight of 0 still requests a drain.
    Equal,
}

/// One of `defaultServers[]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefaultServer {
    /// `name`.
    pub name: String,
    /// `host` and `port`.
    pub address: SocketAddr,
    /// `weight`.
    pub weight: Option<u16>,
}

/// `serverSort`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ServerSort {
    /// An order of this host's own, the same at each start.
    #[default]
    Random,
    /// By name, then address.
    Name,
    /// The same from its end.
    NameDescending,
    /// By the registration's creation.
    Date,
    /// As the source lists them.
    Registry,
}

/// `serverCorrelation`, `type: excludeServer`: leaves out what another service of the same router uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Correlation {
    /// `otherServiceName`.
    pub other_service: String,
    /// `scope`.
    pub scope: Scope,
}

/// `scope` of a `serverCorrelation`: which of the other service's servers are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The one in the first place.
    First,
    /// All.
    All,
}

/// `zone`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneConfig {
    /// `local`.
    pub local: LocalZone,
    /// `label`: the one that holds the zone of an instance.
    pub label: String,
    /// `policy` and `localShare`.
    pub policy: ZonePolicy,
}

impl ZoneConfig {
    /// The zone of this host, once it is known.
    pub fn known(&self) -> Option<&str> {
        match &self.local {
            LocalZone::Known(zone) => Some(zone),
            LocalZone::Environment(_) | LocalZone::File(_) => None,
        }
    }
}

/// `local`: the zone of this host, or where to find it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalZone {
    /// Written out, or found.
    Known(String),
    /// `env:NAME`.
    Environment(String),
    /// `file:/PATH`.
    File(PathBuf),
}

impl LocalZone {
    /// `env:` and a variable's name, `file:` and an absolute path; anything else is the zone itself.
    pub fn parse(text: &str) -> Self {
        let variable = text.strip_prefix("env:").filter(|name| !name.is_empty());
        let file = text.strip_prefix("file:").filter(|path| path.starts_with('/'));
        match (variable, file) {
            (Some(variable), _) => Self::Environment(variable.to_owned()),
            (_, Some(path)) => Self::File(PathBuf::from(path)),
            _ => Self::Known(text.to_owned()),
        }
    }
}

impl fmt::Display for LocalZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(zone) => f.write_str(zone),
            Self::Environment(name) => write!(f, "the environment variable {name}"),
            Self::File(path) => write!(f, "the file {}", path.display()),
        }
    }
}

/// `policy` of a zone: what becomes of servers elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ZonePolicy {
    /// `prefer`: they are backups.
    Prefer,
    /// `spill-over`: their weight makes up for what local servers can't carry.
    SpillOver {
        /// `localShare`: the percentage of the service's capacity that local clients need; `None` for the zone's equal
        /// part with some headroom.
        local_share: Option<u8>,
    },
    /// `require`: they are left out.
    Require,
}

/// The `defaultServers` of a service, with its `portOverride`.
pub fn default_servers(rules: &SelectionConfig) -> impl Iterator<Item = Server> {
    rules.default_servers.iter().map(|default| {
        let mut address = default.address;
        if let Some(port) = rules.port_override {
            address.set_port(port.get());
        }
        Server {
            // No node of ZooKeeper has a slash in its name.
            node: format!("defaultServers/{}", default.address).into(),
            name: default.name.clone(),
            address,
            weight: default.weight,
            options: String::new(),
            labels: BTreeMap::new(),
            created: 0,
            backup: false,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_the_whole_of_a_text() {
        let matches = |pattern: &str, text: &str| Pattern::parse(pattern).expect("a pattern").matches(text);
        assert!(matches("a|ab", "ab"));
        assert!(matches("eu-(west|north)-[0-9]", "eu-west-1"));
        assert!(!matches("eu-west", "eu-west-1"));
        assert!(!matches("a$", "a\n"));
        assert!(matches("", ""));
        for wrong in ["(", "a)|(b", "[z-a]", "*"] {
            assert!(Pattern::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_label_that_is_not_there_equals_nothing() {
        let values = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
        let holds = |condition: &Condition| [Some("a"), Some("c"), None].map(|value| condition.holds(value));
        assert_eq!(holds(&Condition::In(values.clone())), [true, false, false]);
        assert_eq!(holds(&Condition::NotIn(values)), [false, true, true]);
        assert_eq!(holds(&Condition::Exists), [true, true, false]);
        assert_eq!(holds(&Condition::NotExists), [false, false, true]);
        let pattern = Pattern::parse("[ab]").expect("a pattern");
        assert_eq!(holds(&Condition::Matches(pattern)), [true, false, false]);
    }

    #[test]
    fn the_local_zone_is_written_out_or_looked_up() {
        assert_eq!(LocalZone::parse("eu-1a"), LocalZone::Known("eu-1a".to_owned()));
        assert_eq!(LocalZone::parse("env:AZ"), LocalZone::Environment("AZ".to_owned()));
        assert_eq!(LocalZone::parse("file:/etc/az"), LocalZone::File("/etc/az".into()));
        assert_eq!(LocalZone::parse("file:az"), LocalZone::Known("file:az".to_owned()));
    }
}
