//! One process as ZooKeeper sees it: a session with its registrations and reflectors.

use std::time::Duration;

use bytes::Bytes;
use common::zk::node::NodeConfig;
use common::zk::reflector::{Freshness, ReflectorTask, Snapshot, reflector};
use common::zk::registration::{Registration, RegistrationState, registration};
use common::zk::security::Security;
use common::zk::session::{Ensemble, EnsembleConfig, SessionState, ensemble};
use e2e::eventually::{ensure, eventually};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The server's shortest tick makes short sessions possible.
pub(crate) const SESSION_TIMEOUT: Duration = Duration::from_secs(4);

/// Far more than anything should take, so that a busy machine is no failure.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

/// The session's supervisor runs on until the users of the session have stopped, as in the daemons.
pub(crate) struct Party {
    pub(crate) ensemble: Ensemble,
    users: JoinSet<()>,
    stop_users: CancellationToken,
    session: JoinSet<()>,
    stop_session: CancellationToken,
}

impl Party {
    /// Connects to `hosts` (comma-joined, perhaps with a chroot).
    pub(crate) fn start(hosts: &str) -> Self {
        Self::secured(hosts, Security::default())
    }

    /// As [`Party::start`], with an identity or TLS.
    pub(crate) fn secured(hosts: &str, security: Security) -> Self {
        let (handle, task) = ensemble(EnsembleConfig {
            hosts: hosts.split(',').map(str::to_owned).collect(),
            session_timeout: SESSION_TIMEOUT,
            security,
        });
        let (stop_users, stop_session) = (CancellationToken::new(), CancellationToken::new());
        let mut session = JoinSet::new();
        session.spawn(task.run(stop_session.clone()));
        Self {
            ensemble: handle,
            users: JoinSet::new(),
            stop_users,
            session,
            stop_session,
        }
    }

    pub(crate) fn register(&mut self, path: &str) -> Registration {
        self.keep(NodeConfig::ephemeral(path))
    }

    pub(crate) fn keep(&mut self, node: NodeConfig) -> Registration {
        let (handle, task) = registration(&self.ensemble, node);
        self.users.spawn(task.run(self.stop_users.clone()));
        handle
    }

    pub(crate) fn reflect(&mut self, path: &str) -> watch::Receiver<Snapshot> {
        self.reflect_as(path, |task| task)
    }

    pub(crate) fn reflect_as(
        &mut self,
        path: &str,
        how: impl FnOnce(ReflectorTask) -> ReflectorTask,
    ) -> watch::Receiver<Snapshot> {
        let (snapshots, task) = reflector(&self.ensemble, path.to_owned());
        self.users.spawn(how(task).run(self.stop_users.clone()));
        snapshots
    }

    /// Stops the users of the session.
    pub(crate) async fn stop_users(&mut self) {
        self.stop_users.cancel();
        while self.users.join_next().await.is_some() {}
    }

    /// Stops cleanly.
    pub(crate) async fn stop(mut self) {
        self.stop_users().await;
        self.stop_session.cancel();
        while self.session.join_next().await.is_some() {}
    }

    /// The id of the present session, once connected.
    pub(crate) async fn session(&self) -> i64 {
        let mut link = self.ensemble.link();
        let connected = link.wait_for(|link| matches!(link, SessionState::Connected(_)));
        match &*tokio::time::timeout(TIMEOUT, connected).await.unwrap().unwrap() {
            SessionState::Connected(session) => session.id(),
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) fn want(registration: &Registration, content: &str) {
    registration.want(Some(Bytes::copy_from_slice(content.as_bytes())));
}

/// Waits for a state that fits.
pub(crate) async fn state(registration: &Registration, fits: impl Fn(&RegistrationState) -> bool) -> RegistrationState {
    let mut states = registration.state();
    let arrived = tokio::time::timeout(TIMEOUT, states.wait_for(fits)).await;
    if let Ok(state) = arrived {
        return state.unwrap().clone();
    }
    panic!("the registration got stuck: {:?}", registration.state().borrow())
}

/// Waits until it is registered; the creating transaction and the owner.
pub(crate) async fn registered(registration: &Registration) -> (i64, i64) {
    match state(registration, |state| {
        matches!(state, RegistrationState::Registered { .. })
    })
    .await
    {
        RegistrationState::Registered { czxid, session } => (czxid, session),
        other => panic!("{other:?}"),
    }
}

/// `name=data` of each child.
pub(crate) fn content(snapshot: &Snapshot) -> Vec<String> {
    let children = snapshot.children.iter();
    children
        .map(|(name, child)| format!("{name}={}", String::from_utf8_lossy(&child.data)))
        .collect()
}

/// Waits until the path is followed live and has this content.
pub(crate) async fn live(snapshots: &mut watch::Receiver<Snapshot>, expected: &[&str]) {
    let arrived = snapshots.wait_for(|snapshot| snapshot.freshness == Freshness::Live && content(snapshot) == expected);
    let in_time = tokio::time::timeout(TIMEOUT, arrived).await.is_ok();
    assert!(in_time, "not live with {expected:?}: {:?}", snapshots.borrow());
}

/// Waits until the last content is known to be old.
pub(crate) async fn stale(snapshots: &watch::Receiver<Snapshot>) {
    eventually("the snapshot is stale", TIMEOUT, async || {
        let freshness = snapshots.borrow().freshness;
        ensure(matches!(freshness, Freshness::Stale { .. }), || {
            format!("{freshness:?}")
        })
    })
    .await;
}
