//! The loop behind a registration: observe, plan, act, verify.
//!
//! Each turn looks at the whole desired and all of the instance's nodes. What is known of them comes from the server's last
//! word through the present client and is forgotten before anything is written, on every event and on every doubt; all
//! writes are conditional on the version seen, so acting on old knowledge costs a round trip and nothing else.
//!
//! The directory is listed once per client and after each doubt. From then on the one node that is left is followed by
//! its name: a directory of thousands is not read again for each of them that changes.

use std::fmt;
use std::future::{Future, pending};
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use zookeeper_client::{Error as ClientError, OneshotWatcher};

use super::budget::Budget;
use super::contention::Contention;
use super::error::CallError;
use super::node::{NodeConfig, Ownership};
use super::node_write::{After, write};
use super::register_plan::{DesiredNode, Identity, Node, Step, plan};
use super::registration::{Desired, RegistrationState};
use super::retry::Retry;
use super::session_state::{Session, SessionState};

/// Look at the node even when nothing told of a change, ± 25 %.
const VERIFY: Duration = Duration::from_secs(30);

/// Writes in a row without the wanted effect, after which the node is left alone for a while.
const MAX_INEFFECTIVE_WRITES: u32 = 8;

/// What the server last said.
#[derive(Debug)]
struct Seen {
    /// Through which client.
    epoch: u64,
    /// The instance's nodes.
    nodes: Vec<Node>,
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
pub(super) struct RegistrationReconciler {
    config: NodeConfig,
    /// The node's parent as the server knows it, with the chroot.
    directory: String,
    /// The node for people, with the chroot.
    path: String,
    link: watch::Receiver<SessionState>,
    wishes: watch::Receiver<Desired>,
    state: watch::Sender<RegistrationState>,
    seen: Option<Seen>,
    /// The name of the one node left, and through which client it was found to be that.
    found: Option<(u64, String)>,
    armed: Option<Armed>,
    /// What the node held when it was last known to be as wanted.
    settled: Option<Bytes>,
    vain_writes: u32,
    budget: Budget,
    /// The budget was used up and that was logged.
    sparing: bool,
    /// When the node is to be written although it is as wanted.
    touch_at: Option<Instant>,
    contention: Contention,
    retry: Retry,
    /// The trouble last logged.
    logged: String,
    /// The node last logged as registered, by the transaction that created it.
    told_of: Option<i64>,
}

impl RegistrationReconciler {
    /// `config`'s directory is that of the server, with the chroot.
    pub(super) fn new(
        config: NodeConfig,
        link: watch::Receiver<SessionState>,
        wishes: watch::Receiver<Desired>,
        state: watch::Sender<RegistrationState>,
    ) -> Self {
        Self {
            directory: config.directory.clone(),
            path: config.path(),
            budget: Budget::new(config.budget),
            config,
            link,
            wishes,
            state,
            seen: None,
            found: None,
            armed: None,
            settled: None,
            vain_writes: 0,
            sparing: false,
            touch_at: None,
            contention: Contention::new(),
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
        *self.wishes.borrow() == Desired::Absent && !self.is_withdrawn()
    }

    pub(super) fn give_up(&self) {
        tracing::warn!(path = %self.path, state = ?*self.state.borrow(), "Not known to be withdrawn; the node goes with its session.");
    }

    fn is_withdrawn(&self) -> bool {
        *self.state.borrow() == RegistrationState::Withdrawn
    }

    /// One look at everything, and at most one write. `None` when the ensemble is closed.
    async fn turn(&mut self) -> Option<()> {
        let desired = self.wishes.borrow_and_update().clone();
        let wanted = match desired {
            Desired::Undecided => None,
            Desired::Absent if self.is_withdrawn() => None,
            Desired::Absent => Some(None),
            Desired::Content(content) => Some(Some(content)),
        };
        let Some(wanted) = wanted else {
            desired_changed(&mut self.wishes).await;
            return Some(());
        };
        let link = self.link.borrow_and_update().clone();
        let session = match link {
            SessionState::Connected(session) if session.is_connected() => session,
            SessionState::Closed => return None,
            away @ (SessionState::Connecting { .. } | SessionState::Connected(_) | SessionState::Suspended(..)) => {
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
                    () = desired_changed(&mut self.wishes) => {}
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
            () = desired_changed(&mut self.wishes) => return Some(()),
            changed = self.link.changed() => changed.ok()?,
            () = sleep_until(until) => {}
        }
        self.seen = None;
        Some(())
    }

    /// There is no connection: says so, and until when the state holds. A node as wanted stays registered for as long
    /// as the server keeps the session.
    fn away(&mut self, link: &SessionState, wanted: Option<&Bytes>) -> Instant {
        let now = Instant::now();
        self.seen = None;
        let (reason, gone_at) = match link {
            SessionState::Suspended(session, since) => (
                "the connection to ZooKeeper is lost".to_owned(),
                *since + session.negotiated_timeout(),
            ),
            SessionState::Connecting { error, .. } if error.is_empty() => {
                ("not connected to ZooKeeper yet".to_owned(), now)
            }
            SessionState::Connecting { error, .. } => (format!("not connected to ZooKeeper: {error}"), now),
            SessionState::Connected(_) | SessionState::Closed => {
                ("the connection to ZooKeeper is lost".to_owned(), now + VERIFY)
            }
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
        self.meet(&seen.nodes, session.id());
        self.budget.of_session(session.id());
        let now = Instant::now();
        let base = wanted.map(|content| self.config.base(content)).unwrap_or_default();
        let touch = self.touch_at.is_some_and(|at| at <= now);
        let desired_node = wanted.map(|content| DesiredNode {
            base: &base,
            content,
            touch,
        });
        let us = Identity {
            kind: self.config.kind,
            session: session.id(),
            rival: self.contention.rival(),
        };
        let step = plan(&seen.nodes, desired_node, us);
        let rival_until = step
            .removes()
            .and_then(|target| self.contention.wait(target.owner, now));
        let wait = match &step {
            Step::Nothing => return self.settle(session, seen, wanted).await,
            Step::Refuse(refusal) => {
                self.trouble(wanted.is_some(), refusal.to_string());
                Some(verify_at(now))
            }
            _ if rival_until.is_some() => {
                self.unsettled(true, "another process registers the same instance".to_owned());
                rival_until
            }
            step if step.announces() && !touch => self.spare(now),
            _ => None,
        };
        if let Some(until) = wait {
            self.seen = Some(seen);
            return Ok(Next::Wait(until));
        }
        let wanted = wanted.map(|content| (base.as_str(), content));
        self.act(session, seen, step, wanted).await
    }

    /// Until when an announcement is put off by the write budget, if it is.
    fn spare(&mut self, now: Instant) -> Option<Instant> {
        let until = self.budget.wait(now)?;
        if !self.sparing {
            self.sparing = true;
            tracing::warn!(path = %self.path, "The registration changes too often for its write budget; changes are put together.");
        }
        self.unsettled(
            true,
            "the write budget is used up; the latest state is written when it allows".to_owned(),
        );
        Some(until)
    }

    /// Writes, unless that was to no avail too often. From here until the reply nothing is known of the nodes.
    async fn act(
        &mut self,
        session: &Session,
        mut seen: Seen,
        step: Step,
        wanted: Option<(&str, &Bytes)>,
    ) -> Result<Next, CallError> {
        if self.vain_writes == MAX_INEFFECTIVE_WRITES {
            self.vain_writes = 0;
            return Err(CallError::Unknown("the node does not settle".to_owned()));
        }
        let doing = match wanted {
            Some(_) => "being written",
            None => "being deleted",
        };
        self.unsettled(wanted.is_some(), doing.to_owned());
        let found = self.found.take();
        let after = write(session, &self.config, &self.directory, &step, wanted).await;
        // What is to be looked at again was not written.
        if !matches!(after, Ok(After::LookAgain)) {
            self.budget.spend(Instant::now());
        }
        let written = match after? {
            After::LookAgain => {
                self.vain_writes += 1;
                return Ok(Next::Again);
            }
            After::Written(node) => Some(node),
            After::Gone => None,
        };
        self.vain_writes = 0;
        let gone = match &step {
            Step::Set(target) => Some(&target.name),
            step => step.removes().map(|target| &target.name),
        };
        seen.nodes.retain(|node| Some(&node.name) != gone);
        if written.is_some() {
            self.touch_at = self.config.touch.map(|every| Instant::now() + every);
        }
        self.found = found.filter(|(_, name)| written.as_ref().is_some_and(|node| node.name == *name));
        seen.nodes.extend(written);
        self.seen = Some(seen);
        Ok(Next::Again)
    }

    /// Reads the instance's nodes. The server first catches up with its leader: a write of ours whose reply was lost may
    /// be known there alone.
    async fn observe(&mut self, session: &Session) -> Result<Seen, CallError> {
        let epoch = session.epoch();
        let found = self.found.take().filter(|(through, _)| *through == epoch);
        let only = self.config.only_name().map(str::to_owned);
        let nodes = match only.clone().or_else(|| found.map(|(_, name)| name)) {
            None => self.search(session).await?,
            Some(name) => match self.follow(session, &name).await? {
                Some(node) => {
                    self.found = Some((epoch, name));
                    vec![node]
                }
                None if only.is_some() => Vec::new(),
                // It may have been replaced under another number.
                None => self.search(session).await?,
            },
        };
        Ok(Seen { epoch, nodes })
    }

    /// Reads a node and watches it.
    async fn follow(&mut self, session: &Session, name: &str) -> Result<Option<Node>, CallError> {
        let path = format!("{}/{name}", self.directory);
        let path = path.as_str();
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
        match read {
            Ok((data, stat, watch)) => {
                self.armed = Some(Armed::new(watch));
                Ok(Some(Node::new(name.to_owned(), data.into(), &stat)))
            }
            Err(CallError::Answer(ClientError::NoNode)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Looks for the instance's nodes in the whole directory. A node that goes meanwhile is as good as absent.
    async fn search(&mut self, session: &Session) -> Result<Vec<Node>, CallError> {
        let directory = if self.directory.is_empty() {
            "/"
        } else {
            self.directory.as_str()
        };
        let listed = session
            .call(|client| {
                let caught_up = client.sync(directory);
                let list = client.list_children(directory);
                async move {
                    caught_up.await?;
                    list.await
                }
            })
            .await;
        let names = match listed {
            Err(CallError::Answer(ClientError::NoNode)) => Vec::new(),
            listed => listed?,
        };
        let mut nodes = Vec::new();
        for name in names {
            let whose = self.config.ownership(&name);
            if whose == Ownership::Others {
                continue;
            }
            let path = format!("{}/{name}", self.directory);
            match session.call(|client| client.get_data(&path)).await {
                Ok((data, _)) if whose == Ownership::AskContent && !self.config.content_is_ours(&data) => {}
                Ok((data, stat)) => nodes.push(Node::new(name, data.into(), &stat)),
                Err(CallError::Answer(ClientError::NoNode)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(nodes)
    }

    /// Notices another process that took the node from us.
    fn meet(&mut self, nodes: &[Node], us: i64) {
        for node in nodes.iter().filter(|node| node.owner != us && node.is_ephemeral()) {
            if self.contention.seen(node.owner, us, Instant::now(), fastrand::f64()) {
                tracing::warn!(path = %self.path, rival = %format_args!("{:#x}", node.owner), "Another process registers the same instance; taking turns ever more slowly. Stop one of them.");
            }
        }
    }

    /// The node is as wanted: publishes that, and makes sure that a change of it is told.
    async fn settle(&mut self, session: &Session, seen: Seen, wanted: Option<&Bytes>) -> Result<Next, CallError> {
        let now = Instant::now();
        self.vain_writes = 0;
        self.retry.succeeded(now);
        self.sparing &= !self.budget.is_fresh();
        let (Some(content), [node]) = (wanted, seen.nodes.as_slice()) else {
            self.contention.release();
            self.settled = None;
            self.touch_at = None;
            self.publish(RegistrationState::Withdrawn);
            return Ok(Next::Again);
        };
        self.contention.hold(session.id(), now);
        self.settled = Some(content.clone());
        self.publish(RegistrationState::Registered {
            czxid: node.czxid,
            session: session.id(),
        });
        // A predecessor's node is touched at a moment of its own, so that a fleet does not write at once.
        let chance = fastrand::f64();
        self.touch_at = self.touch_at.or_else(|| Some(now + self.config.touch?.mul_f64(chance)));
        let followed = self.found.as_ref().is_some_and(|(_, name)| *name == node.name);
        if self.armed.is_some() && followed {
            self.seen = Some(seen);
            let verify_at = verify_at(now);
            return Ok(Next::Wait(self.touch_at.map_or(verify_at, |at| at.min(verify_at))));
        }
        self.found = Some((session.epoch(), node.name.clone()));
        self.seen = Some(self.observe(session).await?);
        Ok(Next::Again)
    }

    /// A turn failed: what to do next.
    fn failed(&mut self, session: &Session, wanted: bool, error: &CallError) -> Next {
        let now = Instant::now();
        self.found = None;
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

/// Ends when there is another desired; never when there will be none.
async fn desired_changed(wishes: &mut watch::Receiver<Desired>) {
    if wishes.changed().await.is_err() {
        pending::<()>().await;
    }
}
