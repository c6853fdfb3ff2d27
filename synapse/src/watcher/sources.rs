//! Who shares what: one session per ensemble, one reflector and one watcher per path of it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use common::supervise::Supervisor;
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
    session: EnsembleTask,
    paths: BTreeMap<String, Watched>,
}

#[derive(Debug)]
struct Watched {
    state: watch::Receiver<Arc<WatcherState>>,
    reflector: ReflectorTask,
    watcher: ZookeeperTask,
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
                session,
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
                    reflector,
                    watcher,
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

    /// Starts every task: the watchers in one stage, the sessions they need in another.
    pub fn start<S: Copy + Ord + std::fmt::Debug>(self, supervisor: &mut Supervisor<S>, watchers: S, sessions: S) {
        for shared in self.ensembles.into_values() {
            let name = shared.ensemble.name().to_owned();
            supervisor.start(sessions, format!("session {name}"), |stop| shared.session.run(stop));
            for (path, watched) in shared.paths {
                supervisor.start(watchers, format!("reflector {name}{path}"), |stop| {
                    watched.reflector.run(stop)
                });
                supervisor.start(watchers, format!("watcher {name}{path}"), |stop| {
                    watched.watcher.run(stop)
                });
            }
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
