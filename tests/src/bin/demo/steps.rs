//! What happens to the site, and what each change must cost at most.

use std::time::Duration;

use common::clock::unix_millis;
use e2e::eventually::{ensure, wait_for};
use e2e::load::Load;
use e2e::site::{BACKEND, SESSION_TIMEOUT, Site, TIMEOUT};
use e2e::zookeeper::ZooKeeper;
use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use crate::report::{Report, Row, short};
use crate::stage::{Outcome, Stage};

/// The median from a registration's creation to the first request must be shorter.
const JOIN_TARGET_MS: i64 = 100;
/// No request may reach an instance longer than this after its registration is gone.
const LEAVE_TARGET_MS: i64 = 100;
/// How often an instance joins and leaves.
const ROUNDS: usize = 10;
/// An idle daemon stays under this.
const RESIDENT_TARGET_KIB: u64 = 10_000_000 / 1024;
/// How long ZooKeeper is away.
const OUTAGE: Duration = Duration::from_secs(20);

const MEMBERS: [&str; 3] = ["one", "two", "three"];

/// Runs all steps and returns the site as it then is.
pub(crate) async fn run(report: &mut Report) -> Site {
    let mut site = start(report).await;
    let mut stage = Stage::new(report, Load::start(site.port()));
    stage
        .act(&mut site, "instances join and leave", 0, join_and_leave)
        .await;
    stage.act(&mut site, "an instance is killed", 0, kill_an_instance).await;
    stage.act(&mut site, "an instance is drained", 0, drain).await;
    stage.act(&mut site, "synapse is restarted", 0, restart_synapse).await;
    stage.act(&mut site, "synapse is killed", 0, kill_synapse).await;
    stage.act(&mut site, "a nerve is killed", 0, kill_a_nerve).await;
    stage
        .act(&mut site, "ZooKeeper is away for 20 s", 0, zookeeper_away)
        .await;
    stage.act(&mut site, "a structural change reloads", 1, reload).await;
    drop(stage);
    report.add(memory(&mut site).await);
    site
}

async fn start(report: &mut Report) -> Site {
    let started = Instant::now();
    let zookeeper = ZooKeeper::start().await;
    report.say(format_args!("ZooKeeper serves at {}.", zookeeper.address()));
    let mut site = Site::new(zookeeper);
    let mut row = Row {
        step: "start",
        ..Row::default()
    };
    let up = async {
        site.synapse.start_and_wait().await?;
        for name in MEMBERS {
            site.add(name).await;
        }
        site.serves_all().await
    };
    row.problems.extend(up.await.err().map(|late| late.to_string()));
    row.took = format!("{} to the first answers", short(started.elapsed()));
    report.say(format_args!(
        "HAProxy serves {MEMBERS:?} at http://127.0.0.1:{}/.",
        site.port()
    ));
    row.reloads = site.haproxy.master().await.map_or(0, |master| master.reloads);
    report.add(row);
    site
}

async fn join_and_leave(site: &mut Site, report: &Report) -> Outcome {
    let client = site.zookeeper.client().await;
    let (mut joins, mut leaves) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        let name = format!("guest-{round}");
        let mut guest = site.prepare(&name, &site.zookeeper.address()).await;
        let path = guest.path();
        guest.nerve.start();
        let first = wait_for("the new instance gets a request", TIMEOUT, async || {
            guest
                .instance
                .first_request()
                .await
                .ok_or_else(|| "none yet".to_owned())
        });
        let first = millis(first.await.map_err(|late| late.to_string())?);
        let node = client.node(&path).await.ok_or("the node is gone already")?;
        joins.push(first - node.created_at);

        let leaving = async { guest.nerve.signal(Signal::TERM) };
        tokio::join!(client.gone(&path), leaving);
        let gone = millis(unix_millis());
        // nerve waits for a second before it ends: long enough to see a request that should not come.
        guest.nerve.wait().await;
        let last = millis(guest.instance.last_request().await.ok_or("it served nothing")?);
        leaves.push(last - gone);
        guest.instance.stop().await;
        let (join, leave) = (first - node.created_at, last - gone);
        report.say(format_args!(
            "  {name}: first request {join} ms after its node, last {leave} ms after its end."
        ));
    }
    site.serves_all().await.map_err(|late| late.to_string())?;
    joins.sort_unstable();
    let median = joins.get(ROUNDS / 2).copied().unwrap_or(i64::MAX);
    let slowest = joins.last().copied().unwrap_or(i64::MAX);
    let latest = leaves.into_iter().max().unwrap_or(i64::MAX);
    ensure(median < JOIN_TARGET_MS, || {
        format!("in: median {median} ms, {JOIN_TARGET_MS} ms is the target")
    })?;
    ensure(latest <= LEAVE_TARGET_MS, || {
        format!("out: a request {latest} ms after, {LEAVE_TARGET_MS} is the target")
    })?;
    Ok(format!(
        "in: median {median} ms, worst {slowest} ms; out: worst {latest} ms ({ROUNDS} times)"
    ))
}

async fn kill_an_instance(site: &mut Site, _: &Report) -> Outcome {
    let killed = Instant::now();
    site.member_mut("two").instance.kill();
    site.serves(&["one", "three"]).await.map_err(|late| late.to_string())?;
    let out = killed.elapsed();
    let port = site.member("two").instance.port();
    let instance = e2e::instance::Instance::start_at("two", port, site.directory()).await;
    let restarted = Instant::now();
    site.member_mut("two").instance = instance;
    site.serves_all().await.map_err(|late| late.to_string())?;
    Ok(format!(
        "out after {}, back after {}",
        short(out),
        short(restarted.elapsed())
    ))
}

async fn drain(site: &mut Site, _: &Report) -> Outcome {
    let asked = Instant::now();
    let disable = site
        .members
        .get("three")
        .ok_or("no such member")?
        .nerve
        .send("PUT", "/services/three/disable");
    let drained = site.serves(&["one", "two"]);
    let (disabled, drained) = tokio::join!(disable, async { drained.await.map(|()| asked.elapsed()) });
    let out = drained.map_err(|late| late.to_string())?;
    let disabled = disabled.map_err(|error| error.to_string())?;
    ensure(disabled.status == 200, || format!("disable: {disabled:?}"))?;
    let enabled = Instant::now();
    let answer = site.member("three").nerve.send("PUT", "/services/three/enable").await;
    answer.map_err(|error| error.to_string())?;
    site.serves_all().await.map_err(|late| late.to_string())?;
    Ok(format!(
        "out after {}, back after {}",
        short(out),
        short(enabled.elapsed())
    ))
}

async fn restart_synapse(site: &mut Site, _: &Report) -> Outcome {
    let started = Instant::now();
    let status = site.synapse.terminate().await;
    ensure(status.success(), || format!("synapse ended with {status}"))?;
    ready_again(site, started).await
}

async fn kill_synapse(site: &mut Site, _: &Report) -> Outcome {
    let started = Instant::now();
    site.synapse.kill();
    ready_again(site, started).await
}

async fn ready_again(site: &mut Site, since: Instant) -> Outcome {
    site.synapse.start_and_wait().await.map_err(|late| late.to_string())?;
    let ready = wait_for("synapse is ready", TIMEOUT, async || {
        let reply = site.synapse.get("/ready").await.map_err(|error| error.to_string())?;
        ensure(reply.status == 200, || format!("{reply:?}"))
    });
    ready.await.map_err(|late| late.to_string())?;
    let ready = since.elapsed();
    site.serves_all().await.map_err(|late| late.to_string())?;
    Ok(format!("ready again after {}", short(ready)))
}

async fn kill_a_nerve(site: &mut Site, _: &Report) -> Outcome {
    let client = site.zookeeper.client().await;
    let path = site.member("one").path();
    let before = client.node(&path).await.ok_or("it has no node")?;
    let killed = Instant::now();
    site.member_mut("one").nerve.kill();
    site.member_mut("one")
        .nerve
        .start_and_wait()
        .await
        .map_err(|late| late.to_string())?;
    let taken_over = wait_for("the new nerve owns the node", TIMEOUT, async || {
        let node = client.node(&path).await.ok_or("absent")?;
        ensure(node.owner != before.owner, || {
            "the dead one's session still owns it".to_owned()
        })
    });
    taken_over.await.map_err(|late| late.to_string())?;
    let took = killed.elapsed();
    // The dead one's session ends in this time, and must take nothing with it.
    sleep(SESSION_TIMEOUT + Duration::from_secs(1)).await;
    site.serves_all().await.map_err(|late| late.to_string())?;
    Ok(format!("registered again after {}", short(took)))
}

async fn zookeeper_away(site: &mut Site, report: &Report) -> Outcome {
    site.zookeeper.stop().await;
    report.say("  ZooKeeper is stopped.");
    let mut late = site.prepare("late", &site.zookeeper.address()).await;
    late.nerve.start_and_wait().await.map_err(|late| late.to_string())?;
    sleep(OUTAGE).await;
    let active = site.haproxy.active(BACKEND).await?;
    ensure(active.len() == MEMBERS.len(), || {
        format!("without ZooKeeper HAProxy was left with {active:?}")
    })?;
    site.zookeeper.restart().await;
    report.say("  ZooKeeper serves again; an instance that started meanwhile registers.");
    let back = Instant::now();
    site.members.insert("late".to_owned(), late);
    site.serves_all().await.map_err(|late| late.to_string())?;
    let took = back.elapsed();
    // The sessions from before end in this time, and must take nothing with them.
    sleep(SESSION_TIMEOUT + Duration::from_secs(2)).await;
    site.serves_all().await.map_err(|late| late.to_string())?;
    let mut late = site.members.remove("late").ok_or("no such member")?;
    late.nerve.terminate().await;
    site.serves_all().await.map_err(|late| late.to_string())?;
    late.instance.stop().await;
    Ok(format!("a new instance served {} after its return", short(took)))
}

async fn reload(site: &mut Site, _: &Report) -> Outcome {
    let asked = Instant::now();
    let reply = site
        .synapse
        .send("POST", "/v1/haproxy/reload")
        .await
        .map_err(|error| error.to_string())?;
    ensure(reply.status == 200, || format!("{reply:?}"))?;
    let took = asked.elapsed();
    site.serves_all().await.map_err(|late| late.to_string())?;
    Ok(format!("verified after {}", short(took)))
}

/// What the daemons hold when nothing happens.
async fn memory(site: &mut Site) -> Row {
    sleep(Duration::from_secs(3)).await;
    let mut row = Row {
        step: "idle memory",
        ..Row::default()
    };
    let (nerve, synapse) = (site.member("one").nerve.resident_kib(), site.synapse.resident_kib());
    row.took = format!("nerve {nerve} KiB, synapse {synapse} KiB");
    for (daemon, resident) in [("nerve", nerve), ("synapse", synapse)] {
        if resident > RESIDENT_TARGET_KIB {
            row.problems.push(format!(
                "{daemon} holds {resident} KiB, {RESIDENT_TARGET_KIB} KiB is the target"
            ));
        }
    }
    row
}

fn millis(time: u64) -> i64 {
    i64::try_from(time).unwrap_or(i64::MAX)
}
