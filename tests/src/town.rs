//! A larger place than [`Site`](crate::site::Site): many services, each with many instances of a [`Fleet`], registered
//! by hand in Go-Nerve's format, and one synapse with its HAProxy.

#![expect(clippy::indexing_slicing, reason = "services are counted from 0 to `services()`")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddrV4;
use std::time::Duration;

use tempfile::TempDir;

use crate::daemon::Daemon;
use crate::eventually::{TooLate, ensure, wait_for};
use crate::fleet::Fleet;
use crate::haproxy::Haproxy;
use crate::ports::free_port;
use crate::site::haproxy_router;
use crate::zookeeper::{Client, ZooKeeper};

/// Deadline of everything that is requested of synapse here.
const TIMEOUT: Duration = Duration::from_mins(2);

/// The town. Dropped in the order of the fields: HAProxy after synapse, which would start it again.
#[derive(Debug)]
pub struct Town {
    /// The daemon that keeps HAProxy right; it is not started by itself.
    pub synapse: Daemon,
    /// What synapse made.
    pub haproxy: Haproxy,
    services: Vec<Service>,
    fleet: Fleet,
    /// The number of the next instance: none is used again, as addresses are not by a scheduler.
    next: usize,
    client: Client,
    _zookeeper: ZooKeeper,
    _directory: TempDir,
}

#[derive(Debug, Default)]
struct Service {
    port: u16,
    /// The weight of each registered instance, by its number.
    members: BTreeMap<usize, u8>,
}

impl Town {
    /// Lays out so many services with so many instances each; `check` are the options of each server.
    pub async fn new(services: usize, instances: usize, check: &str) -> Self {
        let zookeeper = ZooKeeper::start().await;
        let directory = tempfile::Builder::new().prefix("nerve-synapse-").tempdir().unwrap();
        let api_port = free_port();
        let mut configuration = haproxy_router(directory.path(), api_port, 2000, "");
        let services: Vec<Service> = (0..services).map(|_| Service::new()).collect();
        for (number, service) in services.iter().enumerate() {
            // Here instances are replaced faster than a guard allows; it has scenarios of its own.
            writeln!(
                configuration,
                "      - {{name: s{number}, guard: {{policy: trust}}, serverOptions: '{check}', watcher: {{type: zookeeper, \
                 hosts: ['{}'], path: {}}}, routerOptions: {{frontend: ['bind 127.0.0.1:{}'], backend: [balance roundrobin]}}}}",
                zookeeper.address(),
                path(number),
                service.port
            )
            .unwrap();
        }
        let mut town = Self {
            synapse: Daemon::new("synapse", "synapse", directory.path(), api_port, &configuration),
            haproxy: Haproxy::in_directory(directory.path().to_owned()),
            services,
            fleet: Fleet::new(),
            next: 0,
            client: zookeeper.client().await,
            _zookeeper: zookeeper,
            _directory: directory,
        };
        for service in 0..town.services.len() {
            for _ in 0..instances {
                town.join(service).await;
            }
        }
        town
    }

    /// The ports of all services, as their clients use them.
    pub fn ports(&self) -> Vec<u16> {
        self.services.iter().map(|service| service.port).collect()
    }

    /// How many services there are.
    pub fn services(&self) -> usize {
        self.services.len()
    }

    /// How many instances a service has.
    pub fn instances(&self, service: usize) -> usize {
        self.services[service].members.len()
    }

    /// The name of a service's backend.
    pub fn backend(service: usize) -> String {
        format!("s{service}_{}", service + 1)
    }

    /// Starts an instance and registers it, with a weight by chance.
    pub async fn join(&mut self, service: usize) -> SocketAddrV4 {
        let number = self.next;
        self.next += 1;
        let address = self.fleet.open(number).await;
        self.register(service, number, fastrand::u8(1..)).await;
        address
    }

    /// Takes one away by chance: from the registry now. Returns its number, for [`Town::close`].
    pub async fn leave(&mut self, service: usize) -> usize {
        let numbers: Vec<usize> = self.services[service].members.keys().copied().collect();
        let number = *fastrand::choice(&numbers).expect("the service has an instance");
        self.services[service].members.remove(&number);
        self.client.delete(&self.node(service, number)).await;
        number
    }

    /// Ends an instance that has left.
    pub fn close(&mut self, number: usize) {
        self.fleet.close(number);
    }

    /// Gives the first instance of a service this weight, and returns its address.
    pub async fn weigh(&mut self, service: usize, weight: u8) -> String {
        let first = self.services[service].members.keys().next();
        let number = *first.expect("the service has an instance");
        self.register(service, number, weight).await;
        self.fleet.address(number).to_string()
    }

    /// Waits until HAProxy gives each service's requests to its instances alone, with their weights.
    pub async fn is_right(&self) -> Result<(), TooLate> {
        self.is_right_within(TIMEOUT).await
    }

    /// As [`Town::is_right`], in this time.
    pub async fn is_right_within(&self, within: Duration) -> Result<(), TooLate> {
        for service in 0..self.services.len() {
            let desired = self.desired(service);
            let backend = Self::backend(service);
            wait_for(&format!("{backend} is as registered"), within, async || {
                let servers = self.haproxy.servers(&backend).await?;
                let taking = servers.iter().filter(|server| server.takes_traffic());
                let live: BTreeMap<String, u16> = taking.map(|server| (server.address(), server.weight())).collect();
                ensure(live == desired, || {
                    let wrong: Vec<_> = live
                        .iter()
                        .filter(|(address, weight)| desired.get(*address) != Some(weight))
                        .collect();
                    let absent: Vec<_> = desired.keys().filter(|address| !live.contains_key(*address)).collect();
                    format!("not as registered: {wrong:?}; absent: {absent:?}")
                })
            })
            .await?;
        }
        Ok(())
    }

    /// What HAProxy should have of a service: addresses and weights.
    fn desired(&self, service: usize) -> BTreeMap<String, u16> {
        let members = self.services[service].members.iter();
        members
            .map(|(number, weight)| (self.fleet.address(*number).to_string(), u16::from(*weight)))
            .collect()
    }

    async fn register(&mut self, service: usize, number: usize, weight: u8) {
        let address = self.fleet.address(number);
        let report = format!(
            r#"{{"available":true,"host":"{}","port":{},"name":"i{number}","weight":{weight}}}"#,
            address.ip(),
            address.port()
        );
        self.services[service].members.insert(number, weight);
        self.client.put(&self.node(service, number), report).await;
    }

    fn node(&self, service: usize, number: usize) -> String {
        format!("{}/i{number}_{}", path(service), self.fleet.address(number))
    }
}

impl Service {
    fn new() -> Self {
        Self {
            port: free_port(),
            members: BTreeMap::new(),
        }
    }
}

fn path(service: usize) -> String {
    format!("/services/s{service}")
}
