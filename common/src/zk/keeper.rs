//! The loop behind a registration: observe, plan, act, verify.
//!
//! Each turn looks at the whole wish and the whole node. What is known of the node comes from the server's last word
//! through the present client and is forgotten before anything is written, on every event and on every doubt; all
//! writes are conditional on the version seen, so acting on old knowledge costs a round trip and nothing else.

use std::fmt;
use std::future::{Future, pending};
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use zookeeper_client::{Error as ClientError, OneshotWatcher};

use super::error::CallError;
use super::link::{Link, Session};
use super::node_write::{After, write};
use super::register_plan::{Node, Step, plan};
use super::registration::{RegistrationState, Wish};
use super::retry::Retry;
use super::rivalry::Rivalry;

/// Look at the node even when nothing told of a change, ± 25 %.
const VERIFY: Duration = Duration::from_secs(30);

/// Writes in a row without the wanted effect, after which the node is left alone for a while.
const PATIENCE: u32 = 8;

/// What the server last said.
#[derive(Debug)]
struct Seen {
    /// Through which client.
    epoch: u64,
    /// `None`: there is no node.
    node: Option<Node>,
}

/// Ends when the node changes, or the session does.
struct Armed(Pin<Box<dyn Future<Output = ()> + Send>>);

impl Armed {
    fn new(watch: OneshotWatcher) -> Self {
        Self(Box::pin(async move {
            watch.changed().await;
        }))
    }
}

impl fmt::Debug for Armed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Armed")
    }
}

/// What a turn ends with.
enum Next {
    /// There is more to do.
    Again,
    /// Nothing to do before then, unless something happens.
    Wait(Instant),
    /// Nothing to try before then, unless something else is wished.
    Pause(Instant),
}

/// Keeps one node as it is wished.
#[derive(Debug)]
pub(super) struct Keeper {
    path: String,
    link: watch::Receiver<Link>,
    wishes: watch::Receiver<Wish>,
    state: watch::Sender<RegistrationState>,
    seen: Option<Seen>,
    armed: Option<Armed>,
    /// What the node held when it was last known to be as wanted.
    settled: Option<Bytes>,
    vain_writes: u32,
    rivalry: Rivalry,
    retry: Retry,
    /// The trouble last logged.
    logged: String,
    /// The node last logged as registered, by the transaction that created it.
    told_of: Option<i64>,
}

impl Keeper {
    pub(super) fn new(
        path: String,
        link: watch::Receiver<Link>,
        wishes: watch::Receiver<Wish>,
        state: watch::Sender<RegistrationState>,
    ) -> Self {
        Self {
            path,
            link,
            wishes,
            state,
            seen: None,
            armed: None,
            settled: None,
            vain_writes: 0,
            rivalry: Rivalry::new(),
            retry: Retry::new(),
            logged: String::new(),
            told_of: None,
        }
    }

    /// Keeps the node until the ensemble is closed.
    pub(super) async fn keep(&mut self) {
        while self.turn().await.is_some() {}
    }

    /// Goes on until the server has said that the node is gone, or the ensemble is closed.
    pub(super) async fn withdraw(&mut self) {
        while self.owes_a_withdrawal() && self.turn().await.is_some() {}
    }

    pub(super) fn owes_a_withdrawal(&self) -> bool {
        *self.wishes.borrow() == Wish::Absent && !self.is_withdrawn()
    }

    pub(super) fn give_up(&self) {
        tracing::warn!(path = %self.path, state = ?*self.state.borrow(), "Not known to be withdrawn; the node goes with its session.");
    }

    fn is_withdrawn(&self) -> bool {
        *self.state.borrow() == RegistrationState::Withdrawn
    }

    /// One look at everything, and at most one write. `None` when the ensemble is closed.
    async fn turn(&mut self) -> Option<()> {
        let wish = self.wishes.borrow_and_update().clone();
        let wanted = match wish {
            Wish::Undecided => None,
            Wish::Absent if self.is_withdrawn() => None,
            Wish::Absent => Some(None),
            Wish::Content(content) => Some(Some(content)),
        };
        let Some(wanted) = wanted else {
            wish_changed(&mut self.wishes).await;
            return Some(());
        };
        let link = self.link.borrow_and_update().clone();
        let session = match link {
            Link::Connected(session) if session.is_connected() => session,
            Link::Closed => return None,
            away @ (Link::Connecting { .. } | Link::Connected(_) | Link::Suspended(..)) => {
                let until = self.away(&away, wanted.as_ref());
                // Clones keep the session open: none is held over a wait.
                drop(away);
                return self.wait(until).await;
            }
        };
        let next = match self.advance(&session, wanted.as_ref()).await {
            Ok(next) => next,
            Err(error) => self.failed(&session, wanted.is_some(), &error),
        };
        drop(session);
        match next {
            Next::Again => Some(()),
            Next::Wait(until) => self.wait(until).await,
            Next::Pause(until) => {
                tokio::select! {
                    () = wish_changed(&mut self.wishes) => {}
                    () = sleep_until(until) => {}
                }
                Some(())
            }
        }
    }

    /// Waits for anything that may call for a turn. `None` when the ensemble's task is gone.
    async fn wait(&mut self, until: Instant) -> Option<()> {
        tokio::select! {
            () = fired(&mut self.armed) => self.armed = None,
            // What is known of the node does not change with what is wanted of it.
            () = wish_changed(&mut self.wishes) => return Some(()),
            changed = self.link.changed() => changed.ok()?,
            () = sleep_until(until) => {}
        }
        self.seen = None;
        Some(())
    }

    /// There is no connection: says so, and until when the state holds. A node as wanted stays registered for as long
    /// as the server keeps the session.
    fn away(&mut self, link: &Link, wanted: Option<&Bytes>) -> Instant {
        let now = Instant::now();
        self.seen = None;
        let (reason, gone_at) = match link {
            Link::Suspended(session, since) => (
                "the connection to ZooKeeper is lost".to_owned(),
                *since + session.negotiated_timeout(),
            ),
            Link::Connecting { error, .. } if error.is_empty() => ("not connected to ZooKeeper yet".to_owned(), now),
            Link::Connecting { error, .. } => (format!("not connected to ZooKeeper: {error}"), now),
            Link::Connected(_) | Link::Closed => ("the connection to ZooKeeper is lost".to_owned(), now + VERIFY),
        };
        let registered = matches!(*self.state.borrow(), RegistrationState::Registered { .. });
        if registered && wanted.is_some() && wanted == self.settled.as_ref() && now < gone_at {
            return gone_at;
        }
        self.unsettled(wanted.is_some(), reason);
        now + VERIFY
    }

    /// Looks if need be, decides, and does the next thing.
    async fn advance(&mut self, session: &Session, wanted: Option<&Bytes>) -> Result<Next, CallError> {
        let seen = match self.seen.take() {
            Some(seen) if seen.epoch == session.epoch() => seen,
            _ => self.observe(session).await?,
        };
        self.meet(seen.node.as_ref(), session.id());
        let now = Instant::now();
        let node = seen.node.as_ref();
        let step = plan(node, wanted.map(AsRef::as_ref), session.id(), self.rivalry.rival());
        let until = node.and_then(|node| self.rivalry.wait(node.owner, now));
        match (step, until) {
            (Step::Nothing, _) => self.settle(session, seen, wanted).await,
            (Step::Refuse(refusal), _) => {
                self.trouble(wanted.is_some(), refusal.to_string());
                self.seen = Some(seen);
                Ok(Next::Wait(verify_at(now)))
            }
            (Step::TakeOver { .. }, Some(until)) => {
                self.unsettled(true, "another process registers the same instance".to_owned());
                self.seen = Some(seen);
                Ok(Next::Wait(until))
            }
            (step, _) => self.act(session, step, wanted).await,
        }
    }

    /// Writes, unless that was to no avail too often. From here until the reply nothing is known of the node.
    async fn act(&mut self, session: &Session, step: Step, wanted: Option<&Bytes>) -> Result<Next, CallError> {
        if self.vain_writes == PATIENCE {
            self.vain_writes = 0;
            return Err(CallError::Unknown("the node does not settle".to_owned()));
        }
        let doing = match wanted {
            Some(_) => "being written",
            None => "being deleted",
        };
        self.unsettled(wanted.is_some(), doing.to_owned());
        match write(session, &self.path, step, wanted).await? {
            After::Known(node) => {
                self.vain_writes = 0;
                self.seen = Some(Seen {
                    epoch: session.epoch(),
                    node,
                });
            }
            After::LookAgain => self.vain_writes += 1,
        }
        Ok(Next::Again)
    }

    /// Reads the node and watches it. The server first catches up with its leader: a write of ours whose reply was lost
    /// may be known there alone.
    async fn observe(&mut self, session: &Session) -> Result<Seen, CallError> {
        let path = self.path.as_str();
        let read = session
            .call(|client| {
                // Both are sent here, so that they cost one round trip.
                let caught_up = client.sync(path);
                let read = client.get_and_watch_data(path);
                async move {
                    caught_up.await?;
                    read.await
                }
            })
            .await;
        let node = match read {
            Ok((data, stat, watch)) => {
                self.armed = Some(Armed::new(watch));
                Some(Node::new(data.into(), &stat))
            }
            Err(CallError::Answer(ClientError::NoNode)) => None,
            Err(error) => return Err(error),
        };
        Ok(Seen {
            epoch: session.epoch(),
            node,
        })
    }

    /// Notices another process that took the node from us.
    fn meet(&mut self, node: Option<&Node>, us: i64) {
        let Some(owner) = node
            .filter(|node| node.owner != us && node.is_ephemeral())
            .map(|node| node.owner)
        else {
            return;
        };
        if self.rivalry.seen(owner, us, Instant::now(), fastrand::f64()) {
            tracing::warn!(path = %self.path, rival = %format_args!("{owner:#x}"), "Another process registers the same instance; taking turns ever more slowly. Stop one of them.");
        }
    }

    /// The node is as wanted: publishes that, and makes sure that a change of it is told.
    async fn settle(&mut self, session: &Session, seen: Seen, wanted: Option<&Bytes>) -> Result<Next, CallError> {
        let now = Instant::now();
        self.vain_writes = 0;
        self.retry.succeeded(now);
        let (Some(content), Some(node)) = (wanted, &seen.node) else {
            self.rivalry.release();
            self.settled = None;
            self.publish(RegistrationState::Withdrawn);
            return Ok(Next::Again);
        };
        self.rivalry.hold(session.id(), now);
        self.settled = Some(content.clone());
        self.publish(RegistrationState::Registered {
            czxid: node.czxid,
            session: session.id(),
        });
        if self.armed.is_some() {
            self.seen = Some(seen);
            return Ok(Next::Wait(verify_at(now)));
        }
        self.seen = Some(self.observe(session).await?);
        Ok(Next::Again)
    }

    /// A turn failed: what to do next.
    fn failed(&mut self, session: &Session, wanted: bool, error: &CallError) -> Next {
        let now = Instant::now();
        let wait = self.retry.failed(error, session.is_connected(), now, fastrand::f64());
        let Some(wait) = wait else {
            // The next turn says that the connection is lost.
            return Next::Again;
        };
        self.trouble(wanted, error.to_string());
        Next::Pause(now + wait)
    }

    /// Publishes trouble that a person may have to look at; logged when it is another than before.
    fn trouble(&mut self, wanted: bool, reason: String) {
        if self.logged != reason {
            self.logged.clone_from(&reason);
            tracing::warn!(path = %self.path, wanted, %reason, "Can't bring the registration about; trying on.");
        }
        self.unsettled(wanted, reason);
    }

    fn unsettled(&mut self, wanted: bool, reason: String) {
        self.settled = None;
        self.publish(if wanted {
            RegistrationState::Pending(reason)
        } else {
            RegistrationState::Withdrawing(reason)
        });
    }

    fn publish(&mut self, state: RegistrationState) {
        if *self.state.borrow() == state {
            return;
        }
        match &state {
            RegistrationState::Registered { czxid, session } => {
                self.logged.clear();
                // A warm-up writes a weight every few seconds: only another node is news.
                if self.told_of.replace(*czxid) == Some(*czxid) {
                    tracing::debug!(path = %self.path, czxid, "The registration was changed.");
                } else {
                    tracing::info!(path = %self.path, session = %format_args!("{session:#x}"), czxid, "Registered.");
                }
            }
            RegistrationState::Withdrawn => {
                self.logged.clear();
                tracing::info!(path = %self.path, "Withdrawn.");
            }
            RegistrationState::Pending(reason) | RegistrationState::Withdrawing(reason) => {
                tracing::debug!(path = %self.path, %reason, "Not settled.");
            }
        }
        self.state.send_replace(state);
    }
}

fn verify_at(now: Instant) -> Instant {
    now + VERIFY.mul_f64(0.75 + 0.5 * fastrand::f64())
}

/// Ends when the armed watch fires; never when there is none.
async fn fired(armed: &mut Option<Armed>) {
    match armed {
        Some(Armed(changed)) => changed.await,
        None => pending().await,
    }
}

/// Ends when there is another wish; never when there will be none.
async fn wish_changed(wishes: &mut watch::Receiver<Wish>) {
    if wishes.changed().await.is_err() {
        pending::<()>().await;
    }
}
