//! One session per ensemble, shared by all its users; a session without users is closed.
//!
//! Every handle and every receiver of a session's state counts as a user: a registration or reflector keeps its session
//! open as long as its task lives, so a withdrawal is complete before the session is closed.

use std::panic::resume_unwind;
use std::pin::pin;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, error_span};

use super::session::{Ensemble, EnsembleConfig, EnsembleTask, SessionObserver, ensemble};

/// Sessions by the canonical configuration of their ensembles.
#[derive(Debug)]
pub struct SessionPool {
    sessions: Vec<(EnsembleConfig, SessionObserver)>,
    unstarted: watch::Sender<Vec<EnsembleTask>>,
}

/// Runs the sessions of a pool.
#[derive(Debug)]
#[must_use = "nothing connects until the task runs"]
pub struct SessionPoolTask(watch::Sender<Vec<EnsembleTask>>);

impl SessionPool {
    /// Returns an empty pool and the task that runs its sessions.
    pub fn new() -> (Self, SessionPoolTask) {
        let unstarted = watch::Sender::default();
        let task = SessionPoolTask(unstarted.clone());
        let sessions = Vec::new();
        (Self { sessions, unstarted }, task)
    }

    /// Returns a handle to the session of an ensemble: the one in use, or a new one.
    pub fn session(&mut self, config: &EnsembleConfig) -> Ensemble {
        self.sessions.retain(|(_, session)| session.is_used());
        let identity = config.canonical();
        if let Some((_, session)) = self.sessions.iter().find(|(known, _)| *known == identity) {
            return session.handle();
        }
        let (handle, task) = ensemble(config.clone());
        self.sessions.push((identity, task.observer()));
        self.unstarted.send_modify(|tasks| tasks.push(task));
        handle
    }

    /// Returns the sessions in use.
    pub fn observers(&self) -> Vec<SessionObserver> {
        let sessions = self.sessions.iter().map(|(_, session)| session);
        sessions.filter(|session| session.is_used()).cloned().collect()
    }
}

impl SessionPoolTask {
    /// Runs each session until it has no user, and all of them until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut unstarted = self.0.subscribe();
        unstarted.mark_changed();
        let mut running = JoinSet::new();
        while !(stop.is_cancelled() && running.is_empty()) {
            tokio::select! {
                () = stop.cancelled(), if !stop.is_cancelled() => {}
                Ok(()) = unstarted.changed() => {
                    let mut tasks = Vec::new();
                    // Taking them is no change: this task would wake itself without end.
                    self.0.send_if_modified(|unstarted| {
                        tasks = std::mem::take(unstarted);
                        false
                    });
                    for task in tasks {
                        let span = error_span!("session", ensemble = task.observer().name());
                        running.spawn(run_while_used(task, stop.clone()).instrument(span));
                    }
                },
                Some(ended) = running.join_next() => if let Err(error) = ended && error.is_panic() {
                    resume_unwind(error.into_panic());
                },
            }
        }
    }
}

async fn run_while_used(task: EnsembleTask, stop: CancellationToken) {
    let (session, stop) = (task.observer(), stop.child_token());
    let mut running = pin!(task.run(stop.clone()));
    tokio::select! {
        () = &mut running => return,
        () = session.unused() => stop.cancel(),
    }
    running.await;
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::super::security::Security;
    use super::super::session::SessionState;
    use super::*;

    fn config(hosts: &[&str]) -> EnsembleConfig {
        EnsembleConfig {
            hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
            session_timeout: Duration::from_secs(10),
            security: Security::default(),
        }
    }

    #[test]
    fn equal_ensembles_share_a_session() {
        let (mut pool, _task) = SessionPool::new();
        let first = pool.session(&config(&["a:1", "B:2/app"]));
        let same = pool.session(&config(&["b:2", "a:1/app/"]));
        assert!(first.link().same_channel(&same.link()));
        let other = pool.session(&config(&["a:1", "b:2"]));
        assert!(!first.link().same_channel(&other.link()));
        assert_eq!(pool.observers().len(), 2);
    }

    #[tokio::test]
    async fn a_session_ends_with_its_last_user() {
        let (mut pool, task) = SessionPool::new();
        let stop = CancellationToken::new();
        let mut running = JoinSet::new();
        running.spawn(task.run(stop.clone()));
        let handle = pool.session(&config(&["127.0.0.1:1"]));
        let session = pool.observers().remove(0);
        drop(handle);
        assert!(pool.observers().is_empty());
        let closed = async {
            while !matches!(session.state(), SessionState::Closed) {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(20), closed).await.expect("it closes");
        let again = pool.session(&config(&["127.0.0.1:1"]));
        assert_eq!(pool.observers().len(), 1);
        stop.cancel();
        let ended = timeout(Duration::from_secs(20), running.join_next()).await;
        ended.expect("it ends").expect("a task").expect("no panic");
        drop(again);
    }
}
