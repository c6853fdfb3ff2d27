//! The servers of a backend, close together: there are thousands for each that is looked up.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::health::Check;

/// One server as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct LiveServer {
    /// 0 when HAProxy does not say.
    pub(crate) id: u32,
    /// `None` when it has none (unresolved, or a Unix socket).
    pub(crate) address: Option<SocketAddr>,
    pub(crate) weight: u32,
    pub(crate) maint: bool,
    pub(crate) drain: bool,
    /// What its check says; `None` before it was checked, and in maintenance, where it is not.
    pub(crate) check: Option<Check>,
    pub(crate) paused: PausedChecks,
}

/// Which of these a server has and HAProxy does not ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct PausedChecks {
    pub(crate) check: bool,
    pub(crate) agent: bool,
}

/// By name, in its order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Servers(Vec<(Arc<str>, LiveServer)>);

impl Servers {
    /// The one of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&LiveServer> {
        let found = self.0.binary_search_by(|(known, _)| (**known).cmp(name)).ok()?;
        self.0.get(found).map(|(_, server)| server)
    }

    /// Whether there is one of this name.
    pub(crate) fn contains_key(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// All of them.
    pub(crate) fn values(&self) -> impl Iterator<Item = &LiveServer> {
        self.0.iter().map(|(_, server)| server)
    }

    /// All of them with their names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &(Arc<str>, LiveServer)> {
        self.0.iter()
    }

    /// Takes all of them out.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

/// Of two with one name the later counts.
impl FromIterator<(Arc<str>, LiveServer)> for Servers {
    fn from_iter<I: IntoIterator<Item = (Arc<str>, LiveServer)>>(servers: I) -> Self {
        let mut all: Vec<_> = servers.into_iter().collect();
        all.reverse();
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        all.dedup_by(|(later, _), (kept, _)| later == kept);
        all.shrink_to_fit();
        Self(all)
    }
}

/// What only those who play HAProxy need.
#[cfg(any(test, fuzzing))]
impl Servers {
    pub(crate) fn get_mut(&mut self, name: &str) -> Option<&mut LiveServer> {
        self.0
            .iter_mut()
            .find_map(|(known, server)| (&**known == name).then_some(server))
    }

    #[cfg(test)]
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut LiveServer> {
        self.0.iter_mut().map(|(_, server)| server)
    }

    pub(crate) fn insert(&mut self, name: Arc<str>, server: LiveServer) -> Option<LiveServer> {
        let before = self.remove(&name);
        *self = std::mem::take(&mut self.0)
            .into_iter()
            .chain([(name, server)])
            .collect();
        before
    }

    pub(crate) fn remove(&mut self, name: &str) -> Option<LiveServer> {
        let place = self.0.iter().position(|(known, _)| &**known == name)?;
        Some(self.0.remove(place).1)
    }
}

#[cfg(test)]
impl std::ops::Index<&str> for Servers {
    type Output = LiveServer;

    fn index(&self, name: &str) -> &LiveServer {
        self.get(name).expect("there is a server of this name")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_with_one_name_the_later_counts() {
        let server = |id| LiveServer {
            id,
            ..LiveServer::default()
        };
        let all = [("b", 1), ("c", 2), ("a", 3), ("b", 4)];
        let servers: Servers = all.into_iter().map(|(name, id)| (name.into(), server(id))).collect();
        let ids: Vec<u32> = servers.values().map(|server| server.id).collect();
        assert_eq!(ids, [3, 4, 2]);
        assert_eq!(servers.get("b").map(|server| server.id), Some(4));
        assert!(!servers.contains_key("d"));
    }
}
