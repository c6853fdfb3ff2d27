//! nerve reads its configuration again: what is as it was is not touched, what changed is replaced without a gap.

use std::collections::BTreeSet;
use std::time::Duration;

use e2e::daemon::Daemon;
use e2e::eventually::{ensure, eventually, throughout};
use e2e::instance::Instance;
use e2e::ports::free_port;
use e2e::site::{PATH, TIMEOUT};
use e2e::zookeeper::{Client, Node, ZooKeeper};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

/// A nerve with services that all look at the same instance.
struct Scene {
    nerve: Daemon,
    client: Client,
    zookeeper: ZooKeeper,
    instance: Instance,
    directory: TempDir,
}

impl Scene {
    async fn start(services: &[(&str, &str)]) -> Self {
        let zookeeper = ZooKeeper::start().await;
        let client = zookeeper.client().await;
        let directory = tempfile::tempdir().unwrap();
        let instance = Instance::start("one", directory.path()).await;
        let port = free_port();
        let nerve = Daemon::new("nerve", "nerve", directory.path(), port, "");
        let mut scene = Self {
            nerve,
            client,
            zookeeper,
            instance,
            directory,
        };
        scene.write(services);
        scene.nerve.start_and_wait().await.unwrap();
        scene
    }

    /// Writes the configuration: services by name, each with keys of its own.
    fn write(&self, services: &[(&str, &str)]) {
        let ours = self.zookeeper.address();
        let services: Vec<_> = services
            .iter()
            .map(|(name, keys)| (*name, *keys, ours.as_str()))
            .collect();
        self.write_at(&services);
    }

    /// As [`Scene::write`], each service on a ZooKeeper of its own.
    fn write_at(&self, services: &[(&str, &str, &str)]) {
        let (api, port) = (self.nerve.api_port(), self.instance.port());
        let service = |(name, keys, zookeeper): &(&str, &str, &str)| {
            format!(
                "
  - name: {name}
    host: 127.0.0.1
    port: {port}
    enableWarmup: false
    disableMinDurationInMilli: 100
    checks: [{{ type: http, path: /health, checkIntervalInMilli: 100, rise: 1 }}]
    reporters: [{{ type: zookeeper, hosts: ['{zookeeper}'], path: {PATH} }}]
    {keys}"
            )
        };
        let services: String = services.iter().map(service).collect();
        self.write_text(&format!("apiPort: {api}\nservices: {services}\n"));
    }

    fn write_text(&self, text: &str) {
        std::fs::write(self.directory.path().join("nerve.yaml"), text).unwrap();
    }

    async fn reload(&self) -> (u16, Value) {
        let reply = self.nerve.send("POST", "/v1/reload").await.unwrap();
        (reply.status, serde_json::from_str(&reply.body).unwrap())
    }

    fn node_name(&self, name: &str) -> String {
        format!("{name}_127.0.0.1:{}", self.instance.port())
    }

    /// The nodes, once they are these services'.
    async fn nodes(&self, names: &[&str]) -> Vec<Node> {
        let wanted: Vec<_> = names.iter().map(|name| self.node_name(name)).collect();
        eventually(&format!("the nodes are {names:?}"), TIMEOUT, async || {
            let mut nodes = self.client.nodes(PATH).await;
            nodes.sort_by(|a, b| a.name.cmp(&b.name));
            ensure(nodes.iter().map(|node| &node.name).eq(&wanted), || format!("{nodes:?}"))?;
            Ok(nodes)
        })
        .await
    }
}

/// The ensembles whose sessions are in nerve's metrics.
async fn ensembles(nerve: &Daemon) -> Result<BTreeSet<String>, String> {
    let metrics = nerve.get("/metrics").await.map_err(|error| error.to_string())?.body;
    let sessions = metrics.lines().filter_map(|line| {
        let labels = line.strip_prefix("nerve_zk_session_state{ensemble=\"")?;
        labels.split('"').next().map(str::to_owned)
    });
    Ok(sessions.collect())
}

fn names(value: &Value, key: &str) -> Vec<String> {
    serde_json::from_value(value[key].clone()).unwrap()
}

#[tokio::test]
async fn services_come_and_go_and_the_rest_keeps_its_node() {
    let scene = Scene::start(&[("a", ""), ("b", "")]).await;
    let before = scene.nodes(&["a", "b"]).await;
    scene.write(&[("a", ""), ("c", "")]);
    let (status, told) = scene.reload().await;
    assert_eq!(status, 200, "{told}");
    assert_eq!(
        (names(&told, "added"), names(&told, "removed"), names(&told, "changed")),
        (vec!["c".to_owned()], vec!["b".to_owned()], vec![])
    );
    let after = scene.nodes(&["a", "c"]).await;
    assert_eq!(after[0], before[0], "its node was not touched");
    let status = scene.nerve.status().await.unwrap();
    let shown: Vec<_> = status.as_array().unwrap().iter().map(|s| s["Name"].clone()).collect();
    assert_eq!(shown, ["a", "c"]);
    // The same file again, by signal.
    scene.nerve.signal(Signal::HUP);
    eventually("the signal was heard", TIMEOUT, async || {
        let last = scene.nerve.get("/v1/reload").await.map_err(|error| error.to_string())?;
        ensure(last.body.contains(r#""result":"unchanged""#), || last.body)
    })
    .await;
    assert_eq!(scene.nodes(&["a", "c"]).await, after);
    let metrics = scene.nerve.get("/metrics").await.unwrap().body;
    for series in [
        r#"nerve_config_reloads_total{result="applied"} 1"#,
        r#"nerve_config_reloads_total{result="unchanged"} 1"#,
    ] {
        assert!(metrics.contains(series), "{metrics}");
    }
    eventually("b's series are gone", TIMEOUT, async || {
        let metrics = scene.nerve.get("/metrics").await.map_err(|error| error.to_string())?;
        ensure(!metrics.body.contains(r#"name="b""#), || metrics.body)
    })
    .await;
}

#[tokio::test]
async fn a_changed_service_takes_its_node_over_with_the_operators_word() {
    let scene = Scene::start(&[("a", ""), ("b", "")]).await;
    let before = scene.nodes(&["a", "b"]).await;
    assert_eq!(
        scene.nerve.send("PUT", "/services/b/disable").await.unwrap().status,
        200
    );
    scene.nodes(&["a"]).await;
    scene.write(&[("a", "labels: { zone: x }"), ("b", "labels: { zone: x }")]);
    let (status, told) = scene.reload().await;
    assert_eq!((status, names(&told, "changed").len()), (200, 2), "{told}");
    let changed = eventually("the node has the label", TIMEOUT, async || {
        let nodes = scene.client.nodes(PATH).await;
        let [node] = nodes.as_slice() else {
            return Err(format!("{nodes:?}"));
        };
        ensure(node.data.contains(r#""labels":{"zone":"x"}"#), || node.data.clone())?;
        Ok(node.clone())
    })
    .await;
    assert_eq!(changed.created_by, before[0].created_by, "it is the same node");
    throughout("b stays disabled", Duration::from_secs(1), async || {
        let nodes = scene.client.nodes(PATH).await;
        ensure(nodes.len() == 1, || format!("{nodes:?}"))
    })
    .await;
    let status = scene.nerve.status().await.unwrap();
    assert_eq!(status[1]["Status"], "disabled");
}

#[tokio::test]
async fn when_the_path_changes_the_new_node_is_there_before_the_old_one_goes() {
    let scene = Scene::start(&[("a", "")]).await;
    let [before] = scene.nodes(&["a"]).await.try_into().unwrap();
    let elsewhere = format!("/elsewhere/{}", before.name);
    let file = std::fs::read_to_string(scene.directory.path().join("nerve.yaml")).unwrap();
    scene.write_text(&file.replace(PATH, "/elsewhere"));
    let old = format!("{PATH}/{}", before.name);
    let watch = throughout("one of both is there", Duration::from_secs(2), async || {
        // The new one first: it may come between the two questions, and never goes.
        let new = scene.client.node(&elsewhere).await;
        ensure(new.is_some() || scene.client.node(&old).await.is_some(), || {
            "none is there".to_owned()
        })
    });
    let ((status, told), ()) = tokio::join!(scene.reload(), watch);
    assert_eq!((status, names(&told, "changed")), (200, vec!["a".to_owned()]));
    eventually("the old node goes", TIMEOUT, async || {
        ensure(scene.client.node(&old).await.is_none(), || "it is there".to_owned())
    })
    .await;
    assert!(scene.client.node(&elsewhere).await.is_some());
}

#[tokio::test]
async fn a_bad_file_changes_nothing_and_says_why() {
    let scene = Scene::start(&[("a", "")]).await;
    let before = scene.nodes(&["a"]).await;
    for (bad, why) in [
        ("services: [{ port: x }]", "port"),
        ("services: [{ port: 80", "nerve.yaml"),
        ("services: [{ port: 80, checks: [{ type: nonsense }] }]", "nonsense"),
        (
            "services: [{ port: 80, reporters: [{ type: file, path: /dev/null/x }] }]",
            "/dev/null/x",
        ),
        ("logLevel: shout\nservices: []", "logLevel"),
    ] {
        scene.write_text(bad);
        let (status, told) = scene.reload().await;
        assert_eq!(status, 422, "{told}");
        assert!(told["problems"].to_string().contains(why), "{bad}: {told}");
    }
    assert_eq!(scene.nodes(&["a"]).await, before);
    assert!(scene.nerve.log().contains("Configuration refused"));
    let metrics = scene.nerve.get("/metrics").await.unwrap().body;
    assert!(
        metrics.contains(r#"nerve_config_reloads_total{result="refused"} 5"#),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_bad_file_read_by_signal_changes_nothing_either() {
    let scene = Scene::start(&[("a", ""), ("b", "")]).await;
    let before = scene.nodes(&["a", "b"]).await;
    let good = std::fs::read_to_string(scene.directory.path().join("nerve.yaml")).unwrap();
    // No YAML at all; one bad service beside a good one.
    for (count, bad) in [
        (1, good.replace("name: b", "name: [b")),
        (2, good.replace("name: b", "name: b/c")),
    ] {
        scene.write_text(&bad);
        scene.nerve.signal(Signal::HUP);
        let refused = format!(r#"nerve_config_reloads_total{{result="refused"}} {count}"#);
        eventually("the file is refused", TIMEOUT, async || {
            let metrics = scene.nerve.get("/metrics").await.map_err(|error| error.to_string())?;
            ensure(metrics.body.contains(&refused), || metrics.body)
        })
        .await;
        assert_eq!(scene.nodes(&["a", "b"]).await, before);
    }
}

#[tokio::test]
async fn a_numbered_node_is_never_absent_while_its_service_changes() {
    let scene = Scene::start(&[("a", "")]).await;
    let numbered = |labels: &str| {
        scene.write(&[("a", labels)]);
        let file = scene.directory.path().join("nerve.yaml");
        let text = std::fs::read_to_string(&file).unwrap();
        let kind = format!("path: {PATH}, nodeType: ephemeral_sequential");
        std::fs::write(&file, text.replace(&format!("path: {PATH}"), &kind)).unwrap();
    };
    let only_node = async |fits: &dyn Fn(&Node) -> bool| {
        eventually("one node that fits", TIMEOUT, async || {
            let nodes = scene.client.nodes(PATH).await;
            match nodes.as_slice() {
                [node] if fits(node) => Ok(node.clone()),
                _ => Err(format!("{nodes:?}")),
            }
        })
        .await
    };
    numbered("");
    let watch = throughout("it has a node", Duration::from_secs(2), async || {
        ensure(!scene.client.nodes(PATH).await.is_empty(), || "it has none".to_owned())
    });
    only_node(&|_| true).await;
    tokio::join!(scene.reload(), watch);
    let first = only_node(&|node| node.name.contains("_c_")).await;
    numbered("labels: { zone: x }");
    let watch = throughout("it has a node", Duration::from_secs(2), async || {
        ensure(!scene.client.nodes(PATH).await.is_empty(), || "it has none".to_owned())
    });
    scene.nerve.signal(Signal::HUP);
    watch.await;
    let changed = only_node(&|node| node.data.contains(r#""labels":{"zone":"x"}"#)).await;
    assert_eq!(changed.created_by, first.created_by, "it was handed over");
}

#[tokio::test]
async fn a_removed_service_that_comes_back_while_it_leaves_has_its_node() {
    let slow = "disableGracefullyDoneCommand: [sleep, '20']\n    disableGracefullyDoneIntervalInMilli: 30000";
    let mut scene = Scene::start(&[("a", slow), ("b", "")]).await;
    scene.nodes(&["a", "b"]).await;
    scene.write(&[("b", "")]);
    assert_eq!(scene.reload().await.0, 200);
    scene.nodes(&["b"]).await;
    scene.write(&[("a", ""), ("b", "")]);
    assert_eq!(scene.reload().await.0, 200);
    let nodes = scene.nodes(&["a", "b"]).await;
    throughout("both nodes stay", Duration::from_secs(2), async || {
        let mut now = scene.client.nodes(PATH).await;
        now.sort_by(|a, b| a.name.cmp(&b.name));
        ensure(now == nodes, || format!("{now:?}"))
    })
    .await;
    assert!(scene.nerve.terminate().await.success());
    scene.nodes(&[]).await;
}

#[tokio::test]
async fn an_ensemble_is_joined_with_its_first_reporter_and_left_with_its_last() {
    let mut scene = Scene::start(&[("a", "")]).await;
    let elsewhere = ZooKeeper::start().await;
    let (ours, theirs) = (scene.zookeeper.address(), elsewhere.address());
    let before = scene.nodes(&["a"]).await;
    let know = async |wanted: &[&String], sessions: usize| {
        eventually(&format!("sessions with {wanted:?}"), TIMEOUT, async || {
            let known = ensembles(&scene.nerve).await?;
            ensure(known.iter().eq(wanted.iter().copied().collect::<BTreeSet<_>>()), || {
                format!("{known:?}")
            })?;
            let held = elsewhere.sessions().await?;
            ensure(held == sessions, || format!("the other ZooKeeper holds {held}"))
        })
        .await;
    };
    know(&[&ours], 0).await;
    // Services of one ensemble share a session; the other is this test's.
    scene.write(&[("a", ""), ("c", "")]);
    assert_eq!(scene.reload().await.0, 200);
    scene.nodes(&["a", "c"]).await;
    assert_eq!(scene.zookeeper.sessions().await, Ok(2));
    let path = format!("{PATH}/{}", scene.node_name("b"));
    for _ in 0..2 {
        scene.write_at(&[("a", "", &ours), ("b", "", &theirs)]);
        assert_eq!(scene.reload().await.0, 200);
        know(&[&ours, &theirs], 1).await;
        let client = elsewhere.client().await;
        eventually("b is registered", TIMEOUT, async || {
            client.node(&path).await.ok_or_else(|| "it is not there".to_owned())
        })
        .await;
        // Its last reporter goes, with its node, before its session would time out.
        scene.write(&[("a", "")]);
        assert_eq!(scene.reload().await.0, 200);
        client.gone(&path).await;
        drop(client);
        know(&[&ours], 0).await;
    }
    assert_eq!(
        scene.nodes(&["a"]).await,
        before,
        "the other ensemble's was not touched"
    );
    // A service moves house: the one session goes when the other has its node.
    scene.write_at(&[("a", "", &theirs)]);
    assert_eq!(scene.reload().await.0, 200);
    know(&[&theirs], 1).await;
    scene.nodes(&[]).await;
    assert!(scene.nerve.terminate().await.success());
    assert_eq!(elsewhere.sessions().await, Ok(0));
}

#[tokio::test]
async fn what_needs_a_restart_is_told_and_shown_as_it_runs() {
    let scene = Scene::start(&[("a", "")]).await;
    let before = scene.nodes(&["a"]).await;
    let text = std::fs::read_to_string(scene.directory.path().join("nerve.yaml")).unwrap();
    let port = format!("apiPort: {}", scene.nerve.api_port());
    let other = format!(
        "apiPort: {}\nlegacyGetMutations: true\nshutdownTimeout: 5m",
        free_port()
    );
    scene.write_text(&text.replace(&port, &other));
    for _ in 0..2 {
        let (status, told) = scene.reload().await;
        assert_eq!((status, &told["result"]), (200, &Value::from("unchanged")), "{told}");
        assert_eq!(
            names(&told, "needsRestart"),
            ["apiHost, apiPort or apiSocket", "legacyGetMutations"],
            "until the restart it is said each time"
        );
        let shown: Value = serde_json::from_str(&scene.nerve.get("/v1/config").await.unwrap().body).unwrap();
        assert_eq!(
            shown["apiPort"],
            Value::from(scene.nerve.api_port()),
            "where it listens"
        );
        assert_eq!(shown["legacyGetMutations"], Value::from(false));
        assert_eq!(shown["shutdownTimeout"], Value::from("5m"));
    }
    assert_eq!(scene.nerve.get("/disable").await.unwrap().status, 405);
    assert_eq!(scene.nodes(&["a"]).await, before);
}
