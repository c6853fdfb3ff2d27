//! A pod's life.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::manifest::{Container, HttpGet, Manifest, PodSpec};
use crate::eventually::{ensure, eventually, wait_for};
use crate::haproxy::Haproxy;
use crate::http;
use crate::ports::free_port;
use crate::program::{Running, binary};
use crate::usage::Usage;

/// Where pods run.
#[derive(Debug)]
pub struct Cluster {
    spec: PodSpec,
    directory: PathBuf,
    zookeeper: String,
    /// The first two bytes after 127 of the pods' addresses: unique, as the port they are made from.
    network: [u8; 2],
    pods: u8,
}

/// A pod that runs.
#[derive(Debug)]
pub struct Pod {
    name: String,
    address: Ipv4Addr,
    grace: Duration,
    sidecars: Vec<Process>,
    containers: Vec<Process>,
    /// Behind the processes: synapse would start it again.
    _haproxy: Haproxy,
}

#[derive(Debug)]
struct Process {
    container: Container,
    running: Running,
}

impl Cluster {
    /// For pods of the Deployment `shop` of a manifest, with this ZooKeeper.
    pub fn new(manifest: &Manifest, directory: &Path, zookeeper: &str) -> Self {
        Self {
            spec: manifest.pod("shop"),
            directory: directory.to_owned(),
            zookeeper: zookeeper.to_owned(),
            network: free_port().to_be_bytes(),
            pods: 0,
        }
    }

    /// Starts a pod and waits until it is ready.
    pub async fn start(&mut self) -> Pod {
        self.pods += 1;
        let [high, low] = self.network;
        let address = Ipv4Addr::new(127, high, low, self.pods);
        let name = format!("shop-{}", self.pods);
        let directory = self.directory.join(&name);
        let start = |container: &Container| Process {
            container: container.clone(),
            running: self.run(container, &name, address, &directory),
        };
        let mut pod = Pod {
            name: name.clone(),
            address,
            grace: self.spec.grace,
            sidecars: Vec::new(),
            containers: Vec::new(),
            _haproxy: Haproxy::in_directory(directory.join("run/synapse")),
        };
        for sidecar in &self.spec.sidecars {
            pod.sidecars.push(start(sidecar));
            if let Some(probe) = &sidecar.startup {
                pod.passes(&sidecar.name, probe).await;
            }
        }
        pod.containers.extend(self.spec.containers.iter().map(start));
        for process in pod.processes() {
            let Container { startup, readiness, .. } = &process.container;
            for probe in [startup, readiness].into_iter().flatten() {
                pod.passes(&process.container.name, probe).await;
            }
        }
        pod
    }

    fn run(&self, container: &Container, pod: &str, address: Ipv4Addr, directory: &Path) -> Running {
        let root = directory.display();
        let local = |text: &str| {
            let zookeeper = (0..3).fold(text.to_owned(), |text, member| {
                text.replace(&format!("zookeeper-{member}.zookeeper:2181"), &self.zookeeper)
            });
            zookeeper
                .replace("apiPort:", &format!("apiHost: {address}\napiPort:"))
                .replace("bind 127.0.0.1:", &format!("bind {address}:"))
                .replace("/etc/", &format!("{root}/etc/"))
                .replace("/run/", &format!("{root}/run/"))
        };
        for name in ["nerve", "synapse"] {
            std::fs::create_dir_all(directory.join("run").join(name)).unwrap();
        }
        for (path, content) in &container.files {
            let path = PathBuf::from(local(path));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, local(content)).unwrap();
        }
        let mut argv = vec!["env".to_owned()];
        for (name, value) in &container.env {
            let value = value.as_ref().cloned().unwrap_or_else(|field| match field.as_str() {
                "status.podIP" => address.to_string(),
                "metadata.name" => pod.to_owned(),
                "metadata.labels['topology.kubernetes.io/zone']" => "a".to_owned(),
                field => panic!("the field {field} is not played"),
            });
            argv.push(format!("{name}={value}"));
        }
        if let daemon @ ("nerve" | "synapse") = container.image.as_str() {
            argv.push(binary(daemon));
            argv.extend(container.args.iter().map(|arg| local(arg)));
        } else {
            let address = address.to_string();
            let arguments = ["--address", &address, "--port", "8080", "--name", pod];
            argv.push(binary("instance"));
            argv.extend(arguments.map(str::to_owned));
        }
        Running::start(&argv, &directory.join(format!("{}.log", container.name)))
    }
}

impl Pod {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A port of it.
    pub fn at(&self, port: u16) -> SocketAddr {
        (self.address, port).into()
    }

    /// What `path` at `port` answers.
    pub async fn get(&self, port: u16, path: &str) -> Result<http::Reply, http::Failure> {
        http::send_to("GET", self.at(port), path, Duration::from_secs(5)).await
    }

    /// Panics unless every probe of every container passes.
    pub async fn is_well(&self) {
        for process in self.processes() {
            let Container {
                liveness, readiness, ..
            } = &process.container;
            for probe in [liveness, readiness].into_iter().flatten() {
                self.passes(&process.container.name, probe).await;
            }
        }
    }

    /// What a container's process uses.
    pub fn usage(&self, container: &str) -> Usage {
        let mut processes = self.processes();
        let process = processes.find(|process| process.container.name == container);
        Usage::of(process.expect("it runs").running.id())
    }

    /// Stops it as the kubelet does. `ended` is called when the application has ended. Returns how long it took.
    pub async fn stop(mut self, ended: impl FnOnce()) -> Duration {
        let (begun, grace) = (Instant::now(), self.grace);
        let late = format!("{} did not end within its grace period", self.name);
        let all = async {
            let mut hooks = JoinSet::new();
            for process in self.processes() {
                if let Some(hook) = process.container.pre_stop.clone() {
                    let (name, address) = (process.container.name.clone(), self.at(hook.port));
                    let patience = grace;
                    hooks.spawn(async move {
                        let reply = http::send_to("GET", address, &hook.path, patience).await;
                        let reply = reply.unwrap_or_else(|error| panic!("the hook of {name}: {error}"));
                        assert_eq!(reply.status, 200, "the hook of {name}: {}", reply.body);
                        name
                    });
                }
            }
            // Each gets its stop signal when its own hook is done, or at once without one.
            for process in &self.containers {
                if process.container.pre_stop.is_none() {
                    process.running.signal(Signal::TERM);
                }
            }
            while let Some(done) = hooks.join_next().await {
                let name = done.unwrap();
                if let Some(process) = self.containers.iter().find(|it| it.container.name == name) {
                    process.running.signal(Signal::TERM);
                }
            }
            // Before 1.29 the daemons are among these: they may end before or after the application.
            let (mut applications, mut daemons): (Vec<_>, Vec<_>) =
                self.containers.iter_mut().partition(|process| !process.is_daemon());
            for process in &mut applications {
                process.exits(grace).await;
            }
            ended();
            for process in &mut daemons {
                process.exits(grace).await;
            }
            for process in self.sidecars.iter_mut().rev() {
                process.running.signal(Signal::TERM);
                process.exits(grace).await;
            }
        };
        timeout(grace, all).await.expect(&late);
        begun.elapsed()
    }

    fn processes(&self) -> impl Iterator<Item = &Process> {
        self.sidecars.iter().chain(&self.containers)
    }

    async fn passes(&self, container: &str, probe: &HttpGet) {
        let what = format!("{} of {container} in {} passes", probe.path, self.name);
        eventually(&what, probe.patience, async || {
            let reply = self
                .get(probe.port, &probe.path)
                .await
                .map_err(|error| error.to_string())?;
            ensure((200..400).contains(&reply.status), || format!("{reply:?}"))
        })
        .await;
    }
}

impl Process {
    fn is_daemon(&self) -> bool {
        matches!(self.container.image.as_str(), "nerve" | "synapse")
    }

    async fn exits(&mut self, patience: Duration) {
        let what = format!("{} ends", self.container.name);
        let ended = wait_for(&what, patience, async || {
            self.running.status().ok_or_else(|| "it runs".to_owned())
        });
        let status = ended.await.unwrap_or_else(|late| panic!("{late}"));
        assert!(status.success(), "{what}: {status}");
    }
}
