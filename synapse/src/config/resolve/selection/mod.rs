//! The keys of a service that select among its registered instances.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;

use common::config::Section;
use common::report::MAX_WEIGHT;

use super::router_context::RouterContext;
use crate::config::{
    Condition, Correlation, DefaultServer, LabelFilter, LocalZone, Pattern, Scope, SelectionConfig, ServerSort,
    ZoneConfig, ZonePolicy,
};

/// A subset of one would leave a service without a server whenever that one fails.
const MIN_SUBSET: u64 = 2;
/// The service a `serverCorrelation` names. It is checked once the names of all are known.
pub(super) struct Other<'a> {
    section: Section<'a>,
    name: String,
}

/// `condition` of a label filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Equals,
    NotEquals,
    In,
    NotIn,
    Exists,
    NotExists,
    Matches,
}

/// `policy` of a zone.
#[derive(Debug, Clone, Copy)]
enum Policy {
    Prefer,
    SpillOver,
    Require,
    None,
}

/// Reads them; `inherited` is the zone of the router, and `context` its settings for all its services.
pub(super) fn selection<'a>(
    section: &mut Section<'a>,
    inherited: Option<&ZoneConfig>,
    context: &RouterContext,
) -> (Option<SelectionConfig>, Option<Other<'a>>) {
    let filters = section.sections("labelFilters", "label filter");
    let label_filters: Vec<_> = filters.into_iter().map(label_filter).collect();
    let leader_election = section.flag_or("leaderElection", false);
    let port_override = section.integer("portOverride", 1..=65535).and_then(port);
    let (default_servers, keep_default_servers) = default_servers(section);
    let use_previous_servers = section.flag_or("usePreviousServers", false);
    let sort = section.choice_or(
        "serverSort",
        "random",
        &[
            ("random", ServerSort::Random),
            ("name", ServerSort::Name),
            ("name-desc", ServerSort::NameDescending),
            ("date", ServerSort::Date),
            ("registry", ServerSort::Registry),
        ],
    );
    let zone = zone(section, inherited);
    let subset_size = section.integer("subsetSize", MIN_SUBSET..=65535);
    let (correlation, other) = correlation(section);
    let selection = || {
        Some(SelectionConfig {
            label_filters: label_filters.into_iter().collect::<Option<_>>()?,
            leader_election,
            port_override,
            default_servers: default_servers?,
            keep_default_servers,
            use_previous_servers,
            sort: sort?,
            correlation,
            zone,
            subset_size: subset_size.and_then(|size| usize::try_from(size).ok()),
            weights: context.weights,
        })
    };
    (selection(), other)
}

/// With `prefer`, HAProxy has to use all servers of the other zones at once, and by itself it uses one backup. `None` if
/// the operator has decided.
pub(super) fn all_backups(selection: &SelectionConfig, backend: &[String]) -> Option<String> {
    let prefers = selection
        .zone
        .as_ref()
        .is_some_and(|zone| zone.policy == ZonePolicy::Prefer);
    let is_decided = backend
        .iter()
        .any(|line| line.split_ascii_whitespace().any(|word| word == "allbackups"));
    (prefers && !is_decided).then(|| "option allbackups".to_owned())
}

fn port(number: u64) -> Option<NonZeroU16> {
    u16::try_from(number).ok().and_then(NonZeroU16::new)
}

fn label_filter(mut section: Section<'_>) -> Option<LabelFilter> {
    let label = section.required_text("label");
    let word = section.choice_or(
        "condition",
        "equals",
        &[
            ("equals", Word::Equals),
            ("not-equals", Word::NotEquals),
            ("in", Word::In),
            ("not-in", Word::NotIn),
            ("exists", Word::Exists),
            ("not-exists", Word::NotExists),
            ("matches", Word::Matches),
        ],
    );
    let value = section.text("value");
    let values: BTreeSet<String> = section.texts("values").into_iter().collect();
    let condition = match word? {
        word @ (Word::Equals | Word::NotEquals | Word::Matches) => {
            if section.has("values") {
                section.problem(
                    "values",
                    "this condition compares with one `value`",
                    "use `in` or `not-in`",
                );
            }
            let Some(value) = value else {
                section.problem("value", "is required by this condition", "add `value: …`");
                return None;
            };
            match word {
                Word::Equals => Condition::In(BTreeSet::from([value])),
                Word::NotEquals => Condition::NotIn(BTreeSet::from([value])),
                _ => Condition::Matches(pattern(&mut section, &value)?),
            }
        }
        word @ (Word::In | Word::NotIn) => {
            if section.has("value") {
                section.problem("value", "this condition compares with `values`", "write `values: […]`");
            }
            if values.is_empty() {
                section.problem("values", "is required by this condition", "add `values: […]`");
            }
            if word == Word::In {
                Condition::In(values)
            } else {
                Condition::NotIn(values)
            }
        }
        word @ (Word::Exists | Word::NotExists) => {
            for key in ["value", "values"] {
                if section.has(key) {
                    section.problem(key, "this condition looks at no value", format!("remove `{key}`"));
                }
            }
            if word == Word::Exists {
                Condition::Exists
            } else {
                Condition::NotExists
            }
        }
    };
    Some(LabelFilter {
        label: label?,
        condition,
    })
}

fn pattern(section: &mut Section<'_>, text: &str) -> Option<Pattern> {
    Pattern::parse(text)
        .map_err(|error| {
            section.problem(
                "value",
                format!("is not a regular expression: {error}"),
                "it has to match the whole value of the label; `.*` stands for any text",
            );
        })
        .ok()
}

fn default_servers(section: &mut Section<'_>) -> (Option<Vec<DefaultServer>>, bool) {
    let servers = section.sections("defaultServers", "default server");
    let servers: Option<Vec<DefaultServer>> = servers
        .into_iter()
        .map(default_server)
        .collect::<Vec<_>>()
        .into_iter()
        .collect();
    let mut addresses = BTreeSet::new();
    let twice = servers
        .iter()
        .flatten()
        .find(|server| !addresses.insert(server.address));
    if let Some(server) = twice {
        section.problem(
            "defaultServers",
            format!("{} stands there twice", server.address),
            "name each address once",
        );
    }
    let keep = section.flag_or("keepDefaultServers", false);
    if keep && servers.as_ref().is_some_and(Vec::is_empty) {
        section.problem(
            "keepDefaultServers",
            "there are no `defaultServers` to keep",
            "add them, or remove this key",
        );
    }
    (servers, keep)
}

fn default_server(mut section: Section<'_>) -> Option<DefaultServer> {
    let host = section.required_text("host");
    let written = section.integer("port", 0..=65535);
    let port = written.and_then(port);
    if port.is_none() && (written.is_some() || !section.has("port")) {
        section.problem("port", "is required", "write a port from 1 to 65535");
    }
    let weight = section.integer("weight", 0..=MAX_WEIGHT.into());
    let name = section.text_or("name", "");
    let host = host?;
    let Ok(ip) = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() else {
        section.problem(
            "host",
            format!("{host:?} is not an IP address"),
            "a default server has to be reachable when nothing else works, DNS included: write its address",
        );
        return None;
    };
    Some(DefaultServer {
        name: if name.is_empty() { host } else { name },
        address: SocketAddr::new(ip, port?.get()),
        weight: weight.and_then(|weight| u16::try_from(weight).ok()),
    })
}

/// Reads `zone`; a key that is not there is inherited.
pub(super) fn zone(section: &mut Section<'_>, inherited: Option<&ZoneConfig>) -> Option<ZoneConfig> {
    let Some(mut zone) = section.section("zone", "zone") else {
        return inherited.cloned();
    };
    let local = zone.text_or("local", "");
    let label = zone.text_or("label", "zone");
    let label = match inherited {
        Some(inherited) if !zone.has("label") => inherited.label.clone(),
        _ => label,
    };
    let policy = zone.choice_or(
        "policy",
        "prefer",
        &[
            ("prefer", Policy::Prefer),
            ("spill-over", Policy::SpillOver),
            ("require", Policy::Require),
            ("none", Policy::None),
        ],
    );
    let local_share = zone
        .integer("localShare", 1..=100)
        .and_then(|share| u8::try_from(share).ok());
    let policy = match (policy?, inherited.map(|inherited| inherited.policy)) {
        (Policy::Prefer, Some(inherited)) if !zone.has("policy") => inherited,
        (Policy::Prefer, _) => ZonePolicy::Prefer,
        (Policy::SpillOver, Some(inherited @ ZonePolicy::SpillOver { .. })) => inherited,
        (Policy::SpillOver, _) => ZonePolicy::SpillOver { local_share: None },
        (Policy::Require, _) => ZonePolicy::Require,
        (Policy::None, _) => return None,
    };
    let policy = match (policy, local_share) {
        (ZonePolicy::SpillOver { .. }, Some(_)) => ZonePolicy::SpillOver { local_share },
        (policy, None) => policy,
        (policy, Some(_)) => {
            zone.problem(
                "localShare",
                "it belongs to `policy: spill-over`",
                "remove it, or choose that policy",
            );
            policy
        }
    };
    let written = LocalZone::parse(&local);
    if matches!(&written, LocalZone::Known(zone) if zone.starts_with("env:") || zone.starts_with("file:")) {
        zone.problem(
            "local",
            format!("{local:?} names neither a variable nor an absolute path"),
            "write `env:ZONE` or `file:/etc/zone`",
        );
    }
    let local = match inherited {
        _ if !local.is_empty() => written,
        Some(inherited) => inherited.local.clone(),
        None => {
            zone.problem(
                "local",
                "the zone of this host is missing",
                "write it, or where to find it: `env:ZONE`, `file:/etc/zone`",
            );
            return None;
        }
    };
    Some(ZoneConfig { local, label, policy })
}

fn correlation<'a>(section: &mut Section<'a>) -> (Option<Correlation>, Option<Other<'a>>) {
    let Some(mut section) = section.section("serverCorrelation", "serverCorrelation") else {
        return (None, None);
    };
    section.choice_or("type", "excludeServer", &[("excludeServer", ())]);
    let scope = section.choice_or("scope", "first", &[("first", Scope::First), ("all", Scope::All)]);
    let name = section.required_text("otherServiceName");
    let correlation = name
        .clone()
        .zip(scope)
        .map(|(other_service, scope)| Correlation { other_service, scope });
    (correlation, name.map(|name| Other { section, name }))
}

impl Other<'_> {
    /// It has to be one of the same router, whose `names` they are, and not the service (the `nth`) itself.
    pub(super) fn check(&mut self, names: &[Option<String>], nth: usize) {
        let Self { section, name: other } = self;
        let places: Vec<usize> = (0..names.len())
            .filter(|&place| names.get(place).is_some_and(|name| name.as_ref() == Some(other)))
            .collect();
        match places.as_slice() {
            [] if names.contains(&None) => {} // It may be the one whose name could not be read.
            [] => {
                let known: Vec<&str> = names.iter().flatten().map(String::as_str).collect();
                section.problem(
                    "otherServiceName",
                    format!("this router has no service `{other}`"),
                    format!("its services are {}", known.join(", ")),
                );
            }
            [first, ..] if *first == nth => section.problem(
                "otherServiceName",
                format!("`{other}` is the service itself"),
                "name the service whose servers are to be left out here",
            ),
            [_] => {}
            [_, _, ..] => section.warning(
                "otherServiceName",
                format!("several services are named `{other}`; the first of them is meant"),
                "give them different names",
            ),
        }
    }
}
