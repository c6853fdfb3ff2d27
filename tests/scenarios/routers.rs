//! synapse's other routers beside HAProxy's: a real nginx, files for applications, and one that never works.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use e2e::eventually::{ensure, eventually};
use e2e::http;
use e2e::load::Load;
use e2e::servers::nginx;
use e2e::site::{Site, TIMEOUT};
use e2e::zookeeper::ZooKeeper;
use serde_json::Value;

/// The addresses in the site's files, sorted: what an application reads from Airbnb's synapse.
fn in_json(path: &Path) -> Result<Vec<String>, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let backends: Value = serde_json::from_str(&text).map_err(|error| format!("{error} in {text:?}"))?;
    let backends = backends.as_array().ok_or("no list")?;
    let mut addresses: Vec<String> = backends
        .iter()
        .map(|backend| format!("{}:{}", backend["host"].as_str().unwrap_or_default(), backend["port"]))
        .collect();
    addresses.sort();
    Ok(addresses)
}

fn addresses(site: &Site) -> Vec<String> {
    let mut addresses: Vec<String> = site.members.values().map(e2e::site::Member::address).collect();
    addresses.sort();
    addresses
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_nginx_follows_through_a_template() {
    let nginx = nginx();
    let mut site = Site::with_routers(ZooKeeper::start().await, |_, watcher| {
        format!(
            "  - type: template
    destinationFile: {site}
    template: |
      upstream web {{
      {{{{range .}}}}{{{{range .Reports}}}}  server {{{{.Host}}}}:{{{{.Port}}}} max_fails=0; # {{{{safeName .Name}}}}
      {{{{else}}}}  server 127.0.0.1:1 down;
      {{{{end}}}}{{{{end}}}}}}
      server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass http://web; proxy_next_upstream error timeout; }}
      }}
    postTemplateCommand: {command}
    services: [{{ name: web, watcher: {watcher} }}]
",
            site = nginx.site.display(),
            port = nginx.port(),
            command = nginx.reload_command(),
        )
    });
    site.synapse.start_and_wait().await.unwrap();
    for name in ["one", "two", "three"] {
        site.add(name).await;
    }
    let answered_by = async |names: &[&str]| {
        let names: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
        eventually(&format!("nginx gives requests to {names:?}"), TIMEOUT, async || {
            let mut answers = BTreeSet::new();
            for _ in 0..3 * names.len() {
                let reply = http::send("GET", nginx.port(), "/", Duration::from_secs(5)).await;
                let reply = reply.map_err(|error| format!("{error}; {}", nginx.log()))?;
                answers.insert(reply.body);
            }
            ensure(answers == names, || format!("{answers:?}"))
        })
        .await;
    };
    answered_by(&["one", "two", "three"]).await;

    let mut leaving = site.members.remove("two").unwrap();
    assert!(leaving.nerve.terminate().await.success());
    answered_by(&["one", "three"]).await;
    leaving.instance.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_that_fails_for_ever_stops_no_other() {
    let mut site = Site::with_routers(ZooKeeper::start().await, |directory, watcher| {
        let directory = directory.display();
        format!(
            "  - type: template
    destinationFile: {directory}/servers
    template: '{{{{range .}}}}{{{{range .Reports}}}}{{{{.Host}}}}:{{{{.Port}}}} {{{{end}}}}{{{{end}}}}'
    postTemplateCommand: [sh, -c, 'echo no license left; exit 1']
    services: [{{ watcher: {watcher} }}]
  - type: file_output
    outputDirectory: {directory}/services
    services: [{{ name: web, watcher: {watcher} }}]
"
        )
    });
    site.synapse.start_and_wait().await.unwrap();
    site.add("one").await;
    site.add("two").await;
    site.serves_all().await.unwrap();
    let load = Load::start(site.port());
    let failures = eventually("the command has failed again and again", TIMEOUT, async || {
        let status = site.synapse.status().await?;
        let state = |router: usize, key: &str| status["routers"][router]["status"][key].clone();
        let failures = state(1, "failures").as_u64().unwrap_or_default();
        let words = state(1, "last_error").to_string();
        let is_told = words.contains("exit code 1") && words.contains("no license left");
        let others = [0, 2].map(|router| state(router, "in_sync"));
        let right = is_told && state(1, "in_sync") == false && others == [true, true];
        ensure(failures >= 3 && right, || status["routers"].to_string())?;
        Ok(failures)
    })
    .await;

    site.add("three").await;
    site.serves_all().await.unwrap();
    let wanted = addresses(&site);
    eventually("the files follow", TIMEOUT, async || {
        let json = in_json(&site.directory().join("services/web.json"))?;
        let text = std::fs::read_to_string(site.directory().join("servers")).unwrap_or_default();
        let mut written: Vec<&str> = text.split_whitespace().collect();
        written.sort_unstable();
        ensure(json == wanted && written == wanted, || format!("{json:?}, {written:?}"))
    })
    .await;
    load.take().assert_flawless();

    let ready = site.synapse.get("/ready").await.unwrap();
    assert_eq!(
        (ready.status, ready.body.trim()),
        (503, "false\nfirst apply of router 2")
    );
    let metrics = site.synapse.get("/metrics").await.unwrap().body;
    let failed = |kind: &str| {
        let name = format!("synapse_router_update_failure{{type=\"{kind}\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
        line.unwrap_or_else(|| panic!("no {name} in {metrics}"))
            .parse::<u64>()
            .unwrap()
    };
    assert!(failed("template") >= failures);
    assert_eq!(["haproxy", "haproxy_socket", "file_output"].map(failed), [0, 0, 0]);
}
