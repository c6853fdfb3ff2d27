//! The servers of a backend in one sorted vector, because there are thousands and few are looked up. Pure.

use std::net::SocketAddr;

use crate::health::Check;
use crate::name::ServerName;

/// One server as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct LiveServer {
    /// 0 if HAProxy does not report it.
    pub(crate) id: u32,
    /// `None` if it has none (unresolved, or a Unix socket).
    pub(crate) address: Option<SocketAddr>,
    pub(crate) weight: u32,
    pub(crate) maint: bool,
    pub(crate) drain: bool,
    /// The result of its check; `None` before the first one, and in maintenance, where there is none.
    pub(crate) check: Option<Check>,
    pub(crate) paused: PausedChecks,
}

/// The checks that a server has and HAProxy does not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct PausedChecks {
    pub(crate) check: bool,
    pub(crate) agent: bool,
}

/// Sorted by name; of two with one name the later counts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Servers(pub(crate) Vec<(ServerName, LiveServer)>);

impl Servers {
    /// The server of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&LiveServer> {
        let found = self.0.binary_search_by(|(known, _)| (**known).cmp(name)).ok()?;
        self.0.get(found).map(|(_, server)| server)
    }

    /// Whether there is a server of this name.
    pub(crate) fn contains_key(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// All servers.
    pub(crate) fn values(&self) -> impl Iterator<Item = &LiveServer> {
        self.0.iter().map(|(_, server)| server)
    }

    /// All servers with their names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &(ServerName, LiveServer)> {
        self.0.iter()
    }

    /// Appends a server; [`Self::sort`] is due before the next look-up.
    pub(super) fn push(&mut self, name: ServerName, server: LiveServer) {
        self.0.push((name, server));
    }

    /// Restores the order.
    pub(super) fn sort(&mut self) {
        self.0.reverse();
        self.0.sort_by(|(a, _), (b, _)| a.cmp(b));
        self.0.dedup_by(|(later, _), (kept, _)| later == kept);
        self.0.shrink_to_fit();
    }

    /// Removes all servers.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

impl FromIterator<(ServerName, LiveServer)> for Servers {
    fn from_iter<I: IntoIterator<Item = (ServerName, LiveServer)>>(servers: I) -> Self {
        let mut all = Self(servers.into_iter().collect());
        all.sort();
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_of_two_servers_with_one_name_counts() {
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
