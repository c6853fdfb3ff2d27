//! Pods as `deploy/kubernetes` describes them, under a kubelet that is played: no request is lost in a roll-out.

use std::time::Duration;

use common::process::{Outcome, Program};
use e2e::eventually::{ensure, eventually};
use e2e::kubelet::{Cluster, Manifest, Pod};
use e2e::load::{Load, PAUSE};
use e2e::ports::free_port;
use e2e::program::binary;
use e2e::site::TIMEOUT;
use e2e::zookeeper::ZooKeeper;
use serde_json::Value;

/// Where the application of a pod finds the service.
const OUTBOUND: u16 = 9001;

/// What an application calls of its own, gently: there are several.
const GENTLY: Duration = Duration::from_millis(30);

/// A pod whose application calls others for as long as it lives.
struct Member {
    pod: Pod,
    calls: Load,
}

impl Member {
    async fn start(cluster: &mut Cluster) -> Self {
        let pod = cluster.start().await;
        let calls = Load::start_at(pod.at(OUTBOUND), GENTLY);
        Self { pod, calls }
    }

    /// Waits until it has got a request.
    async fn takes_part(&self) {
        eventually("it gets requests", TIMEOUT, async || {
            let reply = self.pod.get(8080, "/count").await.map_err(|error| error.to_string())?;
            ensure(reply.body.trim() != "0", || reply.body.clone())
        })
        .await;
    }

    /// Stops it; none of its application's own calls may have failed to its end.
    async fn stop(self) -> Duration {
        let Self { pod, calls } = self;
        pod.stop(|| calls.take().assert_flawless()).await
    }
}

/// So many rolling restarts of three pods, each by a surge of one, while a fourth calls them. Returns the figures.
async fn roll(overlay: &str, restarts: usize) -> String {
    let directory = tempfile::tempdir().unwrap();
    let zookeeper = ZooKeeper::start().await;
    let mut cluster = Cluster::new(&Manifest::render(overlay), directory.path(), &zookeeper.address());
    // There is no server to call before the first is registered.
    let client = cluster.start().await;
    eventually("there is somebody", TIMEOUT, async || {
        let reply = client.get(OUTBOUND, "/").await.map_err(|error| error.to_string())?;
        ensure(reply.status == 200, || format!("{reply:?}"))
    })
    .await;
    let load = Load::start_at(client.at(OUTBOUND), PAUSE);
    let mut members = Vec::new();
    for _ in 0..3 {
        members.push(Member::start(&mut cluster).await);
    }
    let mut longest = Duration::ZERO;
    for restart in 0..restarts {
        let heir = Member::start(&mut cluster).await;
        heir.takes_part().await;
        members.push(heir);
        let took = members.remove(0).stop().await;
        longest = longest.max(took);
        for member in &members {
            member.pod.is_well().await;
        }
        let failed = load.failures();
        assert_eq!(failed, 0, "restart {restart}: {}", load.take().failed_kinds());
    }
    let usage = ["nerve", "synapse"].map(|container| format!("{container}: {}", client.usage(container)));
    for member in &members {
        member.calls.take().assert_flawless();
    }
    let tally = load.take();
    tally.assert_flawless();
    let requests = tally.requests;
    format!(
        "{restarts} restarts, {requests} requests, the longest stop {longest:?}\n{}",
        usage.join("\n")
    )
}

#[tokio::test]
async fn a_roll_out_loses_no_request() {
    eprintln!("{}", roll("overlays/example", 20).await);
}

#[tokio::test]
async fn a_roll_out_without_native_sidecars_loses_no_request() {
    eprintln!("{}", roll("overlays/before-1.29", 2).await);
}

#[tokio::test]
async fn a_roll_out_of_pods_with_haproxy_apart_loses_no_request() {
    eprintln!("{}", roll("overlays/haproxy-apart", 2).await);
}

#[tokio::test]
async fn a_pod_is_ready_without_zookeeper() {
    let directory = tempfile::tempdir().unwrap();
    let nobody = format!("127.0.0.1:{}", free_port());
    let mut cluster = Cluster::new(&Manifest::render("overlays/example"), directory.path(), &nobody);
    let pod = cluster.start().await;
    pod.is_well().await;
}

#[tokio::test]
async fn the_configurations_pass_the_daemons_own_check() {
    for (overlay, configured) in [
        ("overlays/example", 2),
        ("overlays/before-1.29", 2),
        ("overlays/haproxy-apart", 3),
    ] {
        let spec = Manifest::render(overlay).pod("shop");
        let mut checked = Vec::new();
        for container in spec.sidecars.iter().chain(&spec.containers) {
            for (path, content) in &container.files {
                let directory = tempfile::tempdir().unwrap();
                let file = directory.path().join("configuration.yaml");
                let content = content.replace("/run/synapse", directory.path().to_str().unwrap());
                std::fs::write(&file, content).unwrap();
                let flags = container.args.iter().filter(|arg| arg.starts_with("--strict"));
                let mut argv = vec![binary(&container.image), "--check-config".to_owned()];
                argv.extend(flags.cloned());
                argv.extend(["--config".to_owned(), file.display().to_string()]);
                let variables = container.env.iter();
                let check = Program {
                    argv,
                    env: variables
                        .map(|(name, value)| {
                            (
                                name.clone(),
                                value.clone().unwrap_or_else(|_| "10.0.0.4".to_owned()).into(),
                            )
                        })
                        .collect(),
                    timeout: Duration::from_secs(30),
                };
                let outcome = check.run().await.unwrap();
                let silent = matches!(&outcome, Outcome::Success { output } if !output.contains("Warnings"));
                assert!(silent, "{overlay}, {path}: {outcome:?}");
                checked.push(container.name.clone());
            }
        }
        assert_eq!(checked.len(), configured, "{checked:?}");
    }
}

#[test]
fn the_other_forms_have_the_same_configuration_but_for_what_makes_them() {
    let lines = |overlay: &str| -> Vec<String> {
        let spec = Manifest::render(overlay).pod("shop");
        let mut all = spec.sidecars.into_iter().chain(spec.containers);
        let files = all.find(|container| container.name == "synapse").unwrap().files;
        let [(_, text)] = <[_; 1]>::try_from(files).unwrap();
        let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        lines.map(str::to_owned).collect()
    };
    let base = lines("overlays/example");
    for (overlay, more, less) in [
        (
            "overlays/before-1.29",
            ["stopDelay", "shutdownTimeout"].as_slice(),
            [].as_slice(),
        ),
        ("overlays/haproxy-apart", &["runHaproxy"], &["stopOnExit"]),
    ] {
        let other = lines(overlay);
        let keys = |these: &[String], those: &[String]| -> Vec<String> {
            let only = these.iter().filter(|line| !those.contains(line));
            only.filter_map(|line| line.trim().split(':').next())
                .map(str::to_owned)
                .collect()
        };
        assert_eq!(
            (keys(&other, &base), keys(&base, &other)),
            (strings(more), strings(less)),
            "{overlay}"
        );
        let both = |these: &[String], those: &[String]| -> Vec<String> {
            these.iter().filter(|line| those.contains(line)).cloned().collect()
        };
        assert_eq!(both(&other, &base), both(&base, &other), "{overlay}: the order");
    }
}

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

/// The rules of the Pod Security Standards' profile `restricted` that these manifests could break.
#[test]
fn every_pod_passes_the_restricted_profile() {
    // The pod's, and ZooKeeper's.
    for (overlay, all) in [
        ("overlays/example", 3 + 1),
        ("overlays/before-1.29", 3 + 1),
        ("overlays/haproxy-apart", 4 + 1),
    ] {
        let manifest = Manifest::render(overlay);
        let mut containers = 0;
        for (workload, spec) in manifest.pods() {
            let pod = &spec["securityContext"];
            assert_eq!(pod["runAsNonRoot"], true, "{workload}");
            assert!(pod["runAsUser"].as_u64().is_some_and(|user| user > 0), "{workload}");
            assert_eq!(pod["seccompProfile"]["type"], "RuntimeDefault", "{workload}");
            for host in ["hostNetwork", "hostPID", "hostIPC"] {
                assert!(spec[host].is_null(), "{workload}: {host}");
            }
            for volume in spec["volumes"].as_array().into_iter().flatten() {
                let kinds = [
                    "configMap",
                    "emptyDir",
                    "persistentVolumeClaim",
                    "projected",
                    "secret",
                    "downwardAPI",
                ];
                assert!(
                    kinds.iter().any(|kind| !volume[*kind].is_null()),
                    "{workload}: {volume}"
                );
            }
            let lists = [&spec["initContainers"], &spec["containers"]];
            for container in lists.into_iter().filter_map(Value::as_array).flatten() {
                let (name, context) = (&container["name"], &container["securityContext"]);
                assert_eq!(context["allowPrivilegeEscalation"], false, "{workload}, {name}");
                assert_eq!(context["readOnlyRootFilesystem"], true, "{workload}, {name}");
                assert_eq!(context["capabilities"]["drop"][0], "ALL", "{workload}, {name}");
                for looser in ["privileged", "runAsUser", "runAsNonRoot", "seccompProfile", "procMount"] {
                    assert!(context[looser].is_null(), "{workload}, {name}: {looser}");
                }
                assert!(context["capabilities"]["add"].is_null(), "{workload}, {name}");
                for port in container["ports"].as_array().into_iter().flatten() {
                    assert!(port["hostPort"].is_null(), "{workload}, {name}");
                }
                assert!(
                    !container["resources"]["limits"]["memory"].is_null(),
                    "{workload}, {name}"
                );
                containers += 1;
            }
        }
        assert_eq!(containers, all, "{overlay}");
    }
}
