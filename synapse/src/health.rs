//! The health of servers as a router's proxy checks it: an input to the decisions about what should be in the proxy.
//!
//! It is evidence of the data plane, beside the registry's content. A router that drives no proxy has none.

use std::collections::BTreeMap;
use std::net::SocketAddr;

/// The result of the proxy's own check of one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// It passes.
    Passing,
    /// It fails.
    Failing,
    /// The server has no check.
    Unchecked,
}

/// All results of one router's proxy, by service id and address.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Health {
    services: BTreeMap<String, BTreeMap<SocketAddr, Check>>,
}

impl Health {
    /// The result for the server of `service` at `address`; `None` when there is none.
    pub fn of(&self, service: &str, address: SocketAddr) -> Option<Check> {
        self.services.get(service)?.get(&address).copied()
    }

    /// Adds the result for one server.
    pub fn insert(&mut self, service: &str, address: SocketAddr, check: Check) {
        self.services
            .entry(service.to_owned())
            .or_default()
            .insert(address, check);
    }
}
