//! A whole small site: ZooKeeper, instances of one service with a nerve each, and a synapse with its HAProxy.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use crate::daemon::Daemon;
use crate::eventually::{TooLate, ensure, wait_for};
use crate::haproxy::Haproxy;
use crate::http;
use crate::instance::Instance;
use crate::ports::free_port;
use crate::zookeeper::{Client, Node, ZooKeeper};

/// Where the service's instances are registered.
pub const PATH: &str = "/services/web";

/// The service's frontend and backend in HAProxy.
pub const BACKEND: &str = "web_1";

/// The session timeout that both daemons ask for.
pub const SESSION_TIMEOUT: Duration = Duration::from_secs(6);

/// Removals after an interruption apply soon: a busy machine may take long for a start, and a scenario does not wait
/// half a minute for each removal after it.
const GUARD: &str = "guard: {settle: 2s}";

/// How long a change may take on a busy machine before a scenario fails.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// The site. Dropped in the order of the fields: HAProxy after synapse, which would start it again.
#[derive(Debug)]
pub struct Site {
    /// The daemon that keeps HAProxy right.
    pub synapse: Daemon,
    /// The instances with their nerves, by name.
    pub members: BTreeMap<String, Member>,
    /// What synapse made.
    pub haproxy: Haproxy,
    /// Where both daemons meet.
    pub zookeeper: ZooKeeper,
    port: u16,
    directory: TempDir,
}

/// One instance and its nerve.
#[derive(Debug)]
pub struct Member {
    /// The daemon that registers the instance.
    pub nerve: Daemon,
    /// The service itself.
    pub instance: Instance,
    name: String,
}

impl Member {
    /// The path of its node.
    pub fn path(&self) -> String {
        format!("{PATH}/{}_{}", self.name, self.address())
    }

    /// `address:port` of the instance.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.instance.port())
    }
}

impl Site {
    /// Lays out a site on `zookeeper`; nothing of it runs yet.
    pub fn new(zookeeper: ZooKeeper) -> Self {
        Self::laid_out(zookeeper, "", GUARD, |_, _| String::new())
    }

    /// As [`Site::new`], with these `keys` of the service, one per line, in place of its own for the guard.
    pub fn with_keys(zookeeper: ZooKeeper, keys: &str) -> Self {
        Self::laid_out(zookeeper, "", keys, |_, _| String::new())
    }

    /// As [`Site::new`], with one more `key` of the router.
    pub fn with_router(zookeeper: ZooKeeper, key: &str) -> Self {
        Self::laid_out(zookeeper, key, GUARD, |_, _| String::new())
    }

    /// As [`Site::new`], with more `routers` behind the one of HAProxy: the items of a list, made from the site's directory
    /// and a watcher of the service.
    pub fn with_routers(zookeeper: ZooKeeper, routers: impl FnOnce(&Path, &str) -> String) -> Self {
        Self::laid_out(zookeeper, "", GUARD, routers)
    }

    fn laid_out(zookeeper: ZooKeeper, router: &str, keys: &str, routers: impl FnOnce(&Path, &str) -> String) -> Self {
        let directory = tempfile::Builder::new().prefix("nerve-synapse-").tempdir().unwrap();
        let (port, api_port) = (free_port(), free_port());
        let watcher = watcher(&zookeeper.address());
        let configuration = synapse_configuration(directory.path(), &watcher, (port, api_port), router, keys);
        let configuration = configuration + &routers(directory.path(), &watcher);
        Self {
            synapse: Daemon::new("synapse", "synapse", directory.path(), api_port, &configuration),
            members: BTreeMap::new(),
            haproxy: Haproxy::in_directory(directory.path().to_owned()),
            zookeeper,
            port,
            directory,
        }
    }

    /// Starts ZooKeeper, synapse and the named members, and waits until all of them serve.
    pub async fn start(names: &[&str]) -> Self {
        Self::start_with_keys(names, GUARD).await
    }

    /// As [`Site::start`], with more `keys` of the service, one per line.
    pub async fn start_with_keys(names: &[&str], keys: &str) -> Self {
        let mut site = Self::with_keys(ZooKeeper::start().await, keys);
        site.start_all(names).await;
        site
    }

    /// As [`Site::start`], with another HAProxy than the machine's own.
    pub async fn start_with_haproxy(names: &[&str], program: &str) -> Self {
        let mut site = Self::with_router(ZooKeeper::start().await, &format!("haproxyProgram: {program}"));
        site.start_all(names).await;
        site
    }

    /// Starts synapse and the named members, and waits until all of them serve.
    pub async fn start_all(&mut self, names: &[&str]) {
        self.synapse.start_and_wait().await.unwrap();
        for name in names {
            self.add(name).await;
        }
        self.serves_all().await.unwrap();
    }

    /// Where clients of the service connect.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where its files lie.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Starts an instance and its nerve.
    pub async fn add(&mut self, name: &str) {
        let mut member = self.prepare(name, &self.zookeeper.address()).await;
        member.nerve.start_and_wait().await.unwrap();
        self.members.insert(name.to_owned(), member);
    }

    /// Starts an instance; its nerve, which will talk to the ZooKeeper at `zookeeper`, is yet to be started.
    pub async fn prepare(&self, name: &str, zookeeper: &str) -> Member {
        self.prepare_with(name, &zookeeper_reporter(zookeeper, "")).await
    }

    /// As [`Site::prepare`], with these `reporters`, as the configuration has them.
    pub async fn prepare_with(&self, name: &str, reporters: &str) -> Member {
        let instance = Instance::start(name, self.directory()).await;
        let api_port = free_port();
        let configuration = nerve_configuration(name, reporters, instance.port(), api_port);
        let nerve = Daemon::new(
            "nerve",
            &format!("nerve-{name}"),
            self.directory(),
            api_port,
            &configuration,
        )
        // The environment's proxy is not for checks: they connect to their own targets.
        .with_variable("http_proxy", "http://127.0.0.1:1");
        Member {
            nerve,
            instance,
            name: name.to_owned(),
        }
    }

    /// The member of this name.
    pub fn member(&self, name: &str) -> &Member {
        self.members.get(name).unwrap_or_else(|| panic!("no member {name}"))
    }

    /// The member of this name, to do something to it.
    pub fn member_mut(&mut self, name: &str) -> &mut Member {
        self.members.get_mut(name).unwrap_or_else(|| panic!("no member {name}"))
    }

    /// Waits until HAProxy sends requests to all members and to no other server.
    pub async fn serves_all(&self) -> Result<(), TooLate> {
        let names: Vec<&str> = self.members.keys().map(String::as_str).collect();
        self.serves(&names).await
    }

    /// Waits until HAProxy sends requests to these members and to no other server, and clients are answered by them.
    pub async fn serves(&self, names: &[&str]) -> Result<(), TooLate> {
        let mut addresses: Vec<String> = names
            .iter()
            .filter_map(|n| self.members.get(*n))
            .map(Member::address)
            .collect();
        addresses.sort();
        wait_for(&format!("traffic goes to {names:?}"), TIMEOUT, async || {
            let active = self.haproxy.active(BACKEND).await?;
            ensure(active == addresses, || {
                format!("HAProxy has {active:?}, not {addresses:?}")
            })?;
            let answers = self.answers(8 * names.len()).await?;
            ensure(
                answers.iter().eq(names.iter().copied().collect::<BTreeSet<_>>()),
                || format!("{answers:?} answer"),
            )
        })
        .await
    }

    /// The members that answer `requests` new clients.
    pub async fn answers(&self, requests: usize) -> Result<BTreeSet<String>, String> {
        let mut names = BTreeSet::new();
        for _ in 0..requests {
            let reply = http::send("GET", self.port, "/", Duration::from_secs(5))
                .await
                .map_err(|e| e.to_string())?;
            ensure(reply.status == 200, || format!("{reply:?}"))?;
            names.insert(reply.body);
        }
        Ok(names)
    }

    /// Waits until exactly one node is registered under the service's path, at `path`.
    pub async fn one_node(client: &Client, path: &str, within: Duration) -> Result<Node, TooLate> {
        wait_for(&format!("{path} is the only node"), within, async || {
            let mut nodes = client.nodes(PATH).await;
            match (nodes.pop(), nodes.pop()) {
                (Some(node), None) if path.ends_with(&node.name) => Ok(node),
                (last, others) => Err(format!("{last:?}, {others:?}")),
            }
        })
        .await
    }
}

/// A reporter under the service's path, with more `keys`, each after a comma.
pub fn zookeeper_reporter(zookeeper: &str, keys: &str) -> String {
    let timeout = SESSION_TIMEOUT.as_secs();
    format!("{{ type: zookeeper, hosts: ['{zookeeper}'], path: {PATH}, sessionTimeout: {timeout}s {keys} }}")
}

fn nerve_configuration(name: &str, reporters: &str, port: u16, api_port: u16) -> String {
    format!(
        "apiHost: 127.0.0.1
apiPort: {api_port}
services:
  - name: {name}
    host: 127.0.0.1
    port: {port}
    enableWarmup: false
    disableMinDurationInMilli: 1000
    checks:
      - {{ type: http, path: /health, checkIntervalInMilli: 250, timeoutInMilli: 1000, rise: 1, fall: 2 }}
    reporters: [{reporters}]
"
    )
}

fn watcher(zookeeper: &str) -> String {
    let timeout = SESSION_TIMEOUT.as_secs();
    format!("{{ type: zookeeper, hosts: ['{zookeeper}'], path: {PATH}, sessionTimeout: {timeout}s }}")
}

fn synapse_configuration(
    directory: &Path,
    watcher: &str,
    (port, api_port): (u16, u16),
    router: &str,
    keys: &str,
) -> String {
    let keys: String = keys.lines().flat_map(|line| ["        ", line.trim(), "\n"]).collect();
    format!(
        "{}      - name: web
        watcher: {watcher}
        routerOptions:
          frontend: ['bind 127.0.0.1:{port}']
          backend: [balance roundrobin]
{keys}",
        haproxy_router(directory, api_port, 1000, router)
    )
}

/// The configuration of a synapse with one router, up to the list of its services; `router` is one more line of it.
pub(crate) fn haproxy_router(directory: &Path, api_port: u16, maxconn: u32, router: &str) -> String {
    let directory = directory.display();
    format!(
        "apiHost: 127.0.0.1
apiPort: {api_port}
routers:
  - type: haproxy
    configPath: {directory}/haproxy.cfg
    {router}
    global:
      - stats socket {directory}/haproxy.sock mode 600 level admin expose-fd listeners
      - log stderr format raw local0 notice
      - maxconn {maxconn}
      - hard-stop-after 1m
    defaults:
      - mode http
      - timeout connect 1s
      - timeout client 30s
      - timeout server 30s
      - timeout http-request 10s
      - timeout http-keep-alive 10s
      - timeout queue 5s
      - retries 3
      - option redispatch 1
      - retry-on conn-failure empty-response
    services:
"
    )
}
