//! ZooKeeper away, as the clients of a cluster experience it: nothing may change but the age of synapse's data.

use std::fmt;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::load::{Load, Tally};
use crate::site::{BACKEND, Site};

/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Noticing that the source is away is part of the first seconds; the memory is measured from there.
const SETTLING: Duration = Duration::from_secs(5);
/// No growth: what the allocator keeps, and the load's connections that come and go in HAProxy, not in synapse.
const MORE_KIB: u64 = 2048;
/// The age counts from when the loss is noticed, and is read a while before the end, on a busy machine.
const AGE_OFF: f64 = 5.0;

/// What was seen of an outage, and of its clients.
#[derive(Debug)]
pub struct Outage {
    /// How long ZooKeeper was away.
    pub away: Duration,
    /// The requests during that time.
    pub load: Tally,
    /// `synapse_data_age_seconds` at the end.
    pub age: f64,
    /// Reloads of HAProxy during that time.
    pub reloads: u64,
    /// What synapse held in memory, in KiB, a few seconds after the start and at the end.
    pub resident_kib: (u64, u64),
    /// What changed and must not, with the time of it; the first of each kind.
    pub changes: Vec<String>,
}

/// All that clients depend on.
#[derive(Debug, PartialEq, Eq)]
struct Picture {
    /// Name, address, weight, and whether it gets requests; of each server in HAProxy.
    servers: Vec<(String, String, u16, bool)>,
    file: String,
    ready: u16,
    /// What is still to be done to HAProxy.
    diff: String,
}

impl Picture {
    async fn of(site: &Site) -> Result<Self, String> {
        let servers = site.haproxy.servers(BACKEND).await?;
        let servers = servers.iter().map(|server| {
            let name = server.name().to_owned();
            (name, server.address(), server.weight(), server.takes_traffic())
        });
        let get = async |path| site.synapse.get(path).await.map_err(|error| error.to_string());
        Ok(Self {
            servers: servers.collect(),
            file: site.haproxy.configuration(),
            ready: get("/ready").await?.status,
            diff: get("/v1/haproxy/diff").await?.body,
        })
    }

    fn changes(&self, now: &Self) -> Vec<String> {
        let mut changes = Vec::new();
        if now.servers != self.servers {
            changes.push(format!("the servers are {:?}, not {:?}", now.servers, self.servers));
        }
        if now.file != self.file {
            changes.push(format!("the file is another: {}", now.file));
        }
        if now.ready != 200 {
            changes.push(format!("/ready says {}", now.ready));
        }
        if !now.diff.is_empty() {
            changes.push(format!("HAProxy is not as it should be: {}", now.diff));
        }
        changes
    }
}

impl Outage {
    /// Kills ZooKeeper, which stays away, and looks on for `span` with clients at work.
    pub async fn of(site: &mut Site, span: Duration) -> Result<Self, String> {
        let (before, reloads) = (Picture::of(site).await?, site.haproxy.master().await?.reloads);
        let load = Load::start(site.port());
        site.zookeeper.kill();
        let start = Instant::now();
        let mut resident = None;
        let mut changes = Vec::new();
        while start.elapsed() < span {
            sleep(LOOK_EVERY).await;
            if resident.is_none() && start.elapsed() >= SETTLING {
                resident = Some(site.synapse.resident_kib());
            }
            let seen = match Picture::of(site).await {
                Ok(now) => before.changes(&now),
                Err(error) => vec![error],
            };
            if changes.is_empty() {
                let told = seen
                    .into_iter()
                    .map(|what| format!("after {:?}: {what}", start.elapsed()));
                changes.extend(told);
            }
        }
        let now = site.synapse.resident_kib();
        Ok(Self {
            age: age(site).await?,
            away: start.elapsed(),
            load: load.take(),
            reloads: site.haproxy.master().await?.reloads - reloads,
            resident_kib: (resident.unwrap_or(now), now),
            changes,
        })
    }

    /// What is wrong with it; nothing, if all is well.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = self.changes.clone();
        if self.load.requests == 0 {
            problems.push("the load sent nothing".to_owned());
        }
        if !self.load.failures.is_empty() {
            problems.push(format!("requests failed: {}", self.load.failed_kinds()));
        }
        if self.reloads > 0 {
            problems.push(format!("HAProxy was reloaded {} times", self.reloads));
        }
        if (self.age - self.away.as_secs_f64()).abs() > AGE_OFF {
            problems.push(format!("the age of the data is {} s after {:?}", self.age, self.away));
        }
        let (before, now) = self.resident_kib;
        if now > before + MORE_KIB {
            problems.push(format!("synapse has grown from {before} to {now} KiB"));
        }
        problems
    }
}

impl fmt::Display for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "ZooKeeper away for {:.0?}: {} requests, {} failed, {} reloads, the data {:.0} s old, synapse {} KiB at the \
             start and {} KiB at the end",
            self.away,
            self.load.requests,
            self.load.failures.len(),
            self.reloads,
            self.age,
            self.resident_kib.0,
            self.resident_kib.1,
        )
    }
}

async fn age(site: &Site) -> Result<f64, String> {
    let metrics = site.synapse.get("/metrics").await.map_err(|error| error.to_string())?;
    let prefix = "synapse_data_age_seconds{service=\"web\"} ";
    let sample = metrics.body.lines().find_map(|line| line.strip_prefix(prefix));
    let age = sample.and_then(|sample| sample.parse().ok());
    age.ok_or_else(|| format!("no `{prefix}` in {}", metrics.body))
}
