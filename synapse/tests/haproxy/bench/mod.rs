//! A router, its HAProxy and the instances behind it.

mod backend;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use common::exit::Fatal;
use common::ready::Readiness;
use synapse::config::{
    HaproxyConfig, HaproxyControl, OptionsPolicy, PaceConfig, SelectionConfig, ServersMode, ServiceConfig,
    ServiceHaproxy, WatcherConfig,
};
use synapse::desired::{Desired, Server, Service};
use synapse::haproxy::{Channels, Haproxy, HaproxyStatus, HaproxyTask, ServerPhase, ServerStatus, build};
use synapse::health::Health;
use synapse::router::Locks;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

pub(crate) use backend::{Backend, server, server_at};

/// How long anything may take on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Waits until `condition` holds.
pub(crate) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < TIMEOUT, "not within {TIMEOUT:?}: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Which HAProxy, and how it gets new servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavour {
    /// The machine's own.
    Packaged,
    /// 3.0, which makes servers while it runs.
    Dynamic,
    /// 3.0 as if it did not.
    Slots,
}

impl Flavour {
    /// The program, by name or path.
    pub(crate) fn program(self) -> String {
        match self {
            Self::Packaged => "haproxy".to_owned(),
            Self::Dynamic | Self::Slots => haproxy_3(),
        }
    }
}

/// HAProxy 3.0, unpacked beside the directory that this test was built into.
fn haproxy_3() -> String {
    let test = std::env::current_exe().unwrap();
    let target = test.ancestors().nth(3).expect("target/debug/deps/test");
    let program = target.join("haproxy-3.0/haproxy");
    assert!(
        program.is_file(),
        "there is no {}, so nothing is known of HAProxy 3.0: `bash -c 'source tests/install.sh; unpack_haproxy_3'` gets it",
        program.display()
    );
    program.into_os_string().into_string().unwrap()
}

pub(crate) fn service(id: &str, port: u16) -> ServiceConfig {
    ServiceConfig {
        id: id.into(),
        name: id.into(),
        watcher: WatcherConfig::Static(Vec::new()),
        selection: SelectionConfig::default(),
        server_options: String::new(),
        frontend: vec!["mode http".into(), format!("bind 127.0.0.1:{port}")],
        backend: vec!["mode http".into()],
        haproxy: ServiceHaproxy::default(),
        guard: synapse::config::Guard::default(),
    }
}

/// One router and all around it.
pub(crate) struct Fixture {
    directory: TempDir,
    pub(crate) config: HaproxyConfig,
    pub(crate) services: Vec<ServiceConfig>,
    /// `reloadJitter`.
    pub(crate) jitter: Duration,
    ports: BTreeMap<String, u16>,
    desired: watch::Sender<Arc<Desired>>,
    pub(crate) attention: watch::Sender<bool>,
    pub(crate) health: watch::Sender<Arc<Health>>,
    readiness: Readiness,
    running: Option<(Haproxy, CancellationToken, JoinSet<()>)>,
}

impl Fixture {
    pub(crate) async fn of(flavour: Flavour, services: &[&str]) -> Self {
        let mut bench = Self::new(services).await;
        bench.set_program(&flavour.program());
        if flavour == Flavour::Slots {
            bench.config.servers = ServersMode::Slots;
        }
        bench
    }

    pub(crate) async fn new(services: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let config = HaproxyConfig {
            config_path: at("haproxy.cfg"),
            control: HaproxyControl::Managed {
                run: true,
                program: "haproxy".into(),
                master_socket: at("master.sock"),
                stop_on_exit: false,
            },
            stats_socket: at("stats.sock"),
            reload_min_interval: Duration::from_millis(100),
            start_wait: Duration::from_secs(10),
            reconcile_interval: Duration::from_millis(300),
            global: vec!["maxconn 500".into()],
            defaults: Vec::new(),
            extra_sections: Vec::new(),
            shared_frontend: None,
            options_policy: OptionsPolicy::default(),
            servers: ServersMode::default(),
            state_file: Some(at("haproxy.cfg.state")),
        };
        // Held together, so that no two are the same.
        let mut held = Vec::new();
        let mut ports = BTreeMap::new();
        for service in services {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            ports.insert((*service).to_owned(), listener.local_addr().unwrap().port());
            held.push(listener);
        }
        let configs = services
            .iter()
            .map(|id| service(id, *ports.get(*id).unwrap()))
            .collect();
        let unknown = services
            .iter()
            .map(|id| Service {
                id: (*id).into(),
                ..Service::default()
            })
            .collect();
        let (desired, _) = watch::channel(Arc::new(Desired { services: unknown }));
        Self {
            directory,
            config,
            services: configs,
            jitter: Duration::ZERO,
            ports,
            desired,
            attention: watch::Sender::new(false),
            health: watch::Sender::new(Arc::default()),
            readiness: Readiness::default(),
            running: None,
        }
    }

    /// HAProxy with another supervisor: a script starts it, or makes its master reload.
    pub(crate) fn external(&mut self) {
        let at = |name: &str| self.directory.path().join(name);
        let (script, master, stats) = (at("reload.sh"), at("master.sock"), at("stats.sock"));
        let text = format!(
            "#!/bin/sh\nset -e\nif [ -f {pid} ]; then kill -USR2 $(cat {pid}); else haproxy -W -D -p {pid} -S {master},mode,600 -f $HAP_CONFIG; fi\n",
            pid = at("pid").display(),
            master = master.display(),
        );
        std::fs::write(&script, text).unwrap();
        self.config
            .global
            .push(format!("stats socket {} mode 600 level admin", stats.display()));
        self.config.defaults = ["timeout connect 1s", "timeout client 5s", "timeout server 5s"]
            .map(String::from)
            .to_vec();
        self.config.state_file = None;
        self.config.control = HaproxyControl::External {
            reload_command: vec!["sh".into(), script.display().to_string()],
            reload_timeout: Duration::from_secs(5),
            cleanup_command: Vec::new(),
            cleanup_timeout: Duration::from_secs(1),
            program: "haproxy".into(),
        };
    }

    pub(crate) fn stop_on_exit(&mut self) {
        if let HaproxyControl::Managed { stop_on_exit, .. } = &mut self.config.control {
            *stop_on_exit = true;
        }
    }

    pub(crate) fn wait_only(&mut self, start_wait: Duration) {
        self.config.start_wait = start_wait;
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.master_pid().is_none()
    }

    pub(crate) fn set_program(&mut self, path: &str) {
        if let HaproxyControl::Managed { program, .. } = &mut self.config.control {
            *program = path.into();
        }
    }

    pub(crate) async fn build(&self) -> Result<(Haproxy, HaproxyTask), Fatal> {
        let latch = self.readiness.latch("haproxy");
        let pace = PaceConfig {
            buffer: Duration::from_millis(50),
            max_buffer: Duration::from_millis(200),
            budget: None,
            jitter: self.jitter,
        };
        build(
            self.config.clone(),
            self.services.clone().into(),
            pace,
            Channels {
                desired: self.desired.subscribe(),
                attention: self.attention.subscribe(),
                health: self.health.clone(),
            },
            latch,
            &mut Locks::default(),
        )
        .await
    }

    /// Starts the router.
    pub(crate) async fn start(&mut self) {
        let (haproxy, task) = self.build().await.map_err(|fatal| fatal.message).unwrap();
        let stop = CancellationToken::new();
        let mut running = JoinSet::new();
        running.spawn(task.run(stop.clone()));
        self.running = Some((haproxy, stop, running));
    }

    /// Stops the router; HAProxy goes on.
    pub(crate) async fn stop(&mut self) {
        let (_, stop, mut running) = self.running.take().expect("it runs");
        stop.cancel();
        let ended = timeout(Duration::from_secs(2), running.join_next()).await;
        ended
            .expect("it stops promptly")
            .expect("it ran")
            .expect("it does not panic");
    }

    /// What the catalog wants; services that are not named stay as they were.
    pub(crate) fn want(&self, world: &[(&str, Vec<Server>)]) {
        self.desired.send_modify(|desired| {
            let mut now = Desired::clone(desired);
            for service in &mut now.services {
                if let Some((_, servers)) = world.iter().find(|(id, _)| *id == service.id) {
                    service.servers = Some(servers.clone().into());
                    service.remembered = false;
                }
            }
            *desired = Arc::new(now);
        });
    }

    /// No watcher has answered, and this is remembered from before.
    pub(crate) fn remember(&self, world: &[(&str, Vec<Server>)]) {
        self.unknown();
        self.want(world);
        self.desired.send_modify(|desired| {
            for service in &mut Arc::make_mut(desired).services {
                service.remembered = service.servers.is_some();
            }
        });
    }

    /// No watcher has answered.
    pub(crate) fn unknown(&self) {
        self.desired.send_modify(|desired| {
            let services = desired
                .services
                .iter()
                .map(|service| Service {
                    id: service.id.clone(),
                    ..Service::default()
                })
                .collect();
            *desired = Arc::new(Desired { services });
        });
    }

    pub(crate) fn handle(&self) -> &Haproxy {
        &self.running.as_ref().expect("it runs").0
    }

    pub(crate) fn status(&self) -> Arc<HaproxyStatus> {
        self.handle().status()
    }

    pub(crate) fn latch_is_gone(&self) -> bool {
        self.readiness.waiting_for().is_empty()
    }

    /// Waits until HAProxy has exactly what is wanted now.
    pub(crate) async fn in_sync(&self) {
        let wanted = Arc::clone(&self.desired.borrow());
        eventually("HAProxy is as desired", async || {
            let status = self.status();
            let same = wanted.services.iter().zip(&status.services).all(|(wanted, found)| {
                let wanted: BTreeSet<(SocketAddr, u16)> = wanted
                    .servers
                    .iter()
                    .flat_map(|servers| servers.iter())
                    .map(|server| (server.address, server.weight.unwrap_or(1)))
                    .collect();
                let active = found
                    .servers
                    .iter()
                    .filter(|server| server.state == ServerPhase::Active);
                wanted == active.map(|server| (server.address, server.weight)).collect()
            });
            let settled = status.in_sync && same;
            if settled {
                assert_eq!(self.handle().rendered(), self.on_disk(), "the file is the truth");
            }
            settled
        })
        .await;
    }

    pub(crate) fn slot_of(&self, service: &str, backend: &Backend) -> Option<ServerStatus> {
        let status = self.status();
        let service = status.services.iter().find(|known| known.id == service)?;
        service
            .servers
            .iter()
            .find(|server| server.address == backend.address && server.state == ServerPhase::Active)
            .cloned()
    }

    pub(crate) fn reloads(&self) -> Vec<(&'static str, &'static str, u64)> {
        self.status()
            .reloads
            .iter()
            .map(|count| (count.reason, count.result.as_str(), count.count))
            .collect()
    }

    pub(crate) fn on_disk(&self) -> String {
        std::fs::read_to_string(&self.config.config_path).unwrap_or_default()
    }

    pub(crate) fn port(&self, service: &str) -> u16 {
        *self.ports.get(service).unwrap()
    }

    /// One request on a connection of its own; `None` unless it is answered with 200.
    pub(crate) async fn get(&self, service: &str) -> Option<String> {
        self.get_with(service, "/", "").await
    }

    /// The same for this path, with these lines of headers.
    pub(crate) async fn get_with(&self, service: &str, path: &str, headers: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port(service))).await.ok()?;
        exchange(&mut stream, path, headers).await.map(|(body, _)| body)
    }

    /// Returns the backends that answer `count` requests.
    pub(crate) async fn names(&self, service: &str, count: usize) -> Vec<String> {
        let mut names = BTreeSet::new();
        for _ in 0..count {
            names.insert(self.get(service).await.unwrap_or_else(|| "none".into()));
        }
        names.into_iter().collect()
    }

    /// Keep-alive clients that send one request after another.
    pub(crate) fn load(&self, service: &str, clients: usize) -> Load {
        let (stop, requests, failed) = (Arc::new(AtomicBool::new(false)), Arc::default(), Arc::default());
        let mut tasks = JoinSet::new();
        for _ in 0..clients {
            let (port, stop): (u16, Arc<AtomicBool>) = (self.port(service), Arc::clone(&stop));
            let (requests, failed): (Arc<AtomicU64>, Arc<AtomicU64>) = (Arc::clone(&requests), Arc::clone(&failed));
            tasks.spawn(async move {
                let mut connection: Option<TcpStream> = None;
                while !stop.load(Ordering::Relaxed) {
                    if connection.is_none() {
                        connection = TcpStream::connect(("127.0.0.1", port)).await.ok();
                    }
                    let answered = match &mut connection {
                        Some(stream) => request_kept(stream).await,
                        None => None,
                    };
                    requests.fetch_add(1, Ordering::Relaxed);
                    if answered.is_none() {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                    if answered != Some(true) {
                        connection = None;
                    }
                    sleep(Duration::from_millis(2)).await;
                }
            });
        }
        Load {
            stop,
            requests,
            failed,
            tasks,
        }
    }

    /// One command on the stats socket.
    pub(crate) async fn query(&self, command: &str) -> String {
        query(&self.config.stats_socket, command).await.unwrap()
    }

    pub(crate) async fn query_master(&self, command: &str) -> String {
        query(&self.directory.path().join("master.sock"), command)
            .await
            .unwrap()
    }

    /// Returns the master's pid. It does not answer in the first milliseconds, so the query is repeated.
    fn master_pid(&self) -> Option<i32> {
        let socket = self.directory.path().join("master.sock");
        let attempt = || {
            let mut stream = std::os::unix::net::UnixStream::connect(&socket).ok()?;
            std::io::Write::write_all(&mut stream, b"show proc\n").ok()?;
            stream.shutdown(std::net::Shutdown::Write).ok()?;
            stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
            let mut reply = String::new();
            std::io::Read::read_to_string(&mut stream, &mut reply).ok()?;
            let master = reply.lines().find(|line| line.contains("master"))?;
            master.split_ascii_whitespace().next()?.parse().ok()
        };
        let begun = Instant::now();
        loop {
            let answer = attempt();
            if answer.is_some() || begun.elapsed() > Duration::from_millis(300) {
                return answer;
            }
            std::thread::yield_now();
        }
    }

    /// Kills HAProxy as a crash would.
    pub(crate) async fn kill_haproxy(&self) {
        let pid = self.master_pid().expect("it runs");
        signal(pid);
        eventually("it is dead", async || self.master_pid() != Some(pid)).await;
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        // The router first, or it would start HAProxy again.
        self.running = None;
        if let Some(pid) = self.master_pid() {
            signal(pid);
        }
    }
}

fn signal(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).expect("a process id");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
}

async fn query(socket: &PathBuf, command: &str) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(socket).await?;
    stream.write_all(format!("{command}\n").as_bytes()).await?;
    stream.shutdown().await?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await?;
    Ok(reply)
}

/// `Some(whether the connection stays)` for an answer.
async fn request_kept(stream: &mut TcpStream) -> Option<bool> {
    exchange(stream, "/", "").await.map(|(_, kept)| kept)
}

async fn exchange(stream: &mut TcpStream, path: &str, headers: &str) -> Option<(String, bool)> {
    let work = async {
        let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut seen = Vec::new();
        loop {
            if stream.read_buf(&mut seen).await.ok()? == 0 {
                return None;
            }
            let text = String::from_utf8_lossy(&seen);
            let Some((head, body)) = text.split_once("\r\n\r\n") else {
                continue;
            };
            let length: usize = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))?
                .trim()
                .parse()
                .ok()?;
            if body.len() >= length {
                let kept = !head.to_ascii_lowercase().contains("connection: close");
                return head.starts_with("HTTP/1.1 200").then(|| (body.to_owned(), kept));
            }
        }
    };
    timeout(Duration::from_secs(5), work).await.ok().flatten()
}

/// Clients at work.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    requests: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
    tasks: JoinSet<()>,
}

impl Load {
    /// Ends it: requests, and how many of them failed.
    pub(crate) async fn stop(mut self) -> (u64, u64) {
        self.stop.store(true, Ordering::Relaxed);
        while self.tasks.join_next().await.is_some() {}
        (
            self.requests.load(Ordering::Relaxed),
            self.failed.load(Ordering::Relaxed),
        )
    }
}
