//! The subcommands that ask a daemon, and the hooks: what containers and orchestrators have in place of curl.

use std::time::Duration;

use common::process::{Outcome, Program};
use e2e::daemon::Daemon;
use e2e::eventually::{ensure, eventually};
use e2e::http;
use e2e::instance::Instance;
use e2e::ports::free_port;
use e2e::program::binary;
use e2e::site::{Site, TIMEOUT};
use tokio::time::timeout;

/// Runs a subcommand of a daemon to its end; its exit code and its output.
async fn run(program: &str, arguments: &[&str]) -> (i32, String) {
    let program = Program {
        argv: [&[binary(program).as_str()], arguments]
            .concat()
            .into_iter()
            .map(str::to_owned)
            .collect(),
        env: Vec::new(),
        timeout: TIMEOUT,
    };
    match program.run().await.unwrap() {
        Outcome::Success { output } => (0, output),
        Outcome::Failure { how, output } => {
            let code = how.strip_prefix("exit code ").and_then(|code| code.parse().ok());
            (code.unwrap_or(-1), output)
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_waits_and_a_stop_drains_without_curl() {
    let site = Site::start(&["one", "two"]).await;
    let synapse = format!("127.0.0.1:{}", site.synapse.api_port());
    let (code, said) = run("synapse", &["wait", "--api", &synapse, "--service", "web"]).await;
    assert_eq!((code, said.as_str()), (0, "synapse is ready\n"));
    let (code, said) = run("synapse", &["wait", "--api", &synapse, "--service", "shop"]).await;
    assert!(code == 1 && said.contains("`shop`"), "{code} {said}");
    for question in ["--live", "--started", "--ready"] {
        assert_eq!(
            run("synapse", &["health", question, "--api", &synapse]).await.0,
            0,
            "{question}"
        );
    }

    let one = &site.members["one"];
    let nerve = format!("127.0.0.1:{}", one.nerve.api_port());
    let (code, said) = run("nerve", &["health", "--api", &nerve]).await;
    assert_eq!((code, said.as_str()), (0, "nerve is ready\n"));
    let (code, said) = run("nerve", &["drain", "--api", &nerve, "--reason", "an upgrade"]).await;
    assert!(code == 0 && said.contains("is disabled: the minimum"), "{code} {said}");
    let status = one.nerve.status().await.unwrap();
    assert_eq!(status[0]["Overrides"][0]["Reason"], "an upgrade");
    let nodes = site.zookeeper.client().await.nodes(e2e::site::PATH).await;
    assert_eq!(nodes.len(), 1, "{nodes:?}");

    let (code, said) = run("nerve", &["enable", "--api", &nerve]).await;
    assert!(code == 0 && said.contains("is enabled"), "{code} {said}");
    site.serves_all().await.unwrap();
    let (code, said) = run("nerve", &["drain", "--api", &nerve, "--deadline", "1ms"]).await;
    assert!(code == 1 && said.contains("within 1ms"), "{code} {said}");
    let (code, said) = run("nerve", &["drain", "--api", &nerve, "nobody"]).await;
    assert!(code == 1 && said.contains("`nobody`"), "{code} {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hooks_drain_before_the_service_is_stopped() {
    let directory = tempfile::tempdir().unwrap();
    let instance = Instance::start("web", directory.path()).await;
    let (api_port, hooks, port) = (free_port(), free_port(), instance.port());
    let configuration = format!(
        "apiPort: {api_port}
hooks: {{ host: 127.0.0.1, port: {hooks} }}
services:
  - name: web
    port: {port}
    enableWarmup: false
    disableMinDurationInMilli: 300
    checks: [{{ type: tcp, checkIntervalInMilli: 50, fall: 1, rise: 1 }}]
    reporters: [{{ type: file, path: {}/report, append: true }}]
",
        directory.path().display()
    );
    let mut nerve = Daemon::new("nerve", "nerve", directory.path(), api_port, &configuration);
    nerve.start_and_wait().await.unwrap();
    let phase = async || {
        let status = nerve.status().await?;
        Ok::<_, String>(status[0]["Lifecycle"].as_str().unwrap_or_default().to_owned())
    };
    eventually("it is up", TIMEOUT, async || {
        let phase = phase().await?;
        ensure(phase == "up", || phase)
    })
    .await;
    let hook = async |path| http::send("GET", hooks, path, TIMEOUT).await.unwrap();
    assert_eq!(hook("/hooks/pre-stop").await.body, "web is leaving\n");
    let drained = hook("//hooks/pre-stop/wait").await;
    assert_eq!(drained.status, 200, "{}", drained.body);
    assert_eq!(phase().await.unwrap(), "disabled");
    assert_eq!(hook("/status").await.status, 404);
    let report = std::fs::read_to_string(directory.path().join("report")).unwrap();
    assert!(
        report.ends_with('\n') && report.lines().last().unwrap().contains("\"available\":false"),
        "{report}"
    );
    // What is drained already is not drained again.
    let ended = timeout(Duration::from_secs(10), nerve.terminate())
        .await
        .expect("it ends");
    assert!(ended.success(), "{ended}");
}
