//! synapse reads its configuration again: what is unchanged is not touched, the rest follows without a lost request.
//! And a dry run changes nothing.

use std::path::Path;
use std::time::Duration;

use common::process::{Outcome, Program};
use e2e::eventually::{ensure, eventually};
use e2e::http;
use e2e::load::Load;
use e2e::ports::free_port;
use e2e::program::binary;
use e2e::site::{BACKEND, PATH, Site, TIMEOUT};
use rustix::process::Signal;
use serde_json::{Value, json};

const SORT: &str = "      - name: web\n";

fn configuration(site: &Site) -> String {
    std::fs::read_to_string(file(site)).unwrap()
}

fn file(site: &Site) -> std::path::PathBuf {
    site.directory().join("synapse.yaml")
}

fn write(site: &Site, text: &str) {
    std::fs::write(file(site), text).unwrap();
}

/// Another service of the same instances, on `port`.
fn other(site: &Site, port: u16) -> String {
    format!(
        "      - name: other\n        watcher: {{ type: zookeeper, hosts: ['{}'], path: {PATH} }}\n        routerOptions: {{ frontend: ['bind 127.0.0.1:{port}'] }}\n",
        site.zookeeper.address()
    )
}

async fn reload(site: &Site) -> (u16, Value) {
    let reply = site.synapse.send("POST", "/v1/reload").await.unwrap();
    (reply.status, serde_json::from_str(&reply.body).unwrap())
}

async fn answers_on(port: u16) {
    eventually("the new service answers", TIMEOUT, async || {
        let reply = http::send("GET", port, "/", Duration::from_secs(5)).await;
        let reply = reply.map_err(|error| error.to_string())?;
        ensure(reply.status == 200, || format!("{reply:?}"))
    })
    .await;
}

/// Runs `synapse WORD --config` on the site's file.
async fn look(word: &str, file: &Path) -> String {
    let argv = [&binary("synapse"), word, "--config", file.to_str().unwrap()].map(str::to_owned);
    let program = Program {
        argv: argv.to_vec(),
        env: Vec::new(),
        timeout: Duration::from_mins(1),
    };
    match program.run().await.unwrap() {
        Outcome::Success { output } => output,
        failure @ Outcome::Failure { .. } => panic!("{failure:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_configuration_costs_no_request() {
    let site = Site::start(&["one", "two"]).await;
    let (first, started) = (configuration(&site), site.haproxy.master().await.unwrap());
    let load = Load::start(site.port());

    // What HAProxy need not know of.
    write(
        &site,
        &first.replace(SORT, &format!("{SORT}        serverSort: name\n")),
    );
    let (status, told) = reload(&site).await;
    assert_eq!(status, 200, "{told}");
    let router = &told["routers"][0];
    assert_eq!(
        (&router["act"], &router["by"], &router["changed"]),
        (&json!("changed"), &json!("runtime"), &json!([BACKEND]))
    );
    site.serves_all().await.unwrap();
    assert_eq!(site.haproxy.master().await.unwrap().reloads, started.reloads);

    // A new service, which takes a reload.
    let port = free_port();
    write(&site, &format!("{first}{}", other(&site, port)));
    let (status, told) = reload(&site).await;
    assert_eq!(status, 200, "{told}");
    assert_eq!(
        (&told["routers"][0]["by"], &told["routers"][0]["added"]),
        (&json!("reload"), &json!(["other_2"]))
    );
    answers_on(port).await;

    // The first again, by a signal.
    write(&site, &first);
    site.synapse.signal(Signal::HUP);
    eventually("the second service is gone", TIMEOUT, async || {
        let status = site.synapse.status().await?;
        let services = status["routers"][0]["services"].as_array().map_or(0, Vec::len);
        let open = http::send("GET", port, "/", Duration::from_secs(5)).await.is_ok();
        ensure(services == 1 && !open, || format!("{services} services, open: {open}"))
    })
    .await;
    site.serves_all().await.unwrap();
    load.take().assert_flawless();
    let now = site.haproxy.master().await.unwrap();
    assert_eq!(
        (now.id, now.reloads),
        (started.id, started.reloads + 2),
        "one HAProxy, one reload for each change of sections"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_file_changes_nothing_and_is_told() {
    let site = Site::start(&["one"]).await;
    let (first, started) = (configuration(&site), site.haproxy.master().await.unwrap());
    let load = Load::start(site.port());
    write(&site, &first.replace("type: haproxy", "type: haproxi"));
    let (status, told) = reload(&site).await;
    assert_eq!(status, 422, "{told}");
    assert!(told["problems"][0].as_str().unwrap().contains("did you mean"), "{told}");
    let last = site.synapse.get("/v1/reload").await.unwrap();
    assert!(last.body.contains("\"refused\""), "{last:?}");

    // Right for the reader, wrong for this machine.
    write(
        &site,
        &first.replace("type: haproxy\n", "type: haproxy\n    haproxyProgram: /nonexistent\n"),
    );
    let (status, told) = reload(&site).await;
    assert_eq!(status, 422, "{told}");
    assert!(told["problems"][0].as_str().unwrap().contains("/nonexistent"), "{told}");

    write(&site, &first);
    let (status, told) = reload(&site).await;
    assert_eq!((status, &told["result"]), (200, &json!("unchanged")), "{told}");
    assert_eq!(told["routers"][0]["act"], "kept");
    let metrics = site.synapse.get("/metrics").await.unwrap().body;
    for (result, count) in [("applied", 0), ("unchanged", 1), ("refused", 2)] {
        let sample = format!(r#"synapse_config_reloads_total{{result="{result}"}} {count}"#);
        assert!(metrics.lines().any(|line| line == sample), "{sample}: {metrics}");
    }
    load.take().assert_flawless();
    let now = site.haproxy.master().await.unwrap();
    assert_eq!((now.id, now.reloads), (started.id, started.reloads));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_that_is_gone_takes_its_haproxy_with_it() {
    let site = Site::start(&["one"]).await;
    let (first, port) = (configuration(&site), free_port());
    let second = format!(
        "  - type: haproxy\n    configPath: {}/second.cfg\n    defaults: ['mode http']\n    services:\n{}",
        site.directory().display(),
        other(&site, port)
    );
    write(&site, &format!("{first}{second}"));
    let (status, told) = reload(&site).await;
    assert_eq!(status, 200, "{told}");
    assert_eq!(told["routers"][1]["act"], "added");
    answers_on(port).await;

    write(&site, &first);
    let (status, told) = reload(&site).await;
    assert_eq!(status, 200, "{told}");
    assert_eq!(told["routers"][1]["act"], "removed");
    eventually("its HAProxy is gone", TIMEOUT, async || {
        let open = http::send("GET", port, "/", Duration::from_secs(5)).await.is_ok();
        ensure(!open, || "it still answers".to_owned())
    })
    .await;
    site.serves_all().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_shows_what_would_be_done_and_does_nothing() {
    let site = Site::start(&["one"]).await;
    let started = site.haproxy.master().await.unwrap();
    let on_disk = site.haproxy.configuration();
    let plan = look("plan", &file(&site)).await;
    assert!(plan.contains("nothing to do"), "{plan}");
    let rendered = look("render", &file(&site)).await;
    assert!(rendered.ends_with(&on_disk), "{rendered}");
    let diff = site.synapse.get("/v1/haproxy/diff").await.unwrap();
    assert_eq!((diff.status, diff.body.as_str()), (200, ""));

    // Another file than the one that runs.
    let port = free_port();
    let wanted = site.directory().join("wanted.yaml");
    std::fs::write(&wanted, format!("{}{}", configuration(&site), other(&site, port))).unwrap();
    let plan = look("plan", &wanted).await;
    assert!(plan.contains("  reload (structure): the sections differ"), "{plan}");
    assert!(plan.contains("+backend other_2\n"), "{plan}");
    let instance = site.member("one").address();
    assert!(
        plan.contains(&format!("+  server one_{instance} {instance} id 1")),
        "{plan}"
    );

    assert_eq!(site.haproxy.configuration(), on_disk);
    let now = site.haproxy.master().await.unwrap();
    assert_eq!((now.id, now.reloads), (started.id, started.reloads));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn once_applies_and_leaves_haproxy_running() {
    let mut site = Site::start(&["one"]).await;
    assert!(site.synapse.terminate().await.success());
    let started = site.haproxy.master().await.unwrap();
    site.add("two").await;
    // One look is all it has.
    let client = site.zookeeper.client().await;
    let path = site.member("two").path();
    eventually("it is registered", TIMEOUT, async || {
        client.node(&path).await.ok_or("absent".to_owned())
    })
    .await;
    look("--once", &file(&site)).await;
    site.serves_all().await.unwrap();
    let now = site.haproxy.master().await.unwrap();
    assert_eq!((now.id, now.reloads), (started.id, started.reloads));
}
