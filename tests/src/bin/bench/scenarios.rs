//! What happens to a site in a year, one thing after the other.
//!
//! Each is played on the whole site, and ends when the site is whole again. What a client's own HAProxy could not have
//! served, because it was killed, is named as an outage; every other lost request breaks the budget.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tokio::time::sleep;

use crate::budget::{Outage, cost};
use crate::docker::{container, docker};
use crate::faults::{clear, cut, kill, mend, now, pause, replace, signal, spoil, start, stop, unpause};
use crate::report::{Report, Row};
use crate::site::{APART, APPS, CLIENTS, Site, ZOOKEEPERS, address, get, leader};

/// Longer than the session timeout of both daemons (6 s), as ZooKeeper rounds it.
const BEYOND_THE_SESSION: Duration = Duration::from_secs(12);

/// A killed HAProxy serves again within this.
const HAPROXY_IS_BACK: u64 = 1_000;

/// Time until a client whose synapse (and with it HAProxy) was started again is served.
const SYNAPSE_IS_BACK: u64 = 5_000;

/// What came of it: how long until the site was whole, and which client could not be served when.
type Played = Result<(Duration, Vec<Outage>), String>;

type Play = for<'s> fn(&'s Site) -> Pin<Box<dyn Future<Output = Played> + 's>>;

/// One scenario.
#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// Whether it is among those that are played in a hurry.
    pub(crate) quick: bool,
    play: Play,
}

/// All of them, in the order in which they are played.
pub(crate) fn all() -> Vec<Scenario> {
    let scenario = |name, quick, play| Scenario { name, quick, play };
    vec![
        scenario("nothing happens for 10 s", true, |site| Box::pin(nothing(site))),
        scenario("rolling restart of every application pod", true, |site| {
            Box::pin(rolling_restart(site))
        }),
        scenario("each application killed", true, |site| Box::pin(each_killed(site, ""))),
        scenario("each nerve killed", true, |site| Box::pin(each_killed(site, "-nerve"))),
        scenario("each application pod killed", true, |site| Box::pin(pods_killed(site))),
        scenario("each ZooKeeper node killed", false, |site| Box::pin(nodes_killed(site))),
        scenario("each HAProxy killed", true, |site| Box::pin(haproxies_killed(site))),
        scenario("each synapse killed", true, |site| Box::pin(synapses_killed(site))),
        scenario("each synapse's container killed", true, |site| {
            Box::pin(synapse_containers_killed(site))
        }),
        scenario("a HAProxy's own container killed", true, |site| {
            Box::pin(haproxy_container_killed(site))
        }),
        scenario("each client pod killed", false, |site| Box::pin(clients_killed(site))),
        scenario("a nerve paused beyond its session", true, |site| {
            Box::pin(nerve_paused(site))
        }),
        scenario("a synapse paused beyond its session", false, |site| {
            Box::pin(synapse_paused(site))
        }),
        scenario("the leader of the ensemble killed", true, |site| {
            Box::pin(leader_killed(site))
        }),
        scenario("the quorum lost for 60 s", false, |site| Box::pin(quorum_lost(site))),
        scenario("each ZooKeeper node cut off", false, |site| {
            Box::pin(nodes_cut_off(site))
        }),
        scenario("a client pod cut off from ZooKeeper", false, |site| {
            Box::pin(client_cut_off(site))
        }),
        scenario("the ensemble wiped", true, |site| Box::pin(wiped(site))),
        scenario("a slow and lossy network between pods", true, |site| {
            Box::pin(slow_and_lossy(site))
        }),
        scenario("each nerve upgraded in place", true, |site| {
            Box::pin(nerves_upgraded(site))
        }),
        scenario("each synapse upgraded in place", true, |site| {
            Box::pin(synapses_upgraded(site))
        }),
    ]
}

impl Scenario {
    /// Plays it and keeps what it cost.
    pub(crate) async fn play(&self, site: &Site, report: &mut Report) -> Result<(), String> {
        report.say(format_args!("{} ...", self.name));
        let before = site.reloads().await?;
        let from = now();
        let played = (self.play)(site).await;
        let whole = site.whole().await;
        let mut problems = Vec::new();
        let (converged, outages) = played.unwrap_or_else(|broken| {
            problems.push(broken);
            Default::default()
        });
        let mut cost = cost(&site.said(from).await?, &outages);
        cost.problems.append(&mut problems);
        let after = site.reloads().await?;
        let reloads = after.iter().map(|(client, after)| match before.get(client) {
            // A new synapse counts from nothing.
            Some(before) if before <= after => after - before,
            _ => *after,
        });
        report.add(Row {
            scenario: self.name,
            converged,
            reloads: reloads.sum(),
            cost,
        });
        // The next one would find a site that is broken already.
        whole.map(drop)
    }
}

async fn nothing(site: &Site) -> Played {
    sleep(Duration::from_secs(10)).await;
    site.scraped().await?;
    whole(site).await
}

/// As an orchestrator stops a pod with native sidecars: both hooks, then the application's SIGTERM, then nerve's.
async fn rolling_restart(site: &Site) -> Played {
    let mut longest = Duration::ZERO;
    for app in APPS {
        let (nerve, pod) = (format!("{app}-nerve"), address(&format!("{app}-pod")).await?);
        get(&pod, 3457, "/hooks/pre-stop").await?;
        get(&pod, 3457, "/hooks/pre-stop/wait").await?;
        stop(app).await?;
        stop(&nerve).await?;
        replace(&nerve).await?;
        replace(app).await?;
        longest = longest.max(site.found(&APPS).await?);
    }
    Ok((longest, Vec::new()))
}

/// A part of each application pod, which the orchestrator starts again after a while.
async fn each_killed(site: &Site, part: &str) -> Played {
    let mut longest = Duration::ZERO;
    for app in APPS {
        let name = format!("{app}{part}");
        kill(&name).await?;
        sleep(Duration::from_secs(3)).await;
        start(&name).await?;
        longest = longest.max(site.found(&APPS).await?);
    }
    Ok((longest, Vec::new()))
}

async fn pods_killed(site: &Site) -> Played {
    let mut longest = Duration::ZERO;
    for app in APPS {
        let parts = [app.to_owned(), format!("{app}-nerve"), format!("{app}-pod")];
        for part in &parts {
            kill(part).await?;
        }
        let others: Vec<_> = APPS.into_iter().filter(|other| *other != app).collect();
        site.found(&others).await?;
        for part in parts.iter().rev() {
            start(part).await?;
        }
        longest = longest.max(site.found(&APPS).await?);
    }
    Ok((longest, Vec::new()))
}

async fn nodes_killed(site: &Site) -> Played {
    let mut longest = Duration::ZERO;
    for node in ZOOKEEPERS {
        kill(node).await?;
        sleep(Duration::from_secs(3)).await;
        start(node).await?;
        longest = longest.max(site.whole().await?);
    }
    Ok((longest, Vec::new()))
}

async fn haproxies_killed(site: &Site) -> Played {
    let mut outages = Vec::new();
    for client in CLIENTS {
        let part = haproxy_of(client);
        let from = signal(&part, "haproxy", "KILL").await?;
        outages.push(Outage {
            client,
            from,
            to: from + HAPROXY_IS_BACK,
        });
        // A late failure would show in these seconds.
        sleep(Duration::from_secs(3)).await;
        // HAProxy's worker has lost its parent: what is left of it is the first process's to clear.
        site.no_zombie(&part).await?;
    }
    Ok((site.whole().await?, outages))
}

/// synapse alone, as when it crashes: its container, and HAProxy in it, go on, and so do the requests.
async fn synapses_killed(site: &Site) -> Played {
    let mut longest = Duration::ZERO;
    for client in CLIENTS {
        for _ in 0..3 {
            signal(&format!("{client}-synapse"), "synapse", "KILL").await?;
            longest = longest.max(site.found(&APPS).await?);
        }
    }
    Ok((longest, Vec::new()))
}

/// The container that HAProxy runs in.
fn haproxy_of(client: &str) -> String {
    let kind = if client == APART { "haproxy" } else { "synapse" };
    format!("{client}-{kind}")
}

/// A container with synapse goes, and HAProxy with it unless that has one of its own.
async fn synapse_containers_killed(site: &Site) -> Played {
    let mut outages = Vec::new();
    for client in CLIENTS {
        let part = format!("{client}-synapse");
        let outage = killed_for_a_while(client, &[&part]).await?;
        outages.extend((haproxy_of(client) == part).then_some(outage));
        site.found(&APPS).await?;
    }
    Ok((site.whole().await?, outages))
}

async fn haproxy_container_killed(site: &Site) -> Played {
    let outage = killed_for_a_while(APART, &[&haproxy_of(APART)]).await?;
    Ok((site.whole().await?, vec![outage]))
}

async fn clients_killed(site: &Site) -> Played {
    let mut outages = Vec::new();
    for client in CLIENTS {
        let [load, synapse, pod] = ["load", "synapse", "pod"].map(|part| format!("{client}-{part}"));
        let haproxy = haproxy_of(client);
        let mut parts = vec![&*load, &*haproxy, &*synapse, &*pod];
        parts.dedup();
        outages.push(killed_for_a_while(client, &parts).await?);
        site.found(&APPS).await?;
    }
    Ok((site.whole().await?, outages))
}

/// Kills these parts of a client pod in turn, and starts them again, the last first, as its orchestrator would; the
/// outage that this is if HAProxy is among them.
async fn killed_for_a_while(client: &'static str, parts: &[&str]) -> Result<Outage, String> {
    let from = now();
    for part in parts {
        kill(part).await?;
    }
    sleep(Duration::from_secs(2)).await;
    for part in parts.iter().rev() {
        start(part).await?;
    }
    let to = now() + SYNAPSE_IS_BACK;
    Ok(Outage { client, from, to })
}

async fn nerve_paused(site: &Site) -> Played {
    pause("app1-nerve").await?;
    sleep(BEYOND_THE_SESSION).await;
    // It lost its node, though its application is well: the others take the load.
    let without = site.found(&["app2", "app3"]).await;
    unpause("app1-nerve").await?;
    without?;
    whole(site).await
}

/// synapse alone: its HAProxy goes on, and an application that goes meanwhile is found by HAProxy's own checks.
async fn synapse_paused(site: &Site) -> Played {
    signal("client1-synapse", "synapse", "STOP").await?;
    kill("app1").await?;
    sleep(BEYOND_THE_SESSION).await;
    start("app1").await?;
    signal("client1-synapse", "synapse", "CONT").await?;
    whole(site).await
}

async fn leader_killed(site: &Site) -> Played {
    let node = leader().await?;
    kill(node).await?;
    site.ensemble(2).await?;
    start(node).await?;
    whole(site).await
}

async fn quorum_lost(site: &Site) -> Played {
    for node in ["zk1", "zk2"] {
        kill(node).await?;
    }
    sleep(Duration::from_secs(30)).await;
    kill("app1").await?;
    sleep(Duration::from_secs(30)).await;
    start("app1").await?;
    for node in ["zk1", "zk2"] {
        start(node).await?;
    }
    whole(site).await
}

async fn nodes_cut_off(site: &Site) -> Played {
    let mut longest = Duration::ZERO;
    for node in ZOOKEEPERS {
        cut(node, "").await?;
        sleep(Duration::from_secs(15)).await;
        mend(node).await?;
        longest = longest.max(site.whole().await?);
    }
    Ok((longest, Vec::new()))
}

async fn client_cut_off(site: &Site) -> Played {
    cut("client1-pod", "-p tcp -m multiport --ports 2181").await?;
    sleep(Duration::from_secs(5)).await;
    kill("app1").await?;
    sleep(BEYOND_THE_SESSION).await;
    start("app1").await?;
    mend("client1-pod").await?;
    whole(site).await
}

async fn wiped(site: &Site) -> Played {
    for node in ZOOKEEPERS {
        docker(&[
            "exec",
            &container(node),
            "sh",
            "-c",
            "rm -rf /var/lib/zookeeper/data/version-2",
        ])
        .await?;
        kill(node).await?;
    }
    for node in ZOOKEEPERS {
        start(node).await?;
    }
    whole(site).await
}

async fn slow_and_lossy(site: &Site) -> Played {
    let pods: Vec<String> = APPS.iter().chain(&CLIENTS).map(|part| format!("{part}-pod")).collect();
    let mut by = String::new();
    for pod in &pods {
        by = spoil(pod).await?;
    }
    println!("            (by {by})");
    sleep(Duration::from_secs(20)).await;
    for pod in &pods {
        clear(pod).await?;
    }
    whole(site).await
}

async fn nerves_upgraded(site: &Site) -> Played {
    let mut longest = Duration::ZERO;
    for app in APPS {
        replace(&format!("{app}-nerve")).await?;
        longest = longest.max(site.found(&APPS).await?);
    }
    Ok((longest, Vec::new()))
}

/// As a container with synapse that is killed: without a container of its own HAProxy goes with it.
async fn synapses_upgraded(site: &Site) -> Played {
    let mut outages = Vec::new();
    for client in CLIENTS {
        let (part, from) = (format!("{client}-synapse"), now());
        replace(&part).await?;
        let to = now() + SYNAPSE_IS_BACK;
        outages.extend((haproxy_of(client) == part).then_some(Outage { client, from, to }));
        site.found(&APPS).await?;
    }
    Ok((site.whole().await?, outages))
}

async fn whole(site: &Site) -> Played {
    Ok((site.whole().await?, Vec::new()))
}
