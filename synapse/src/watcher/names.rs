//! The addresses of registered names: resolved concurrently with everything else, kept while DNS fails. Pure; the look-up
//! itself is the caller's.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::Reason;

/// How long an answer is used before the name is resolved again.
const FRESH: Duration = Duration::from_secs(30);

/// How long after a failure the next look-up starts.
const RETRY: Duration = Duration::from_secs(5);

/// Maximum number of names of one service that are resolved at once.
const AT_ONCE: usize = 4;

/// What is known of the names.
#[derive(Debug, Default)]
pub(super) struct NameCache {
    names: BTreeMap<String, Name>,
}

#[derive(Debug)]
struct Name {
    /// The last good answer.
    address: Option<IpAddr>,
    /// Why the last look-up failed; empty when it did not.
    error: String,
    next: Next,
}

#[derive(Debug, PartialEq, Eq)]
enum Next {
    At(Instant),
    Asking,
}

impl NameCache {
    /// Follows the set of `wanted` names; returns those to look up now.
    pub(super) fn follow(&mut self, wanted: &BTreeSet<&str>, now: Instant) -> Vec<String> {
        self.names.retain(|name, _| wanted.contains(name.as_str()));
        for name in wanted {
            if !self.names.contains_key(*name) {
                let new = Name {
                    address: None,
                    error: String::new(),
                    next: Next::At(now),
                };
                self.names.insert((*name).to_owned(), new);
            }
        }
        let mut asking = self.asking();
        let mut due = Vec::new();
        for (text, name) in &mut self.names {
            if asking < AT_ONCE && matches!(name.next, Next::At(at) if at <= now) {
                name.next = Next::Asking;
                asking += 1;
                due.push(text.clone());
            }
        }
        due
    }

    /// When [`NameCache::follow`] has something to do again, unless an answer comes first.
    pub(super) fn due(&self) -> Option<Instant> {
        if self.asking() >= AT_ONCE {
            return None;
        }
        let times = self.names.values().filter_map(|name| match name.next {
            Next::At(at) => Some(at),
            Next::Asking => None,
        });
        times.min()
    }

    /// Takes a look-up's answer. An address that is still among those of the name is kept, so that a resolver that
    /// turns them round moves nothing; else the first in order is taken.
    pub(super) fn on_answer(&mut self, name: &str, answer: Result<Vec<IpAddr>, String>, now: Instant) {
        let Some(name) = self.names.get_mut(name) else {
            return; // The name is in no node any more.
        };
        match answer {
            Ok(addresses) if !addresses.is_empty() => {
                name.address = name
                    .address
                    .filter(|address| addresses.contains(address))
                    .or_else(|| addresses.into_iter().min());
                name.error.clear();
                name.next = Next::At(now + FRESH);
            }
            Ok(_) => name.failed("it has no address".to_owned(), now),
            Err(error) => name.failed(error, now),
        }
    }

    /// The address of a name, or why there is none.
    pub(super) fn address(&self, name: &str) -> Result<IpAddr, Reason> {
        match self.names.get(name) {
            Some(Name { address: Some(ip), .. }) => Ok(*ip),
            Some(Name { error, .. }) if !error.is_empty() => {
                Err(Reason::Bad(format!("`{name}` can't be resolved: {error}")))
            }
            _ => Err(Reason::Pending(name.to_owned())),
        }
    }

    fn asking(&self) -> usize {
        self.names.values().filter(|name| name.next == Next::Asking).count()
    }
}

impl Name {
    fn failed(&mut self, error: String, now: Instant) {
        self.error = error;
        self.next = Next::At(now + RETRY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    #[test]
    fn an_answer_is_kept_while_it_is_among_the_addresses() {
        let mut names = NameCache::default();
        let now = Instant::now();
        assert_eq!(names.follow(&BTreeSet::from(["a"]), now), ["a"]);
        names.on_answer("a", Ok(vec![B]), now);
        assert_eq!(names.address("a"), Ok(B));
        names.on_answer("a", Ok(vec![A, B]), now);
        assert_eq!(names.address("a"), Ok(B));
        names.on_answer("a", Ok(vec![A]), now);
        assert_eq!(names.address("a"), Ok(A));
    }

    #[test]
    fn a_failure_keeps_the_last_answer_and_is_retried() {
        let mut names = NameCache::default();
        let now = Instant::now();
        let wanted = BTreeSet::from(["a"]);
        names.follow(&wanted, now);
        assert_eq!(names.due(), None);
        names.on_answer("a", Err("no such name".to_owned()), now);
        assert_eq!(
            names.address("a"),
            Err(Reason::Bad("`a` can't be resolved: no such name".to_owned()))
        );
        assert_eq!(names.due(), Some(now + RETRY));
        assert!(names.follow(&wanted, now).is_empty());
        assert_eq!(names.follow(&wanted, now + RETRY), ["a"]);
        names.on_answer("a", Ok(vec![A]), now);
        names.on_answer("a", Ok(Vec::new()), now);
        assert_eq!(names.address("a"), Ok(A));
    }

    #[test]
    fn few_names_are_resolved_at_once_and_all_in_the_end() {
        let mut names = NameCache::default();
        let now = Instant::now();
        let texts: Vec<String> = (0..10).map(|n| format!("n{n}")).collect();
        let wanted: BTreeSet<&str> = texts.iter().map(String::as_str).collect();
        let mut asked = 0;
        for _ in 0..10 {
            let due = names.follow(&wanted, now);
            assert!(due.len() <= AT_ONCE);
            asked += due.len();
            for name in due {
                names.on_answer(&name, Ok(vec![A]), now);
            }
        }
        assert_eq!(asked, 10);
        assert_eq!(names.due(), Some(now + FRESH));
    }

    #[test]
    fn a_name_in_no_node_is_forgotten() {
        let mut names = NameCache::default();
        let now = Instant::now();
        names.follow(&BTreeSet::from(["a"]), now);
        names.follow(&BTreeSet::new(), now);
        names.on_answer("a", Ok(vec![A]), now);
        assert!(names.address("a").is_err());
        assert_eq!(names.due(), None);
    }
}
