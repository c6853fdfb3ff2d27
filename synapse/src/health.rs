//! What a router's proxy says of the servers it checks: an input to the decisions about what should be in it.
//!
//! It is evidence of the data plane, with_suffix what the registry says. A router that drives no proxy has none.

use std::collections::BTreeMap;
use std::net::SocketAddr;

/// What the proxy's own check says of one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// It passes.
    Passing,
    /// It fails.
    Failing,
    /// The server has no check.
    Unchecked,
}

/// All that one router's proxy says, by service id and address.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Health {
    services: BTreeMap<String, BTreeMap<SocketAddr, Check>>,
}

impl Health {
    /// What is said of the server of `service` at `address`; `None` when nothing is.
    pub fn of(&self, service: &str, address: SocketAddr) -> Option<Check> {
        self.services.get(service)?.get(&address).copied()
    }

    /// Takes in what is said of one server.
    pub fn insert(&mut self, service: &str, address: SocketAddr, check: Check) {
        self.services
            .entry(service.to_owned())
            .or_default()
            .insert(address, check);
    }
}
