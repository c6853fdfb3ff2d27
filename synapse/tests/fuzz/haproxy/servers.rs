//! Changes of [`Servers`] and replies as a whole, for the simulator of HAProxy and the tests.

use crate::haproxy::runtime::parse::{LiveServer, Servers, Statistics, StatisticsReader};
use crate::name::ServerName;

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

    pub(crate) fn insert(&mut self, name: ServerName, server: LiveServer) -> Option<LiveServer> {
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

/// Reads a whole reply to `show stat`.
pub(crate) fn statistics(text: &str) -> Statistics {
    let mut reader = StatisticsReader::default();
    text.lines().for_each(|line| reader.line(line));
    reader.finish()
}
