//! The session supervisor: one client per ensemble, resumed or rebuilt until the stop.
//!
//! A client that reports "expired" is unusable, and it mostly does so by its own clock while the server may still hold the
//! session. So the next client first tries to resume that session with its ephemeral nodes; a new one is created only
//! after the server has reported its end.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use zookeeper_client::{Client, Error as ClientError, SessionInfo, SessionState as ClientState, StateWatcher};

use super::security::Security;
use crate::backoff::{Backoff, BackoffConfig};

pub use super::session_state::{Session, SessionState};

/// How long `stop` waits for the server to confirm the end of the session.
const CLOSE_DEADLINE: Duration = Duration::from_secs(2);

const RECONNECT: BackoffConfig = BackoffConfig {
    min: Duration::from_millis(200),
    max: Duration::from_secs(5),
    healthy_after: Duration::from_secs(10),
};

/// How to reach an ensemble.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnsembleConfig {
    /// `host[:port]`, tried in random order and resolved again at every attempt; the last may carry a chroot (`/app`).
    pub hosts: Vec<String>,
    /// The requested timeout; the server clamps it to 2 to 20 ticks.
    pub session_timeout: Duration,
    /// Authentication and TLS.
    pub security: Security,
}

impl EnsembleConfig {
    /// The hosts without the chroot, and the chroot; empty when there is none.
    pub fn hosts_and_chroot(&self) -> (Vec<String>, String) {
        split_chroot(self.hosts.clone())
    }

    /// Returns the form that equal ensembles share: hosts sorted and in lower case, the chroot apart from them.
    #[must_use]
    pub fn canonical(&self) -> Self {
        let (hosts, chroot) = self.hosts_and_chroot();
        let mut hosts: Vec<_> = hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        hosts.sort_unstable();
        hosts.dedup();
        hosts.push(chroot);
        Self { hosts, ..self.clone() }
    }
}

/// A handle to an ensemble's session.
#[derive(Debug, Clone)]
pub struct Ensemble {
    link: watch::Receiver<SessionState>,
    name: String,
    chroot: String,
}

/// Reads the state of a session without being one of its users.
#[derive(Debug, Clone)]
pub struct SessionObserver {
    link: watch::Sender<SessionState>,
    name: String,
    chroot: String,
}

impl SessionObserver {
    /// Returns the name of the ensemble, see [`Ensemble::name`].
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the current state.
    pub fn state(&self) -> SessionState {
        self.link.borrow().clone()
    }

    pub(super) fn handle(&self) -> Ensemble {
        Ensemble {
            link: self.link.subscribe(),
            name: self.name.clone(),
            chroot: self.chroot.clone(),
        }
    }

    pub(super) fn is_used(&self) -> bool {
        self.link.receiver_count() > 0
    }

    /// Returns when the session has no user. Cancel-safe.
    pub(super) async fn unused(&self) {
        self.link.closed().await;
    }
}

/// The supervisor's task.
#[derive(Debug)]
#[must_use = "nothing connects until the task runs"]
pub struct EnsembleTask {
    name: String,
    chroot: String,
    hosts: String,
    session_timeout: Duration,
    security: Security,
    link: watch::Sender<SessionState>,
    backoff: Backoff,
    failures: u32,
    /// The failure last logged, so that a long outage is one line.
    logged: String,
}

/// A handle and the task behind it. Nothing is connected before the task runs.
pub fn ensemble(config: EnsembleConfig) -> (Ensemble, EnsembleTask) {
    let (mut hosts, chroot) = split_chroot(config.hosts);
    let connect = hosts.join(",");
    hosts.sort();
    let name = config.security.user() + &hosts.join(",") + &chroot;
    let (sender, link) = watch::channel(SessionState::Connecting {
        failures: 0,
        error: String::new(),
    });
    let task = EnsembleTask {
        name: name.clone(),
        chroot: chroot.clone(),
        hosts: connect,
        session_timeout: config.session_timeout,
        security: config.security,
        link: sender,
        backoff: Backoff::new(RECONNECT),
        failures: 0,
        logged: String::new(),
    };
    (Ensemble { link, name, chroot }, task)
}

/// Splits the chroot off the last host; empty when there is none. The client does not get it, because it does not create
/// an absent chroot, while our own paths are created as a whole.
fn split_chroot(mut hosts: Vec<String>) -> (Vec<String>, String) {
    let mut chroot = String::new();
    if let Some(last) = hosts.last_mut()
        && let Some(slash) = last.find('/')
    {
        chroot = last.split_off(slash);
        chroot.truncate(chroot.trim_end_matches('/').len());
    }
    (hosts, chroot)
}

impl Ensemble {
    /// The hosts, sorted and comma-joined, with the chroot, and the user in front: what identifies the ensemble in
    /// logs, metrics and `/status`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The session's state as it changes.
    pub fn link(&self) -> watch::Receiver<SessionState> {
        self.link.clone()
    }

    /// Returns the server's path of a path below the chroot.
    pub(super) fn full_path(&self, path: String) -> String {
        match (self.chroot.as_str(), path.as_str()) {
            ("", _) => path,
            (chroot, "/") => chroot.to_owned(),
            (chroot, below) => format!("{chroot}{below}"),
        }
    }
}

/// The reason why a client is not used any more.
enum Ended {
    Stopped,
    /// The client is dead; the server may still know this session.
    Lost(SessionInfo),
}

impl EnsembleTask {
    /// Returns an observer of the session.
    pub fn observer(&self) -> SessionObserver {
        SessionObserver {
            link: self.link.clone(),
            name: self.name.clone(),
            chroot: self.chroot.clone(),
        }
    }

    /// Keeps the session until `stop`, then closes it (bounded by 2 s).
    pub async fn run(mut self, stop: CancellationToken) {
        let mut resume = None;
        let mut epoch = 0;
        while let Some(client) = stop.run_until_cancelled(self.connect(&mut resume)).await {
            epoch += 1;
            match self.serve(client, epoch, &stop).await {
                Ended::Stopped => break,
                Ended::Lost(session) => resume = Some(session),
            }
        }
        self.link.send_replace(SessionState::Closed);
    }

    /// Tries until there is a client: of the session to resume if the server still holds it, else of a new one.
    async fn connect(&mut self, resume: &mut Option<SessionInfo>) -> Client {
        loop {
            // One pass over the hosts; the delay between passes is ours, with jitter and a cap.
            let mut connector = Client::connector()
                .with_session_timeout(self.session_timeout)
                .with_connection_timeout(self.session_timeout * 3 / 10)
                .with_fail_eagerly();
            if let Some(session) = &*resume {
                connector = connector.with_session(session.clone());
            }
            let connected = match self.security.secure(connector) {
                Ok(connector) if self.security.is_tls() => connector.secure_connect(&self.hosts).await,
                Ok(connector) => connector.connect(&self.hosts).await,
                Err(error) => {
                    sleep(self.failed(error)).await;
                    continue;
                }
            };
            match connected {
                Ok(client) => {
                    self.log_connected(&client, resume.is_some());
                    return client;
                }
                Err(ClientError::SessionExpired | ClientError::AuthFailed) if resume.is_some() => {
                    tracing::warn!(ensemble = %self.name, "The old ZooKeeper session is gone.");
                    *resume = None;
                }
                Err(error) => sleep(self.failed(explain(&error, self.security.is_tls()))).await,
            }
        }
    }

    /// Publishes a failed attempt and returns the wait before the next.
    fn failed(&mut self, error: String) -> Duration {
        let wait = self.backoff.failed(Instant::now(), fastrand::f64());
        self.failures = self.failures.saturating_add(1);
        if self.logged != error {
            tracing::warn!(ensemble = %self.name, %error, "Cannot connect to ZooKeeper; retrying.");
            self.logged.clone_from(&error);
        }
        self.link.send_replace(SessionState::Connecting {
            failures: self.failures,
            error,
        });
        wait
    }

    fn log_connected(&mut self, client: &Client, resumed: bool) {
        self.logged.clear();
        tracing::info!(
            ensemble = %self.name,
            session = %client.session_id(),
            timeout_ms = u64::try_from(client.session_timeout().as_millis()).unwrap_or(u64::MAX),
            resumed,
            failures = self.failures,
            "Connected to ZooKeeper."
        );
        self.failures = 0;
    }

    /// Publishes the client's state until it dies or `stop`.
    async fn serve(&mut self, client: Client, epoch: u64, stop: &CancellationToken) -> Ended {
        // The watcher comes first: a change between the two is then seen twice rather than never.
        let mut states = client.state_watcher();
        let mut state = client.state();
        let info = client.session().clone();
        let session = Session::new(client, epoch);
        let mut suspended = false;
        loop {
            match state {
                ClientState::SyncConnected => {
                    if suspended {
                        tracing::info!(ensemble = %self.name, session = %info.id(), "Connected to ZooKeeper again.");
                    }
                    suspended = false;
                    self.backoff.succeeded(Instant::now());
                    self.link.send_replace(SessionState::Connected(session.clone()));
                }
                ClientState::Disconnected | ClientState::ConnectedReadOnly => {
                    if !suspended {
                        tracing::warn!(ensemble = %self.name, session = %info.id(), "The connection to ZooKeeper is lost; reconnecting.");
                        self.link
                            .send_replace(SessionState::Suspended(session.clone(), Instant::now()));
                    }
                    suspended = true;
                }
                ClientState::AuthFailed | ClientState::Expired | ClientState::Closed => {
                    tracing::warn!(ensemble = %self.name, session = %info.id(), %state, "The ZooKeeper session is over for this client; trying to resume it.");
                    self.link.send_replace(SessionState::Connecting {
                        failures: 0,
                        error: format!("session {}: {state}", info.id()),
                    });
                    return Ended::Lost(info);
                }
            }
            tokio::select! {
                () = stop.cancelled() => break,
                next = states.changed() => state = next,
            }
        }
        self.link.send_replace(SessionState::Closed);
        drop(session);
        self.await_closed(states).await;
        Ended::Stopped
    }

    /// Awaits the end of the session, which the client closes when its last clone is dropped; the server then removes its
    /// nodes at once instead of after the timeout.
    async fn await_closed(&self, mut states: StateWatcher) {
        let closed = async { while !states.changed().await.is_terminated() {} };
        if timeout(CLOSE_DEADLINE, closed).await.is_ok() {
            tracing::info!(ensemble = %self.name, "The ZooKeeper session is closed.");
        } else {
            tracing::warn!(
                ensemble = %self.name,
                "ZooKeeper did not confirm the end of the session; it ends by its timeout."
            );
        }
    }
}

/// Describes a failed attempt for the operator. The client reports no reason of a failed TLS handshake.
fn explain(error: &ClientError, tls: bool) -> String {
    match error {
        ClientError::NoHosts if tls => {
            "no host could be resolved, reached and spoken to as ZooKeeper over TLS; check that the port is the secure \
             one, that `ca` signed the server's certificate for this host name, and that the server accepts `cert`"
        }
        ClientError::NoHosts => "no host could be resolved, reached and spoken to as ZooKeeper",
        ClientError::Timeout => {
            "no host gave a session in time; it may be unreachable, without quorum, at its limit of connections per \
             client, or speak TLS where we don't"
        }
        ClientError::AuthFailed => {
            "ZooKeeper refuses our identity; check `auth`: its scheme, user and password, and the server's \
             users"
        }
        other => return other.to_string(),
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(hosts: &[&str]) -> (String, String, String) {
        let (handle, task) = ensemble(EnsembleConfig {
            hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
            session_timeout: Duration::from_secs(10),
            security: Security::default(),
        });
        (
            handle.name().to_owned(),
            task.hosts,
            handle.full_path("/services/web".to_owned()),
        )
    }

    #[test]
    fn the_name_does_not_depend_on_the_order_of_hosts() {
        assert_eq!(named(&["b:1", "a:2"]).0, "a:2,b:1");
        assert_eq!(named(&["b:1", "a:2/app"]).0, "a:2,b:1/app");
    }

    #[test]
    fn the_chroot_goes_in_front_of_paths_not_to_the_client() {
        let (_, hosts, path) = named(&["b:1", "a:2/app/"]);
        assert_eq!(hosts, "b:1,a:2");
        assert_eq!(path, "/app/services/web");
    }
}
