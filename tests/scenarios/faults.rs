//! Traffic outlives everything but the instances: the daemons, ZooKeeper, reloads, HAProxy itself.

use std::time::Duration;

use e2e::daemon::Daemon;
use e2e::eventually::{ensure, eventually, throughout};
use e2e::haproxy::program_3;
use e2e::instance::Instance;
use e2e::load::Load;
use e2e::outage::Outage;
use e2e::site::{BACKEND, PATH, SESSION_TIMEOUT, Site, TIMEOUT};
use e2e::zookeeper::ZooKeeper;
use rustix::process::{Pid, Signal, kill_process};

/// Holds that HAProxy gives requests to `count` instances during `span`.
async fn serves_throughout(site: &Site, count: usize, span: Duration) {
    throughout("traffic goes on as it was", span, async || {
        let active = site.haproxy.active(BACKEND).await?;
        ensure(active.len() == count, || format!("{active:?}"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn synapse_killed_and_restarted_under_load_touches_nothing() {
    let mut site = Site::start(&["one", "two", "three"]).await;
    let load = Load::start(site.port());
    let master = site.haproxy.master().await.unwrap();
    for _ in 0..3 {
        site.synapse.kill();
        site.synapse.start_and_wait().await.unwrap();
        site.serves_all().await.unwrap();
    }
    assert!(site.synapse.terminate().await.success());
    serves_throughout(&site, 3, Duration::from_secs(1)).await;
    // What happens while no synapse runs is made good by the next one.
    site.add("four").await;
    assert!(site.member_mut("one").nerve.terminate().await.success());
    let gone = site.members.remove("one").unwrap();
    site.synapse.start_and_wait().await.unwrap();
    site.serves_all().await.unwrap();
    gone.instance.stop().await;
    load.take().assert_flawless();
    assert_eq!(
        site.haproxy.master().await.unwrap(),
        master,
        "HAProxy was reloaded or replaced"
    );
}

/// The kernel ends all of a container with its first process, and HAProxy with synapse if that were it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn synapse_killed_in_its_container_touches_nothing() {
    let mut site = Site::new(ZooKeeper::start().await);
    site.synapse.contain();
    site.start_all(&["one", "two"]).await;
    let load = Load::start(site.port());
    let master = site.haproxy.master().await.unwrap();
    let daemon = |site: &Site| {
        let (first, children) = site.synapse.contained().unwrap();
        let named = |pid: &Pid| {
            let name = std::fs::read_to_string(format!("/proc/{}/comm", pid.as_raw_nonzero()));
            name.is_ok_and(|name| name.trim() == "synapse")
        };
        (first, children.into_iter().find(named))
    };
    let (first, _) = daemon(&site);
    for name in ["three", "four", "five"] {
        let (_, before) = daemon(&site);
        kill_process(before.unwrap(), Signal::KILL).unwrap();
        // An instance that comes while no synapse runs, or as soon as the next one does, is found.
        site.add(name).await;
        site.serves_all().await.unwrap();
        let (still, now) = daemon(&site);
        assert!(
            still == first && now.is_some() && now != before,
            "{now:?} after {before:?}"
        );
    }
    load.take().assert_flawless();
    assert_eq!(site.haproxy.master().await.unwrap(), master);
    assert_eq!(
        site.synapse
            .log()
            .matches("synapse crashed (killed by signal 9)")
            .count(),
        3
    );
    kill_process(first, Signal::TERM).unwrap();
    assert!(site.synapse.wait().await.success(), "a stop is handed on");
    assert_eq!(site.synapse.log().matches("Synapse stopped.").count(), 1);
}

/// A site whose HAProxy is in a container of its own, and what keeps it running there.
async fn with_haproxy_apart(names: &[&str]) -> (Site, Daemon) {
    let mut site = Site::with_router(ZooKeeper::start().await, "runHaproxy: false");
    let mut keeper = site.synapse.subcommand("haproxy");
    keeper.contain();
    keeper.start();
    site.start_all(names).await;
    (site, keeper)
}

/// As in two containers of a pod: the process ids that HAProxy's master reports are unknown to synapse.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn haproxy_in_a_container_of_its_own_and_synapse_outlive_each_other() {
    let (mut site, mut keeper) = with_haproxy_apart(&["one", "two"]).await;
    let load = Load::start(site.port());
    let master = site.haproxy.master().await.unwrap();
    for name in ["three", "four"] {
        assert!(site.synapse.terminate().await.success());
        site.add(name).await;
        site.synapse.start_and_wait().await.unwrap();
        site.serves_all().await.unwrap();
    }
    assert_eq!(site.haproxy.master().await.unwrap(), master);
    let reply = site.synapse.send("POST", "/v1/haproxy/reload").await.unwrap();
    assert_eq!(reply.status, 200, "{reply:?}");
    let reloaded = site.haproxy.master().await.unwrap();
    assert_eq!((reloaded.id, reloaded.reloads), (master.id, master.reloads + 1));
    load.take().assert_flawless();
    drop(load);
    // A crash is handled by the supervisor, and HAProxy comes back with all instances, whether synapse runs or not.
    site.synapse.kill();
    assert!(site.haproxy.kill() > 1);
    site.serves_all().await.unwrap();
    site.synapse.start_and_wait().await.unwrap();
    site.add("five").await;
    site.serves_all().await.unwrap();
    // A stop is soft, and only the supervisor starts HAProxy again.
    let (first, _) = keeper.contained().unwrap();
    kill_process(first, Signal::TERM).unwrap();
    assert!(keeper.wait().await.success());
    site.add("six").await;
    eventually("it is missed", TIMEOUT, async || {
        let status = site.synapse.status().await?;
        let error = status.pointer("/routers/0/haproxy/last_error");
        ensure(
            error.is_some_and(|error| error.to_string().contains("HAProxy is gone")),
            || status.to_string(),
        )
    })
    .await;
    assert_eq!(site.haproxy.kill(), 0, "synapse started one");
    keeper.start();
    site.serves_all().await.unwrap();
}

/// synapse would watch, and at its stop signal, an unrelated process with that process id here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_haproxy_in_another_container_is_not_taken_for_a_process_of_this_one() {
    let (mut site, _keeper) = with_haproxy_apart(&["one"]).await;
    let (master, load) = (site.haproxy.master().await.unwrap(), Load::start(site.port()));
    let file = site.directory().join("synapse.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(site.synapse.terminate().await.success());
    std::fs::write(&file, text.replace("runHaproxy: false", "stopOnExit: true")).unwrap();
    site.synapse.start_and_wait().await.unwrap();
    eventually("it is refused", TIMEOUT, async || {
        let status = site.synapse.status().await?;
        let error = status.pointer("/routers/0/haproxy/last_error").map(ToString::to_string);
        let is_said = error.is_some_and(|error| error.contains("set `runHaproxy: false`"));
        ensure(is_said, || status.to_string())
    })
    .await;
    assert!(site.synapse.terminate().await.success());
    assert_eq!(site.haproxy.master().await.unwrap(), master);
    std::fs::write(&file, text).unwrap();
    site.synapse.start_and_wait().await.unwrap();
    site.add("two").await;
    site.serves_all().await.unwrap();
    load.take().assert_flawless();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn haproxy_3_makes_and_deletes_servers_under_load_without_a_reload() {
    let mut site = Site::start_with_haproxy(&["one", "two"], &program_3()).await;
    let load = Load::start(site.port());
    let master = site.haproxy.master().await.unwrap();
    for name in ["three", "four", "five"] {
        site.add(name).await;
    }
    site.serves_all().await.unwrap();
    let servers = site.haproxy.servers(BACKEND).await.unwrap();
    for (name, member) in &site.members {
        let own = format!("{name}_{}", member.address());
        assert!(
            servers.iter().any(|server| server.name() == own),
            "{own} is not among {servers:?}"
        );
    }
    for name in ["one", "three"] {
        assert!(site.member_mut(name).nerve.terminate().await.success());
        let gone = site.members.remove(name).unwrap();
        site.serves_all().await.unwrap();
        gone.instance.stop().await;
    }
    eventually("who has left is deleted", TIMEOUT, async || {
        let servers = site.haproxy.servers(BACKEND).await?;
        ensure(servers.len() == 3, || format!("{servers:?}"))
    })
    .await;
    // The next synapse takes over what was made, and goes on with it.
    site.synapse.kill();
    site.synapse.start_and_wait().await.unwrap();
    site.serves_all().await.unwrap();
    site.add("six").await;
    site.serves_all().await.unwrap();
    load.take().assert_flawless();
    assert_eq!(
        site.haproxy.master().await.unwrap(),
        master,
        "HAProxy was reloaded or replaced"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_forced_reloads_lose_no_request() {
    let site = Site::start(&["one", "two", "three"]).await;
    let load = Load::start(site.port());
    for reload in 1..=30 {
        let reply = site.synapse.send("POST", "/v1/haproxy/reload").await.unwrap();
        assert_eq!(reply.status, 200, "reload {reload}: {reply:?}");
    }
    site.serves_all().await.unwrap();
    load.take().assert_flawless();
    assert_eq!(site.haproxy.master().await.unwrap().reloads, 30);
}

/// `outage --minutes 10` is the same for longer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zookeeper_away_longer_than_the_session_costs_no_request_and_no_reload() {
    let mut site = Site::start(&["one", "two", "three"]).await;
    let outage = Outage::of(&mut site, SESSION_TIMEOUT * 4).await.unwrap();
    println!("{outage}");
    assert_eq!(outage.problems(), [""; 0]);
    let load = Load::start(site.port());
    site.zookeeper.restart().await;
    serves_throughout(&site, 3, SESSION_TIMEOUT * 2).await;
    // And the watch is alive again.
    site.add("four").await;
    site.serves_all().await.unwrap();
    load.take().assert_flawless();
    assert_eq!(site.haproxy.master().await.unwrap().reloads, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_daemons_killed_while_zookeeper_is_away_start_again_by_themselves() {
    let mut site = Site::start(&["one", "two"]).await;
    let load = Load::start(site.port());
    site.zookeeper.kill();
    site.synapse.kill();
    site.member_mut("one").nerve.kill();
    site.synapse.start_and_wait().await.unwrap();
    site.member_mut("one").nerve.start_and_wait().await.unwrap();
    serves_throughout(&site, 2, Duration::from_secs(2)).await;
    site.zookeeper.restart().await;
    serves_throughout(&site, 2, SESSION_TIMEOUT * 2).await;
    site.serves_all().await.unwrap();
    load.take().assert_flawless();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn synapse_killed_at_any_point_of_its_start_needs_no_hand() {
    let mut site = Site::start(&["one", "two"]).await;
    let load = Load::start(site.port());
    for milliseconds in [1, 5, 10, 20, 40, 80, 160, 320] {
        site.synapse.kill();
        site.synapse.start();
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    }
    // Also in the middle of reloads, requested by hand.
    site.synapse.kill();
    for milliseconds in [1, 10, 50, 150] {
        site.synapse.start_and_wait().await.unwrap();
        let reload = site.synapse.send("POST", "/v1/haproxy/reload");
        // No answer is expected: the daemon dies under the request.
        let _cut_short = tokio::time::timeout(Duration::from_millis(milliseconds), reload).await;
        site.synapse.kill();
    }
    site.synapse.start_and_wait().await.unwrap();
    site.add("three").await;
    site.serves_all().await.unwrap();
    load.take().assert_flawless();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_haproxy_is_started_again_with_all_instances() {
    let site = Site::start(&["one", "two"]).await;
    let before = site.haproxy.master().await.unwrap();
    assert!(site.haproxy.kill() > 0);
    eventually("another HAProxy serves", TIMEOUT, async || {
        let master = site.haproxy.master().await?;
        ensure(master.id != before.id, || format!("{master:?}"))
    })
    .await;
    site.serves_all().await.unwrap();
}

/// HAProxy tries a request again within the same millisecond, on the only server that is no backup, until no retry is
/// left: its check is seconds behind. What the reference recommends for `zone: prefer` has the retries mark it down.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_only_local_instance_killed_under_load_leaves_its_requests_to_the_others() {
    let site_keys = "serverOptions: check inter 10s fastinter 1s downinter 1s rise 1 observe layer4 error-limit 2 on-error mark-down
        zone: {local: here, label: zone, policy: prefer}";
    let mut site = Site::with_keys(ZooKeeper::start().await, site_keys);
    let file = site.directory().join("synapse.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let patient = text.replace("retries 3", "retries 10");
    assert_ne!(patient, text);
    std::fs::write(&file, patient).unwrap();
    site.synapse.start_and_wait().await.unwrap();
    let (mut local, other) = (
        Instance::start("local", site.directory()).await,
        Instance::start("other", site.directory()).await,
    );
    let client = site.zookeeper.client().await;
    for (zone, name, instance) in [("here", "local", &local), ("there", "other", &other)] {
        let data = format!(
            r#"{{"available":true,"host":"127.0.0.1","port":{},"name":"{name}","labels":{{"zone":"{zone}"}}}}"#,
            instance.port()
        );
        client.put_ephemeral(&format!("{PATH}/{name}"), data).await;
    }
    let answers = async |name: &str| {
        eventually(&format!("{name} answers"), TIMEOUT, async || {
            let names = site.answers(10).await?;
            ensure(names.iter().eq([name]), || format!("{names:?} answer"))
        })
        .await;
    };
    eventually("HAProxy has both", TIMEOUT, async || {
        let active = site.haproxy.active(BACKEND).await?;
        ensure(active.len() == 2, || format!("{active:?}"))
    })
    .await;
    let reloads = site.haproxy.master().await.unwrap().reloads;
    answers("local").await;
    let load = Load::start(site.port());
    for _ in 0..8 {
        local.kill();
        answers("other").await;
        local = Instance::start_at("local", local.port(), site.directory()).await;
        answers("local").await;
    }
    load.take().assert_flawless();
    assert_eq!(site.haproxy.master().await.unwrap().reloads, reloads);
}
