//! What the catalog hands to the routers: which servers each service should have now.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// One instance that should get traffic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// The registration's node: the identity of an instance.
    pub node: Arc<str>,
    /// The registered name: text from the registry, hostile until made safe.
    pub name: String,
    /// Where it listens; a name was resolved to it.
    pub address: SocketAddr,
    /// 0 to 256; `None` when the registration has none.
    pub weight: Option<u16>,
    /// `haproxy_server_options` of the registration: hostile until parsed against the allow-list.
    pub options: String,
    /// The registration's labels.
    pub labels: BTreeMap<String, String>,
    /// Milliseconds since the Unix epoch.
    pub created: i64,
    /// Whether it gets traffic only while no other server of the service can take it.
    pub backup: bool,
}

/// One service of a router.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Service {
    /// `ServiceConfig::id`.
    pub id: String,
    /// In the order wanted; `None` when its watcher has never answered: unknown is not empty.
    pub servers: Option<Arc<[Server]>>,
    /// Its source has not answered yet: this is what was remembered from before the start. What a proxy that runs has is
    /// younger.
    pub remembered: bool,
}

/// All services of one router, in the file's order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Desired {
    /// The services.
    pub services: Vec<Service>,
}

impl Desired {
    /// Whether a service is only remembered from before the start.
    pub fn is_remembered(&self) -> bool {
        self.services.iter().any(|service| service.remembered)
    }

    /// Whether something is known of every service: its watcher has answered, or it is remembered.
    pub fn is_complete(&self) -> bool {
        self.services.iter().all(|service| service.servers.is_some())
    }

    /// Whether every watcher has answered.
    pub fn all_sources_answered(&self) -> bool {
        self.is_complete() && !self.is_remembered()
    }
}
