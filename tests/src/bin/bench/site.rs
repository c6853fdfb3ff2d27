//! The site as it runs: where its parts are, and whether they are as they should be.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use common::clock::unix_millis;
use common::http::client::{Api, request};
use e2e::eventually::{ensure, wait_for};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::docker::{container, docker, on_host};
use crate::load::{Load, Second};

/// The application pods.
pub(crate) const APPS: [&str; 3] = ["app1", "app2", "app3"];
/// The client pods.
pub(crate) const CLIENTS: [&str; 2] = ["client1", "client2"];
/// The client pod whose HAProxy has a container of its own.
pub(crate) const APART: &str = "client2";
/// The ensemble.
pub(crate) const ZOOKEEPERS: [&str; 3] = ["zk1", "zk2", "zk3"];

/// How long the site may take to be as it should be after anything.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(90);

/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(5);

/// The running site.
#[derive(Debug)]
pub(crate) struct Site {
    loads: BTreeMap<&'static str, Load>,
}

impl Site {
    /// Finds the site and waits until every client finds every application.
    pub(crate) async fn find() -> Result<Self, String> {
        let site = Self {
            loads: CLIENTS.map(|client| (client, Load::of(client))).into(),
        };
        crate::faults::undo().await?;
        site.whole().await?;
        Ok(site)
    }

    /// Waits until all is as it should be; how long that took.
    pub(crate) async fn whole(&self) -> Result<Duration, String> {
        let started = Instant::now();
        self.ensemble(3).await?;
        self.found(&APPS).await?;
        Ok(started.elapsed())
    }

    /// Waits until every client sends requests to these applications and no other; how long that took.
    pub(crate) async fn found(&self, apps: &[&str]) -> Result<Duration, String> {
        let started = Instant::now();
        let expected: BTreeSet<String> = apps.iter().map(|app| (*app).to_owned()).collect();
        wait_for("every client finds the applications", TIMEOUT, async || {
            for client in CLIENTS {
                let found = servers(&address(&format!("{client}-pod")).await?).await?;
                ensure(found == expected, || format!("{client} has {found:?}"))?;
            }
            Ok(())
        })
        .await
        .map_err(|late| late.to_string())?;
        Ok(started.elapsed())
    }

    /// Waits until so many servers of the ensemble serve, one of them as the leader.
    pub(crate) async fn ensemble(&self, nodes: usize) -> Result<(), String> {
        wait_for("the ensemble serves", TIMEOUT, async || {
            let modes = modes().await;
            let leads = modes.values().any(|mode| mode == "leader");
            ensure(modes.len() == nodes && leads, || format!("{modes:?}"))
        })
        .await
        .map_err(|late| late.to_string())
    }

    /// Waits until Prometheus has the figures of every nerve, synapse and HAProxy.
    pub(crate) async fn scraped(&self) -> Result<(), String> {
        let all = APPS.len() + 2 * CLIENTS.len();
        wait_for("Prometheus reads everybody", TIMEOUT, async || {
            let targets = get(&address("prometheus").await?, 9090, "/api/v1/targets?state=active").await?;
            let targets: Value = serde_json::from_str(&targets).map_err(|error| error.to_string())?;
            let targets = targets.pointer("/data/activeTargets").and_then(Value::as_array);
            let targets = targets.ok_or("it names no targets")?;
            let up = targets.iter().filter(|target| target["health"] == "up").count();
            ensure(up == all && targets.len() == all, || {
                format!("{up} of {} targets are up", targets.len())
            })
        })
        .await
        .map_err(|late| late.to_string())
    }

    /// Waits until a part's first process has no child that is dead and not reaped.
    pub(crate) async fn no_zombie(&self, part: &str) -> Result<(), String> {
        wait_for("what lost its parent is reaped", TIMEOUT, async || {
            let pid = docker(&["inspect", "-f", "{{.State.Pid}}", &container(part)]).await?;
            // State and parent follow the name, which may hold anything.
            let count = format!("cat /proc/[0-9]*/stat 2>/dev/null | sed 's/.*) //' | grep -c '^Z {pid} ' || true");
            let zombies = on_host(&count).await?;
            ensure(zombies == "0", || format!("{zombies} zombies in {part}"))
        })
        .await
        .map_err(|late| late.to_string())
    }

    /// The clients' reports since `from`, once they have reported up to now.
    pub(crate) async fn said(&self, from: u64) -> Result<BTreeMap<&'static str, Vec<Second>>, String> {
        let now = unix_millis();
        wait_for("the loads tell how it went", TIMEOUT, async || {
            let late = self.loads.iter().find(|(_, load)| load.since(now).is_empty());
            ensure(late.is_none(), || {
                format!("nothing from {:?}", late.map(|(client, _)| client))
            })
        })
        .await
        .map_err(|late| late.to_string())?;
        Ok(self
            .loads
            .iter()
            .map(|(client, load)| (*client, load.since(from)))
            .collect())
    }

    /// How often each synapse has reloaded or started its HAProxy.
    pub(crate) async fn reloads(&self) -> Result<BTreeMap<&'static str, u64>, String> {
        let mut all = BTreeMap::new();
        for client in CLIENTS {
            let metrics = get(&address(&format!("{client}-pod")).await?, 3455, "/metrics").await?;
            all.insert(client, sum(&metrics, "synapse_haproxy_reloads_total"));
        }
        Ok(all)
    }
}

/// The node that leads.
pub(crate) async fn leader() -> Result<&'static str, String> {
    let modes = modes().await;
    let leader = modes.into_iter().find(|(_, mode)| mode == "leader");
    leader
        .map(|(node, _)| node)
        .ok_or_else(|| "nobody leads the ensemble".to_owned())
}

/// The address of a part that has a network of its own.
pub(crate) async fn address(part: &str) -> Result<String, String> {
    let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
    let address = docker(&["inspect", "-f", format, &container(part)]).await?;
    ensure(!address.is_empty(), || format!("{part} has no address"))?;
    Ok(address)
}

/// What a part answers to a GET.
pub(crate) async fn get(address: &str, port: u16, path: &str) -> Result<String, String> {
    let answer = request(&Api::at(address, port), "GET", path, None, ANSWER).await;
    let answer = answer.map_err(|error| error.to_string())?;
    ensure(answer.status == 200, || {
        format!("{path}: {} {}", answer.status, answer.body)
    })?;
    Ok(answer.body)
}

/// The sum of a counter over its labels.
pub(crate) fn sum(metrics: &str, name: &str) -> u64 {
    let of = |line: &&str| line.starts_with(name) && !line.starts_with('#');
    metrics
        .lines()
        .filter(of)
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

/// The applications that HAProxy sends requests to.
async fn servers(address: &str) -> Result<BTreeSet<String>, String> {
    let status: Value =
        serde_json::from_str(&get(address, 3455, "/status").await?).map_err(|error| error.to_string())?;
    let service = status.pointer("/routers/0/services/0").ok_or("there is no service")?;
    let fresh = service.pointer("/freshness/state").and_then(Value::as_str);
    ensure(fresh == Some("live"), || {
        format!("the registry is not watched: {fresh:?}")
    })?;
    let instances = service.get("instances").and_then(Value::as_array);
    let instances = instances.ok_or("there is no list of instances")?;
    // An instance that is only held, because the registry is doubted, is not registered.
    let held = instances
        .iter()
        .any(|instance| instance.get("held").is_some_and(|held| !held.is_null()));
    ensure(!held, || "instances are held that are not listed".to_owned())?;
    let takes = |instance: &&Value| {
        let place = |key: &str| instance.pointer(&format!("/haproxy/{key}")).and_then(Value::as_str);
        place("state") == Some("active") && place("check").is_some_and(|check| check.starts_with("UP"))
    };
    let name = |instance: &Value| instance.get("name")?.as_str().map(str::to_owned);
    Ok(instances.iter().filter(takes).filter_map(name).collect())
}

/// What those of the ensemble that serve are.
async fn modes() -> BTreeMap<&'static str, String> {
    let mut modes = BTreeMap::new();
    for node in ZOOKEEPERS {
        if let Some(mode) = mode(node).await {
            modes.insert(node, mode);
        }
    }
    modes
}

async fn mode(node: &str) -> Option<String> {
    let address = address(node).await.ok()?;
    let asked = async {
        let mut stream = TcpStream::connect((address, 2181)).await.ok()?;
        stream.write_all(b"srvr").await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        answer
            .lines()
            .find_map(|line| line.strip_prefix("Mode: ").map(str::to_owned))
    };
    timeout(Duration::from_secs(2), asked).await.ok()?
}
