//! Instances that the test itself registers.

use e2e::eventually::{ensure, eventually};
use e2e::instance::Instance;
use e2e::site::{BACKEND, PATH, Site, TIMEOUT};
use e2e::zookeeper::Client;

/// Instances without nerves: the test itself registers them, in nodes that outlive every session.
pub(crate) struct Crowd {
    pub(crate) instances: Vec<Instance>,
    client: Client,
}

impl Crowd {
    pub(crate) async fn register(site: &Site, count: usize) -> Self {
        let client = site.zookeeper.client().await;
        let mut instances = Vec::new();
        for n in 0..count {
            let instance = Instance::start(&format!("i{n}"), site.directory()).await;
            instances.push(instance);
        }
        let crowd = Self { instances, client };
        crowd.register_again(0..count).await;
        crowd.are_active(site, 0..count).await;
        crowd
    }

    /// Registers these, as they were.
    pub(crate) async fn register_again(&self, which: std::ops::Range<usize>) {
        for (n, instance) in self.instances.iter().enumerate().skip(which.start).take(which.len()) {
            let data = format!(r#"{{"name":"i{n}","host":"127.0.0.1","port":{}}}"#, instance.port());
            self.client.put(&format!("{PATH}/i{n}"), data).await;
        }
    }

    /// How many requests these got.
    pub(crate) async fn requests(&self, which: std::ops::Range<usize>) -> u64 {
        let mut requests = 0;
        for instance in self.instances.iter().skip(which.start).take(which.len()) {
            requests += instance.requests().await;
        }
        requests
    }

    /// Removes the nodes of these in one transaction.
    pub(crate) async fn deregister(&self, which: std::ops::Range<usize>) {
        let paths: Vec<String> = which.map(|n| format!("{PATH}/i{n}")).collect();
        self.client.delete_together(&paths).await;
    }

    /// Waits until HAProxy sends requests to these and to no other server.
    pub(crate) async fn are_active(&self, site: &Site, which: std::ops::Range<usize>) {
        self.are_active_with(site, which, &[]).await;
    }

    /// The same, with others beside them.
    pub(crate) async fn are_active_with(&self, site: &Site, which: std::ops::Range<usize>, others: &[&Instance]) {
        let mut wanted: Vec<String> = self
            .instances
            .iter()
            .skip(which.start)
            .take(which.len())
            .chain(others.iter().copied())
            .map(|instance| format!("127.0.0.1:{}", instance.port()))
            .collect();
        wanted.sort();
        eventually("HAProxy has just these servers", TIMEOUT, async || {
            let active = site.haproxy.active(BACKEND).await?;
            ensure(active == wanted, || format!("HAProxy has {active:?}, not {wanted:?}"))
        })
        .await;
    }
}
