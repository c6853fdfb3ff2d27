//! nerve's lifecycle: overrides and the warm-up outlive it, and its changes are streamed.

use std::path::PathBuf;
use std::time::Duration;

use e2e::daemon::Daemon;
use e2e::eventually::{ensure, eventually};
use e2e::instance::Instance;
use e2e::ports::free_port;
use e2e::site::TIMEOUT;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

/// A nerve with a memory, a spool and one service, which reports to a file.
struct Scene {
    nerve: Daemon,
    instance: Instance,
    directory: TempDir,
}

impl Scene {
    async fn start(keys: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let instance = Instance::start("web", directory.path()).await;
        let (api_port, port, path) = (free_port(), instance.port(), directory.path().display());
        let configuration = format!(
            "apiPort: {api_port}
stateDir: {path}/state
hacheckSpool: {path}/spool
legacyGetMutations: true
services:
  - name: web
    port: {port}
    disableMinDurationInMilli: 1
    enableWarmupIntervalInMilli: 100
    {keys}
    checks: [{{ type: tcp, checkIntervalInMilli: 50, fall: 1, rise: 1 }}]
    reporters: [{{ type: file, path: {path}/report, append: true }}]
"
        );
        let mut nerve = Daemon::new("nerve", "nerve", directory.path(), api_port, &configuration);
        nerve.start_and_wait().await.unwrap();
        Self {
            nerve,
            instance,
            directory,
        }
    }

    async fn put(&self, path: &str) -> String {
        let reply = self.nerve.send("PUT", path).await.unwrap();
        assert_eq!(reply.status, 200, "{path}: {}", reply.body);
        reply.body
    }

    async fn until(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        eventually(what, TIMEOUT, async || {
            let status = self.nerve.status().await?;
            let service = status.get(0).cloned().unwrap_or_default();
            ensure(fits(&service), || service.to_string())?;
            Ok(service)
        })
        .await
    }

    /// kill -9, and another nerve.
    async fn crash(&mut self) {
        self.nerve.kill();
        self.nerve.start_and_wait().await.unwrap();
    }

    /// The weights of all reports so far, of all nerves; 0 when it was not available.
    fn weights(&self) -> Vec<u64> {
        let report: PathBuf = self.directory.path().join("report");
        let reports = std::fs::read_to_string(report).unwrap();
        let report = |line: &str| serde_json::from_str::<Value>(line).unwrap();
        let weight = |line: &str| report(line).get("weight").and_then(Value::as_u64).unwrap();
        reports.lines().map(weight).collect()
    }
}

fn weight(service: &Value) -> u64 {
    service["CurrentWeight"].as_u64().unwrap_or_default()
}

#[tokio::test]
async fn a_stop_does_not_wait_for_the_next_check() {
    let directory = tempfile::tempdir().unwrap();
    let instance = Instance::start("web", directory.path()).await;
    let (api_port, port) = (free_port(), instance.port());
    let configuration = format!(
        "apiPort: {api_port}
services:
  - name: slow
    port: {port}
    enableWarmup: false
    disableMinDurationInMilli: 1
    checks: [{{ type: tcp, checkIntervalInMilli: 600000 }}]
"
    );
    let mut nerve = Daemon::new("nerve", "nerve", directory.path(), api_port, &configuration);
    nerve.start_and_wait().await.unwrap();
    eventually("it is up", TIMEOUT, async || {
        let status = nerve.status().await?;
        ensure(status[0]["Lifecycle"] == "up", || status.to_string())
    })
    .await;
    // The harness waits for the end, but not for ten minutes.
    let begun = Instant::now();
    assert!(nerve.terminate().await.success());
    eprintln!("It stopped within {:?}.", begun.elapsed());
}

#[tokio::test]
async fn an_operators_word_outlives_a_crash_and_ends_at_its_time() {
    let mut scene = Scene::start("enableWarmup: false").await;
    scene.until("it is up", |service| service["Available"] == true).await;
    scene.put("/services/web/weight/7").await;
    scene
        .put("/services/web/disable?reason=deploy&author=ann&expires=4s")
        .await;
    scene.crash().await;
    let service = scene
        .until("it is known", |service| service["Lifecycle"] != "unknown")
        .await;
    assert_eq!(service["Status"], "disabled", "{service}");
    assert_eq!(service["Reason"], "Service is disabled: deploy");
    let voice = &service["Overrides"][0];
    assert_eq!(
        (&voice["Source"], &voice["Author"]),
        (&"operator".into(), &"ann".into())
    );
    let service = scene
        .until("the word has expired", |service| service["Available"] == true)
        .await;
    assert!(common::clock::unix_millis() >= voice["Expires"].as_u64().unwrap());
    assert_eq!((weight(&service), &service["Status"]), (7, &"enabled".into()));
    // What expired does not come back.
    scene.crash().await;
    scene
        .until("it is up again", |service| service["Available"] == true)
        .await;
}

#[tokio::test]
async fn a_warm_up_goes_on_where_it_was_after_a_crash_and_after_a_stop() {
    let mut scene = Scene::start("").await;
    scene
        .until("it has warmed up a little", |service| weight(service) >= 6)
        .await;
    // A crash may lose what is not on disk yet, no more.
    eventually("the step is kept", TIMEOUT, async || {
        let state = std::fs::read_to_string(scene.directory.path().join("state/nerve.state.json"));
        let state: Value = serde_json::from_str(&state.unwrap_or_default()).unwrap_or_default();
        let step = state["services"]["web"]["warmth"]["step"].as_u64();
        ensure(step >= Some(4), || state.to_string())
    })
    .await;
    scene.nerve.kill();
    let before = scene.weights().len();
    scene.nerve.start_and_wait().await.unwrap();
    scene.until("it goes on", |service| weight(service) >= 38).await;
    let after_the_crash: Vec<_> = scene.weights().into_iter().skip(before).collect();
    assert!(after_the_crash.iter().all(|weight| *weight >= 6), "{after_the_crash:?}");
    assert!(scene.nerve.terminate().await.success());
    scene.nerve.start_and_wait().await.unwrap();
    scene.until("it is warm", |service| service["Lifecycle"] == "up").await;
    // A stop loses nothing.
    let all: Vec<_> = scene.weights().into_iter().skip(before).collect();
    assert!(all.iter().filter(|weight| **weight > 0).is_sorted(), "{all:?}");

    scene.crash().await;
    let service = scene.until("it is back", |service| service["Available"] == true).await;
    assert_eq!(weight(&service), 255);

    scene.nerve.kill();
    let port = scene.instance.port();
    scene.instance.kill();
    scene.nerve.start_and_wait().await.unwrap();
    scene
        .until("it is down", |service| service["Lifecycle"] == "down")
        .await;
    scene.instance = Instance::start_at("web", port, scene.directory.path()).await;
    scene
        .until("it warms up", |service| service["Lifecycle"] == "warming up")
        .await;
    let weights = scene.weights();
    let after = weights.iter().rev().take_while(|weight| **weight > 0).last();
    assert_eq!(after, Some(&1), "a failure starts it anew: {weights:?}");
}

#[tokio::test]
async fn hacheck_takes_a_service_down_and_lets_it_go() {
    let mut scene = Scene::start("enableWarmup: false").await;
    scene.until("it is up", |service| service["Available"] == true).await;
    let spool = scene.directory.path().join("spool");
    std::fs::create_dir(&spool).unwrap();
    std::fs::write(
        spool.join("web"),
        r#"{"reason": "kernel", "expiration": null, "creation": 1}"#,
    )
    .unwrap();
    let service = scene.until("it is down", |service| service["Available"] == false).await;
    assert_eq!(service["Reason"], "Service is disabled: kernel");
    assert_eq!(service["Overrides"][0]["Source"], "hacheck web");
    let said = scene.put("/services/web/enable?force=true").await;
    assert_eq!(said, "web is enabled, but stays down because of hacheck web\n");
    // In effect from the first moment of another nerve.
    scene.crash().await;
    let service = scene
        .until("it is known", |service| service["Lifecycle"] != "unknown")
        .await;
    assert_eq!(service["Available"], false, "{service}");
    std::fs::remove_file(spool.join("web")).unwrap();
    scene
        .until("it is forced", |service| {
            service["Status"] == "forced" && service["Available"] == true
        })
        .await;
}

#[tokio::test]
async fn changes_are_told_as_they_happen() {
    let mut scene = Scene::start("enableWarmup: false").await;
    scene.until("it is up", |service| service["Available"] == true).await;
    let mut stream = TcpStream::connect(("127.0.0.1", scene.nerve.api_port())).await.unwrap();
    stream
        .write_all(b"GET /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        .await
        .unwrap();
    let mut lines = BufReader::new(stream).lines();
    let mut next = async |wanted: &str| {
        loop {
            let line = timeout(TIMEOUT, lines.next_line()).await.unwrap().unwrap().unwrap();
            if let Some(data) = line.strip_prefix("data: ") {
                let event: Value = serde_json::from_str(data).unwrap();
                assert_eq!(
                    (&event["name"], &event["lifecycle"]),
                    (&"web".into(), &wanted.into()),
                    "{event}"
                );
                return event;
            }
        }
    };
    assert_eq!(next("up").await["currentWeight"], 255);
    scene.put("/services/web/disable?reason=deploy").await;
    assert_eq!(next("disabling").await["reason"], "Service is disabled: deploy");
    assert_eq!(next("disabled").await["available"], false);
    scene.put("/services/web/enable").await;
    next("up").await;
    // The stop is streamed as well, then the stream ends and delays nothing.
    let stopping = Duration::from_secs(5);
    let stopped = timeout(stopping, scene.nerve.terminate()).await.unwrap();
    assert!(stopped.success());
    next("disabling").await;
    next("disabled").await;
    let mut rest = String::new();
    timeout(TIMEOUT, lines.into_inner().read_to_string(&mut rest))
        .await
        .unwrap()
        .unwrap();
    assert!(rest.ends_with("0\r\n\r\n"), "{rest}");
}

#[tokio::test]
async fn a_get_of_a_web_page_changes_nothing() {
    let scene = Scene::start("enableWarmup: false").await;
    scene.until("it is up", |service| service["Available"] == true).await;
    for (header, status) in [("Origin: http://evil.example", 403), ("Host: evil.example", 421)] {
        let mut stream = TcpStream::connect(("127.0.0.1", scene.nerve.api_port())).await.unwrap();
        let request = format!("GET /disable HTTP/1.1\r\n{header}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(Duration::from_secs(10), stream.read_to_string(&mut answer))
            .await
            .unwrap()
            .unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
    let reply = scene.nerve.get("/disable").await.unwrap();
    assert_eq!(
        (reply.status, reply.body.as_str()),
        (200, "web is disabled: the minimum duration is over\n")
    );
}
