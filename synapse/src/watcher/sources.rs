//! Who shares what: one session per ensemble, one reflector and one watcher per path of it.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use common::supervise::{Group, GroupId, Groups, Starter};
use common::zk::reflector::{ReflectorTask, reflector};
use common::zk::session::{Ensemble, EnsembleConfig, EnsembleTask, ensemble};
use tokio::sync::{Semaphore, watch};

use super::WatcherState;
use super::zookeeper::{Bell, ZookeeperTask, zookeeper};
use crate::config::WatcherConfig;

/// How many names are looked up at once: each takes a thread until the resolver gives up.
const LOOKUPS: usize = 8;

/// Servers in order, chroot, session timeout.
type Identity = (Vec<String>, String, Duration);

/// One service's source.
#[derive(Debug, Clone)]
pub struct Source {
    /// Its ensemble's name.
    pub ensemble: String,
    /// The path that is watched.
    pub path: String,
    /// What it says.
    pub state: watch::Receiver<Arc<WatcherState>>,
}

/// All sources of the daemon.
#[derive(Debug)]
pub struct Sources {
    bell: Bell,
    lookups: Arc<Semaphore>,
    ensembles: BTreeMap<Identity, Shared>,
}

#[derive(Debug)]
struct Shared {
    ensemble: Ensemble,
    session: Stand<EnsembleTask>,
    paths: BTreeMap<String, Watched>,
}

#[derive(Debug)]
struct Watched {
    state: watch::Receiver<Arc<WatcherState>>,
    tasks: Stand<(ReflectorTask, ZookeeperTask)>,
}

/// How far something has come.
#[derive(Debug)]
enum Stand<T> {
    Built(Box<T>),
    Running(GroupId),
}

impl<T> Stand<T> {
    /// Starts what is only built; `None` when the daemon is stopping.
    async fn start<S: Copy + Ord + std::fmt::Debug>(
        self,
        starter: &mut Starter<'_, S>,
        group: impl FnOnce(T) -> Group<S>,
    ) -> Option<Self> {
        Some(match self {
            Self::Running(id) => Self::Running(id),
            Self::Built(task) => Self::Running(starter.start(group(*task)).await?),
        })
    }

    fn id(&self) -> Option<GroupId> {
        match self {
            Self::Running(id) => Some(*id),
            Self::Built(_) => None,
        }
    }
}

impl Sources {
    /// No source yet; `bell` is rung at each change of one.
    pub fn new(bell: Bell) -> Self {
        Self {
            bell,
            lookups: Arc::new(Semaphore::new(LOOKUPS)),
            ensembles: BTreeMap::new(),
        }
    }

    /// The source that `config` asks for, an existing one when it is the same.
    pub fn source(&mut self, config: &WatcherConfig) -> Source {
        let WatcherConfig::Zookeeper { ensemble: config, path } = config;
        let shared = self.ensembles.entry(identity(config)).or_insert_with(|| {
            let (ensemble, session) = ensemble(config.clone());
            Shared {
                ensemble,
                session: Stand::Built(Box::new(session)),
                paths: BTreeMap::new(),
            }
        });
        let watched = match shared.paths.entry(path.clone()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let (snapshots, reflector) = reflector(&shared.ensemble, path.clone());
                let (state, watcher) = zookeeper(path.clone(), snapshots, self.bell.clone(), Arc::clone(&self.lookups));
                new.insert(Watched {
                    state,
                    tasks: Stand::Built(Box::new((reflector, watcher))),
                })
            }
        };
        Source {
            ensemble: shared.ensemble.name().to_owned(),
            path: path.clone(),
            state: watched.state.clone(),
        }
    }

    /// The ensembles, for those who report on them.
    pub fn ensembles(&self) -> Vec<Ensemble> {
        self.ensembles.values().map(|shared| shared.ensemble.clone()).collect()
    }

    /// Starts what is only built: the watchers in one stage, the sessions they need in another. `None` when the daemon
    /// is stopping.
    pub async fn start<S: Copy + Ord + std::fmt::Debug>(
        &mut self,
        starter: &mut Starter<'_, S>,
        watchers: S,
        sessions: S,
    ) -> Option<()> {
        for (identity, mut shared) in std::mem::take(&mut self.ensembles) {
            let name = shared.ensemble.name().to_owned();
            let session = |task: EnsembleTask| {
                let mut group = Group::default();
                group.add(sessions, format!("session {name}"), |stop| task.run(stop));
                group
            };
            shared.session = shared.session.start(starter, session).await?;
            for (path, watched) in std::mem::take(&mut shared.paths) {
                let tasks = |(reflector, watcher): (ReflectorTask, ZookeeperTask)| {
                    let mut group = Group::default();
                    group.add(watchers, format!("reflector {name}{path}"), |stop| reflector.run(stop));
                    group.add(watchers, format!("watcher {name}{path}"), |stop| watcher.run(stop));
                    group
                };
                let tasks = watched.tasks.start(starter, tasks).await?;
                let state = watched.state;
                shared.paths.insert(path, Watched { state, tasks });
            }
            self.ensembles.insert(identity, shared);
        }
        Some(())
    }

    /// Stops what is in none of `used`.
    pub async fn stop_others<S>(&mut self, used: impl Iterator<Item = &WatcherConfig>, groups: &Groups<S>) {
        let mut keep: BTreeMap<Identity, BTreeSet<&str>> = BTreeMap::new();
        for WatcherConfig::Zookeeper { ensemble, path } in used {
            keep.entry(identity(ensemble)).or_default().insert(path);
        }
        let mut stop = Vec::new();
        for (identity, shared) in &mut self.ensembles {
            let paths = keep.get(identity);
            let idle = shared
                .paths
                .extract_if(.., |path, _| paths.is_none_or(|paths| !paths.contains(path.as_str())));
            stop.extend(idle.map(|(_, watched)| watched.tasks.id()));
        }
        // A session after those who read through it.
        let idle = self.ensembles.extract_if(.., |_, shared| shared.paths.is_empty());
        stop.extend(idle.map(|(_, shared)| shared.session.id()));
        for id in stop.into_iter().flatten() {
            groups.stop(id).await;
        }
    }
}

/// The order in which the servers are written does not tell two ensembles apart.
fn identity(config: &EnsembleConfig) -> Identity {
    let joined = config.hosts.join(",");
    let (servers, chroot) = joined.split_once('/').unwrap_or((&joined, ""));
    let mut servers: Vec<String> = servers.split(',').map(str::to_owned).collect();
    servers.sort_unstable();
    (servers, chroot.trim_end_matches('/').to_owned(), config.session_timeout)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(sources: &mut Sources, hosts: &[&str], path: &str) -> Source {
        sources.source(&WatcherConfig::Zookeeper {
            ensemble: EnsembleConfig {
                hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
                session_timeout: Duration::from_secs(10),
                security: common::zk::security::Security::default(),
            },
            path: path.to_owned(),
        })
    }

    #[test]
    fn the_same_ensemble_and_path_are_shared() {
        let mut sources = Sources::new(watch::Sender::new(()));
        let a = source(&mut sources, &["a:1", "b:2"], "/x");
        let same = source(&mut sources, &["b:2", "a:1"], "/x");
        let path = source(&mut sources, &["a:1", "b:2"], "/y");
        let chroot = source(&mut sources, &["a:1", "b:2/app"], "/x");
        assert!(a.state.same_channel(&same.state));
        assert!(!a.state.same_channel(&path.state));
        assert!(!a.state.same_channel(&chroot.state));
        assert_eq!(sources.ensembles().len(), 2);
    }
}
