//! The answers for the names of a `dns` source, when to query again, and the servers they make. Pure; queries are the caller's.
//!
//! An answer is used for its time to live, at least [`MIN_TTL`] and at most `checkInterval`. A name that does not exist, or
//! has no such record, is an answer: no server. A failure is none: the last answer stays.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use common::report::MAX_WEIGHT;
use common::report::Report;
use tokio::time::Instant;

use crate::config::{DnsConfig, Question};
use crate::watcher::reader::{Nodes, ReadResult};

/// Minimum time between two queries of a name, regardless of the time to live of its answer.
const MIN_TTL: Duration = Duration::from_secs(1);

/// How long after a failure the name is queried again.
const RETRY: Duration = Duration::from_secs(5);

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) targets: Vec<Target>,
    /// How long it holds.
    pub(super) ttl: Duration,
}

/// A host that serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) host: String,
    pub(super) port: u16,
    /// Of an SRV record: among those with the lowest priority traffic is spread by weight.
    pub(super) share: Option<Share>,
    /// Its addresses, or why they are not known.
    pub(super) addresses: Result<Vec<IpAddr>, String>,
}

/// An SRV record's data on its target's share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) priority: u16,
    pub(super) weight: u16,
}

/// All names of a source.
#[derive(Debug)]
pub(super) struct DnsCache {
    entries: Vec<Entry>,
    check_interval: Duration,
}

#[derive(Debug)]
struct Entry {
    question: Question,
    /// The last good answer.
    targets: Option<Vec<Target>>,
    /// Why there is no better one; empty when it is whole.
    error: String,
    /// When to query; `None` while an answer is waited for.
    next: Option<Instant>,
}

impl DnsCache {
    /// Every name is to be queried at `now`.
    pub(super) fn new(config: &DnsConfig, now: Instant) -> Self {
        let entry = |question: &Question| Entry {
            question: question.clone(),
            targets: None,
            error: String::new(),
            next: Some(now),
        };
        Self {
            entries: config.questions.iter().map(entry).collect(),
            check_interval: config.check_interval,
        }
    }

    /// The questions to query now, with their numbers.
    pub(super) fn due(&mut self, now: Instant) -> Vec<(usize, Question)> {
        let mut due = Vec::new();
        for (number, entry) in self.entries.iter_mut().enumerate() {
            if entry.next.is_some_and(|next| next <= now) {
                entry.next = None;
                due.push((number, entry.question.clone()));
            }
        }
        due
    }

    /// When [`DnsCache::due`] has something again, unless an answer comes first.
    pub(super) fn next(&self) -> Option<Instant> {
        self.entries.iter().filter_map(|entry| entry.next).min()
    }

    /// Takes in an answer.
    pub(super) fn on_answer(&mut self, number: usize, answer: Result<Answer, String>, now: Instant) {
        let longest = self.check_interval;
        let Some(entry) = self.entries.get_mut(number) else {
            return;
        };
        match answer {
            Ok(answer) => {
                let wait = answer.ttl.min(longest).max(MIN_TTL);
                entry.take_in(answer.targets);
                entry.next = Some(now + if entry.error.is_empty() { wait } else { wait.min(RETRY) });
            }
            Err(error) => {
                entry.error = error;
                entry.next = Some(now + RETRY);
            }
        }
    }

    /// The servers. Unknown while a first answer is on its way, or when there was none at all.
    pub(super) fn look(&self) -> ReadResult {
        let is_asking = |entry: &Entry| entry.targets.is_none() && entry.error.is_empty();
        let is_known = !self.entries.iter().any(is_asking) && self.entries.iter().any(|e| e.targets.is_some());
        let mut nodes = Nodes::new();
        for entry in &self.entries {
            entry.add_to(&mut nodes);
        }
        let failed = self.entries.iter().filter(|entry| !entry.error.is_empty());
        let errors: Vec<String> = failed
            .map(|entry| format!("can't resolve {}: {}", entry.question.host, entry.error))
            .collect();
        ReadResult {
            nodes: is_known.then_some(nodes),
            error: errors.join("; "),
        }
    }
}

impl Entry {
    /// A target whose addresses could not be had keeps those it had, and touches no other.
    fn take_in(&mut self, mut targets: Vec<Target>) {
        let known: BTreeMap<&str, &Vec<IpAddr>> = self
            .targets
            .iter()
            .flatten()
            .filter_map(|target| Some((target.host.as_str(), target.addresses.as_ref().ok()?)))
            .collect();
        self.error.clear();
        for target in &mut targets {
            let Err(error) = &target.addresses else { continue };
            self.error = format!("its target {}: {error}", target.host);
            if let Some(last) = known.get(target.host.as_str()) {
                target.addresses = Ok((*last).clone());
            }
        }
        self.targets = Some(targets);
    }

    fn add_to(&self, nodes: &mut Nodes) {
        let targets = self.targets.iter().flatten();
        let best = targets
            .clone()
            .filter_map(|target| target.share)
            .map(|share| share.priority)
            .min();
        let heaviest = targets
            .clone()
            .filter_map(|target| target.share)
            .map(|share| share.weight)
            .max();
        for target in targets {
            let is_backup = target.share.is_some_and(|share| Some(share.priority) != best);
            let weight = target
                .share
                .zip(heaviest)
                .and_then(|(share, heaviest)| scaled(share.weight, heaviest));
            for ip in target.addresses.iter().flatten() {
                let address = SocketAddr::new(*ip, target.port);
                let report = Report {
                    available: true,
                    unavailable_reason: String::new(),
                    host: ip.to_string(),
                    port: target.port,
                    name: self.question.name.clone().unwrap_or_else(|| target.host.clone()),
                    haproxy_server_options: self.options(is_backup),
                    weight: self.question.weight.or(weight),
                    labels: self.question.labels.clone(),
                };
                let node = format!("{}/{address}", self.question.host);
                nodes.insert(Arc::from(node), report.encode().into());
            }
        }
    }

    fn options(&self, is_backup: bool) -> String {
        let backup = if is_backup { "backup" } else { "" };
        format!("{} {backup}", self.question.options).trim().to_owned()
    }
}

/// A record's weight as HAProxy's. Where no record has one they are equal; 0 means "hardly ever", not "never".
fn scaled(weight: u16, heaviest: u16) -> Option<u16> {
    if heaviest == 0 {
        return None;
    }
    let scaled = u32::from(weight) * u32::from(heaviest.min(MAX_WEIGHT)) / u32::from(heaviest);
    u16::try_from(scaled.max(1)).ok()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::config::Record;

    fn question(host: &str, record: Record) -> Question {
        Question {
            host: host.to_owned(),
            record,
            name: None,
            weight: None,
            labels: BTreeMap::new(),
            options: String::new(),
        }
    }

    fn cache(questions: Vec<Question>, now: Instant) -> DnsCache {
        let config = DnsConfig {
            questions,
            nameserver: None,
            check_interval: Duration::from_secs(30),
        };
        DnsCache::new(&config, now)
    }

    fn target(host: &str, share: Option<(u16, u16)>, last: &[u8]) -> Target {
        Target {
            host: host.to_owned(),
            port: 80,
            share: share.map(|(priority, weight)| Share { priority, weight }),
            addresses: Ok(last.iter().map(|last| Ipv4Addr::new(10, 0, 0, *last).into()).collect()),
        }
    }

    fn answer(targets: Vec<Target>, ttl: u64) -> Answer {
        let ttl = Duration::from_secs(ttl);
        Answer { targets, ttl }
    }

    fn servers_of(cache: &DnsCache) -> Option<Vec<String>> {
        let nodes = cache.look().nodes?;
        let node = |(name, data): (&Arc<str>, &bytes::Bytes)| {
            let report = Report::decode(data).expect("a report");
            let weight = report.weight.map_or_else(String::new, |weight| format!(" {weight}"));
            format!("{name} {}{weight} {}", report.name, report.haproxy_server_options)
                .trim()
                .to_owned()
        };
        Some(nodes.iter().map(node).collect())
    }

    #[test]
    fn an_answer_is_used_for_its_time_to_live_within_bounds() {
        let now = Instant::now();
        let mut cache = cache(vec![question("web", Record::A(80))], now);
        for (ttl, wait) in [(0, 1), (7, 7), (3600, 30)] {
            let at = cache.next().expect("it is due");
            assert_eq!(cache.due(at).len(), 1);
            assert_eq!((cache.next(), cache.due(at).len()), (None, 0));
            cache.on_answer(0, Ok(answer(vec![target("web", None, &[1])], ttl)), at);
            assert_eq!(cache.next(), Some(at + Duration::from_secs(wait)));
        }
    }

    #[test]
    fn no_answer_keeps_the_last_and_an_empty_one_is_an_answer() {
        let now = Instant::now();
        let mut cache = cache(vec![question("a", Record::A(80)), question("b", Record::A(80))], now);
        assert_eq!(cache.due(now).len(), 2);
        cache.on_answer(0, Ok(answer(vec![target("a", None, &[1])], 5)), now);
        assert_eq!(cache.look().nodes, None, "the other is on its way");
        cache.on_answer(1, Err("no answer".to_owned()), now);
        assert_eq!(servers_of(&cache).expect("known"), ["a/10.0.0.1:80 a"]);
        assert_eq!(cache.look().error, "can't resolve b: no answer");
        assert_eq!(cache.next(), Some(now + RETRY));

        cache.on_answer(1, Ok(answer(vec![target("b", None, &[2, 3])], 5)), now);
        cache.on_answer(0, Err("SERVFAIL".to_owned()), now);
        assert_eq!(
            servers_of(&cache).expect("known"),
            ["a/10.0.0.1:80 a", "b/10.0.0.2:80 b", "b/10.0.0.3:80 b"]
        );
        cache.on_answer(0, Ok(answer(Vec::new(), 5)), now);
        assert_eq!(
            servers_of(&cache).expect("known"),
            ["b/10.0.0.2:80 b", "b/10.0.0.3:80 b"]
        );
        assert_eq!(cache.look().error, "");
    }

    #[test]
    fn a_name_that_never_answered_is_unknown_not_empty() {
        let now = Instant::now();
        let mut cache = cache(vec![question("a", Record::A(80))], now);
        cache.on_answer(0, Err("timeout".to_owned()), now);
        assert_eq!(cache.look().nodes, None);
    }

    #[test]
    fn srv_records_give_port_weight_and_backup() {
        let now = Instant::now();
        let mut cache = cache(vec![question("_x", Record::Srv)], now);
        let targets = vec![
            target("n1", Some((1, 10)), &[1]),
            target("n2", Some((1, 0)), &[2]),
            target("n3", Some((2, 5)), &[3]),
        ];
        cache.on_answer(0, Ok(answer(targets, 5)), now);
        assert_eq!(
            servers_of(&cache).expect("known"),
            [
                "_x/10.0.0.1:80 n1 10",
                "_x/10.0.0.2:80 n2 1",
                "_x/10.0.0.3:80 n3 5 backup"
            ]
        );
        assert_eq!(
            [scaled(65_535, 65_535), scaled(1, 65_535), scaled(7, 0)],
            [Some(256), Some(1), None]
        );
    }

    #[test]
    fn a_target_without_an_address_keeps_its_last_and_touches_no_other() {
        let now = Instant::now();
        let mut cache = cache(vec![question("_x", Record::Srv)], now);
        let n1 = || target("n1", Some((1, 1)), &[1]);
        cache.on_answer(0, Ok(answer(vec![n1(), target("n2", Some((1, 1)), &[2])], 20)), now);
        let lost = |host: &str| Target {
            addresses: Err("SERVFAIL".to_owned()),
            ..target(host, Some((1, 1)), &[])
        };
        cache.on_answer(0, Ok(answer(vec![n1(), lost("n2"), lost("n3")], 20)), now);
        assert_eq!(
            servers_of(&cache).expect("known"),
            ["_x/10.0.0.1:80 n1 1", "_x/10.0.0.2:80 n2 1"]
        );
        assert_eq!(cache.look().error, "can't resolve _x: its target n3: SERVFAIL");
        assert_eq!(cache.next(), Some(now + RETRY));
    }
}
