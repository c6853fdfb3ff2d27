//! What is shared: one session per ensemble, one watcher per source of it.

use std::sync::Arc;

use common::hash::sha1_hex;
use common::report::{Decoder, Report};
use common::supervise::{Group, GroupId, Groups, Spawner, Stopping};
use common::zk::reflector::{ReflectorTask, Snapshot, reflector};
use common::zk::session::SessionObserver;
use common::zk::session_pool::SessionPool;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::dns::{DnsTask, dns};
use super::file::{FileTask, file};
use super::follow::{ChangeNotify, FollowTask, follow};
use super::multi::{Child, MultiTask, multi};
use super::reader::{self, ReadResult};
use super::{Description, WatcherState};
use crate::config::{Combine, DnsConfig, Question, Record, WatcherConfig, ZookeeperConfig};

/// How many names are looked up at once: each takes a thread until the resolver gives up.
const LOOKUPS: usize = 8;

/// One service's source.
#[derive(Debug, Clone)]
pub struct Source {
    /// What it is.
    pub description: Description,
    /// Its content.
    pub state: watch::Receiver<Arc<WatcherState>>,
}

/// All sources of the daemon.
#[derive(Debug)]
pub struct Sources {
    changes: ChangeNotify,
    lookups: Arc<Semaphore>,
    sessions: SessionPool,
    watched: Vec<Watched>,
}

#[derive(Debug)]
struct Watched {
    identity: WatcherConfig,
    source: Source,
    stand: TaskState,
}

/// What keeps a source's state.
#[derive(Debug)]
enum Task {
    /// It is read by one task, and its nodes are loaded by another.
    Nodes(Box<(SourceReader, FollowTask)>),
    Multi(MultiTask),
}

/// The task that reads the nodes.
#[derive(Debug)]
enum SourceReader {
    Zookeeper(ReflectorTask),
    File(FileTask),
    Dns(DnsTask),
    /// None: they never change.
    Static(watch::Sender<Snapshot>),
}

impl SourceReader {
    async fn run(self, stop: CancellationToken) {
        match self {
            Self::Zookeeper(task) => task.run(stop).await,
            Self::File(task) => task.run(stop).await,
            Self::Dns(task) => task.run(stop).await,
            Self::Static(nodes) => {
                stop.cancelled().await;
                drop(nodes);
            }
        }
    }
}

impl Task {
    /// What runs it; `name` is the source's.
    fn group<S: Copy>(self, stage: S, name: &str) -> Group<S> {
        let mut group = Group::default();
        match self {
            Self::Nodes(tasks) => {
                let (feed, follow) = *tasks;
                group.add(stage, format!("source {name}"), |stop| feed.run(stop));
                group.add(stage, format!("watcher {name}"), |stop| follow.run(stop));
            }
            Self::Multi(task) => group.add(stage, format!("watcher {name}"), |stop| task.run(stop)),
        }
        group
    }
}

/// How far a source has come.
#[derive(Debug)]
enum TaskState {
    /// Its tasks are not started yet.
    Built(Box<Task>),
    Running(GroupId),
    /// The daemon is stopping.
    Over,
}

impl Sources {
    /// No source yet; `changes` is rung at each change of one.
    pub fn new(changes: ChangeNotify, sessions: SessionPool) -> Self {
        Self {
            changes,
            lookups: Arc::new(Semaphore::new(LOOKUPS)),
            sessions,
            watched: Vec::new(),
        }
    }

    /// The source of `config`; an existing one when it is the same.
    pub fn source(&mut self, config: &WatcherConfig) -> Source {
        let identity = identity(config);
        if let Some(known) = self.watched.iter().find(|watched| watched.identity == identity) {
            return known.source.clone();
        }
        let (source, task) = self.new_source(config);
        self.watched.push(Watched {
            identity,
            source: source.clone(),
            stand: TaskState::Built(Box::new(task)),
        });
        source
    }

    fn new_source(&mut self, config: &WatcherConfig) -> (Source, Task) {
        let mut reading = String::new();
        let (place, snapshots, feed, decoder) = match config {
            WatcherConfig::Zookeeper(config) => {
                let ZookeeperConfig {
                    ensemble,
                    path,
                    decoder,
                    polling,
                } = config.as_ref();
                let ensemble = self.sessions.session(ensemble);
                let (snapshots, task) = reflector(&ensemble, path.clone());
                let said = decoder.clone();
                let task = task.skip_data_if(move |name| said.name_encodes_data(name));
                let task = match polling {
                    Some(interval) => task.polling(*interval),
                    None => task,
                };
                let place = format!("{}{path}", ensemble.name());
                if *decoder != Decoder::default() {
                    reading = digest(decoder);
                }
                (place, snapshots, SourceReader::Zookeeper(task), decoder.clone())
            }
            WatcherConfig::Static(servers) => {
                let (nodes, snapshots) = watch::channel(fixed(servers));
                let place = format!("{} servers", servers.len());
                reading = digest(servers);
                (place, snapshots, SourceReader::Static(nodes), Decoder::default())
            }
            WatcherConfig::File { path, check_interval } => {
                let (snapshots, task) = file(path.clone(), *check_interval);
                let place = path.display().to_string();
                (place, snapshots, SourceReader::File(task), Decoder::default())
            }
            WatcherConfig::Dns(config) => {
                let (snapshots, task) = dns(config.clone());
                reading = digest(config);
                (names(config), snapshots, SourceReader::Dns(task), Decoder::default())
            }
            WatcherConfig::Multi(config) => {
                let children: Vec<Child> = config
                    .watchers
                    .iter()
                    .map(|(name, config)| self.child(name, config))
                    .collect();
                let place = combined(config.method, &children);
                let identities: Vec<String> = children.iter().map(|child| child.description.identity()).collect();
                let reading = digest(&identities);
                let (state, task) = multi(
                    place.clone(),
                    config.method,
                    config.patience,
                    children,
                    self.changes.clone(),
                );
                let description = Description {
                    kind: "multi",
                    place,
                    reading,
                };
                return (Source { description, state }, Task::Multi(task));
            }
        };
        let (changes, lookups) = (self.changes.clone(), Arc::clone(&self.lookups));
        let (state, follow) = follow(place.clone(), snapshots, decoder, changes, lookups);
        let kind = config.kind();
        let description = Description { kind, place, reading };
        (Source { description, state }, Task::Nodes(Box::new((feed, follow))))
    }

    fn child(&mut self, name: &str, config: &WatcherConfig) -> Child {
        let Source { description, state } = self.source(config);
        Child {
            name: name.to_owned(),
            description,
            state,
        }
    }

    /// The sessions in use, for the API and the metrics.
    pub fn ensembles(&self) -> Vec<SessionObserver> {
        self.sessions.observers()
    }

    /// Starts the sources that are only built, in `stage`.
    pub async fn start<S: Copy + Ord + std::fmt::Debug>(
        &mut self,
        starter: &mut Spawner<'_, S>,
        stage: S,
    ) -> Result<(), Stopping> {
        for Watched { source, stand, .. } in &mut self.watched {
            if let TaskState::Running(_) = stand {
                continue;
            }
            let TaskState::Built(task) = std::mem::replace(stand, TaskState::Over) else {
                return Err(Stopping);
            };
            let group = task.group(stage, &source.description.to_string());
            *stand = TaskState::Running(starter.start(group).await?);
        }
        Ok(())
    }

    /// Stops what is in none of `used`.
    pub async fn stop_others<S>(&mut self, used: impl Iterator<Item = &WatcherConfig>, groups: &Groups<S>) {
        let mut keep = Vec::new();
        used.for_each(|config| add_with_parts(config, &mut keep));
        for unused in self.watched.extract_if(.., |watched| !keep.contains(&watched.identity)) {
            if let TaskState::Running(id) = unused.stand {
                groups.stop(id).await.ok();
            }
        }
    }
}

/// Adds the identity of a source, and those of its parts.
fn add_with_parts(config: &WatcherConfig, identities: &mut Vec<WatcherConfig>) {
    identities.push(identity(config));
    if let WatcherConfig::Multi(multi) = config {
        for (_, config) in &multi.watchers {
            add_with_parts(config, identities);
        }
    }
}

/// The identity of a source.
fn identity(config: &WatcherConfig) -> WatcherConfig {
    let mut identity = config.clone();
    if let WatcherConfig::Zookeeper(config) = &mut identity {
        config.ensemble = config.ensemble.canonical();
    }
    identity
}

/// A short word for a configuration: two that differ have two.
fn digest(config: &impl std::fmt::Debug) -> String {
    sha1_hex(format!("{config:?}").as_bytes()).chars().take(12).collect()
}

/// Servers as the nodes they would be.
fn fixed(servers: &[Report]) -> Snapshot {
    let node = |report: &Report| {
        let name = format!("{}@{}:{}", report.name, report.host, report.port);
        (Arc::from(name), report.encode().into())
    };
    let look = ReadResult {
        nodes: Some(servers.iter().map(node).collect()),
        error: String::new(),
    };
    let mut snapshot = reader::unread();
    reader::take_in(&mut snapshot, look, Instant::now());
    snapshot
}

fn names(config: &DnsConfig) -> String {
    let name = |question: &Question| match question.record {
        Record::A(port) => format!("{}:{port}", question.host),
        Record::Aaaa(port) => format!("{}:{port} (aaaa)", question.host),
        Record::Srv => format!("{} (srv)", question.host),
    };
    let names: Vec<String> = config.questions.iter().map(name).collect();
    let of = config.nameserver.map(|nameserver| format!(" of {nameserver}"));
    names.join(", ") + &of.unwrap_or_default()
}

fn combined(method: Combine, children: &[Child]) -> String {
    let children: Vec<String> = children
        .iter()
        .map(|child| format!("{} ({})", child.name, child.description))
        .collect();
    match method {
        Combine::Union => children.join(" and "),
        Combine::Sequential => children.join(", else "),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use common::config::Secret;
    use common::zk::security::{Auth, Scheme, Security};
    use common::zk::session::EnsembleConfig;

    use super::*;

    fn zookeeper(hosts: &[&str], path: &str) -> ZookeeperConfig {
        ZookeeperConfig {
            ensemble: EnsembleConfig {
                hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
                session_timeout: Duration::from_secs(10),
                security: Security::default(),
            },
            path: path.to_owned(),
            decoder: Decoder::default(),
            polling: None,
        }
    }

    #[test]
    fn the_same_ensemble_and_path_are_shared() {
        let mut sources = Sources::new(watch::Sender::new(()), SessionPool::new().0);
        let mut source =
            |hosts: &[&str], path| sources.source(&WatcherConfig::Zookeeper(zookeeper(hosts, path).into()));
        let a = source(&["a:1", "b:2"], "/x");
        let same = source(&["b:2", "a:1"], "/x");
        let path = source(&["a:1", "b:2"], "/y");
        let chroot = source(&["a:1", "b:2/app"], "/x");
        assert!(a.state.same_channel(&same.state));
        assert!(!a.state.same_channel(&path.state));
        assert!(!a.state.same_channel(&chroot.state));
        assert_eq!(a.description.to_string(), "zookeeper a:1,b:2/x");
        assert_eq!(sources.ensembles().len(), 2);
    }

    /// They had one name, and after a restart each service had the instances of both.
    #[test]
    fn what_is_read_otherwise_is_remembered_apart() {
        let mut sources = Sources::new(watch::Sender::new(()), SessionPool::new().0);
        let mut name = |config: WatcherConfig| sources.source(&config).description.remembered_as();
        let as_endpoint = |endpoint: Option<&str>| {
            let mut config = zookeeper(&["a:1"], "/x");
            config.decoder.endpoint_name = endpoint.map(str::to_owned);
            WatcherConfig::Zookeeper(config.into())
        };
        let names = [as_endpoint(None), as_endpoint(Some("http")), as_endpoint(Some("admin"))].map(&mut name);
        assert_eq!(names[0].as_deref(), Some("zookeeper a:1/x"));
        assert_eq!(
            names.iter().collect::<std::collections::BTreeSet<_>>().len(),
            3,
            "{names:?}"
        );
        assert_eq!(name(WatcherConfig::Static(Vec::new())), None);
    }

    /// It once went by hosts alone, so that the second service was read as the first one's user.
    #[test]
    fn two_users_have_two_sessions() {
        let mut sources = Sources::new(watch::Sender::new(()), SessionPool::new().0);
        for (user, password) in [("a", "1"), ("a", "1"), ("b", "1"), ("a", "2")] {
            let mut config = zookeeper(&["a:1"], "/x");
            config.ensemble.security.auth = Some(Auth {
                scheme: Scheme::Digest,
                user: user.to_owned(),
                password: Secret::parse(password),
            });
            sources.source(&WatcherConfig::Zookeeper(config.into()));
        }
        assert_eq!((sources.ensembles().len(), sources.watched.len()), (3, 3));
    }
}
