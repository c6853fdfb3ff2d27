//! The loop behind a registration: observe, plan, write, verify.
//!
//! Each pass compares the desired content with all of the instance's nodes. The observation is the last one through the
//! current client; it is dropped before each write, on every event and on every error. All writes are conditional on the
//! version observed, so an outdated observation costs one round trip and nothing else.
//!
//! The directory is listed once per client and after each error. From then on the one remaining node is watched by name:
//! a directory of thousands is not read again when another of its nodes changes.

use std::future::pending;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::ReusableBoxFuture;
use zookeeper_client::Error as ClientError;

use super::budget::Budget;
use super::contention::Contention;
use super::error::CallError;
use super::node::{NodeConfig, Ownership};
use super::node_write::{After, write};
use super::register_plan::{DesiredNode, Identity, Node, Step, plan};
use super::registration_state::{Desired, RegistrationState};
use super::retry::Retry;
use super::session_state::{Session, SessionState};

/// Interval at which the node is read without an event, ± 25 %.
const VERIFY_INTERVAL: Duration = Duration::from_secs(30);

/// Consecutive writes without the wanted effect after which the next write is delayed.
const MAX_INEFFECTIVE_WRITES: u32 = 8;

/// The nodes as last read.
#[derive(Debug)]
struct Seen {
    /// The client's epoch.
    epoch: u64,
    /// The instance's nodes.
    nodes: Vec<Node>,
}

/// The result of a pass.
enum Next {
    /// There is more to do.
    Continue,
    /// Nothing to do before then, unless something happens.
    Wait(Instant),
    /// Nothing to try before then, unless the desired content changes.
    Pause(Instant),
}

/// What is known of the instance's nodes.
#[derive(Debug, Default)]
struct Observed {
    seen: Option<Seen>,
    /// Epoch of the client through which the one remaining node was found, and its name.
    located: Option<(u64, String)>,
    /// Completes when the node or the session changes.
    watch: Option<ReusableBoxFuture<'static, ()>>,
}

/// Limits of the rate of writes.
#[derive(Debug)]
struct Limits {
    budget: Budget,
    /// Whether the budget is used up and that was logged.
    throttled: bool,
    contention: Contention,
    retry: Retry,
}

/// What was last logged.
#[derive(Debug, Default)]
struct Log {
    problem: String,
    /// `czxid` of the registered node.
    czxid: Option<i64>,
}

/// Keeps one node equal to its desired content.
#[derive(Debug)]
pub(super) struct RegistrationReconciler {
    config: NodeConfig,
    link: watch::Receiver<SessionState>,
    desired: watch::Receiver<Desired>,
    state: watch::Sender<RegistrationState>,
    observed: Observed,
    /// The node's content when it was last verified to be the desired one.
    applied: Option<Bytes>,
    ineffective_writes: u32,
    /// When the node is written although its content is the desired one.
    touch_at: Option<Instant>,
    limits: Limits,
    log: Log,
}

impl RegistrationReconciler {
    /// `config`'s directory includes the chroot.
    pub(super) fn new(
        config: NodeConfig,
        link: watch::Receiver<SessionState>,
        desired: watch::Receiver<Desired>,
        state: watch::Sender<RegistrationState>,
    ) -> Self {
        Self {
            limits: Limits {
                budget: Budget::new(config.budget),
                throttled: false,
                contention: Contention::new(),
                retry: Retry::new(),
            },
            config,
            link,
            desired,
            state,
            observed: Observed::default(),
            applied: None,
            ineffective_writes: 0,
            touch_at: None,
            log: Log::default(),
        }
    }

    /// Keeps the node until the ensemble is closed.
    pub(super) async fn run(&mut self) {
        while self.reconcile_once().await.is_some() {}
    }

    /// Reconciles until the server has confirmed that the node is absent, or the ensemble is closed.
    pub(super) async fn withdraw(&mut self) {
        while self.must_withdraw() && self.reconcile_once().await.is_some() {}
    }

    pub(super) fn must_withdraw(&self) -> bool {
        *self.desired.borrow() == Desired::Absent && !self.is_withdrawn()
    }

    pub(super) fn give_up(&self) {
        tracing::warn!(path = %self.config.path(), state = ?*self.state.borrow(), "Withdrawal not confirmed; the node is removed with its session.");
    }

    fn is_withdrawn(&self) -> bool {
        *self.state.borrow() == RegistrationState::Withdrawn
    }

    /// Makes one pass with at most one write. `None` when the ensemble is closed.
    async fn reconcile_once(&mut self) -> Option<()> {
        let desired = self.desired.borrow_and_update().clone();
        let wanted = match desired {
            Desired::Undecided => None,
            Desired::Absent if self.is_withdrawn() => None,
            Desired::Absent => Some(None),
            Desired::Content(content) => Some(Some(content)),
        };
        let Some(wanted) = wanted else {
            desired_changed(&mut self.desired).await;
            return Some(());
        };
        let link = self.link.borrow_and_update().clone();
        let session = match link {
            SessionState::Connected(session) if session.is_connected() => session,
            SessionState::Closed => return None,
            disconnected @ (SessionState::Connecting { .. }
            | SessionState::Connected(_)
            | SessionState::Suspended(..)) => {
                let until = self.on_disconnected(&disconnected, wanted.as_ref());
                // Clones keep the session open, so none is held during a wait.
                drop(disconnected);
                return self.wait(until).await;
            }
        };
        let next = match self.advance(&session, wanted.as_ref()).await {
            Ok(next) => next,
            Err(error) => self.failed(&session, wanted.is_some(), &error),
        };
        drop(session);
        match next {
            Next::Continue => Some(()),
            Next::Wait(until) => self.wait(until).await,
            Next::Pause(until) => {
                tokio::select! {
                    () = desired_changed(&mut self.desired) => {}
                    () = sleep_until(until) => {}
                }
                Some(())
            }
        }
    }

    /// Waits for anything that may require a pass. `None` when the ensemble's task has ended.
    async fn wait(&mut self, until: Instant) -> Option<()> {
        tokio::select! {
            () = watch_fired(&mut self.observed.watch) => self.observed.watch = None,
            // The observation does not depend on the desired content.
            () = desired_changed(&mut self.desired) => return Some(()),
            changed = self.link.changed() => changed.ok()?,
            () = sleep_until(until) => {}
        }
        self.observed.seen = None;
        Some(())
    }

    /// Publishes the loss of the connection; returns when to publish again. An applied node stays registered for as long as
    /// the server keeps the session.
    fn on_disconnected(&mut self, link: &SessionState, wanted: Option<&Bytes>) -> Instant {
        let now = Instant::now();
        self.observed.seen = None;
        let lost = "the connection to ZooKeeper is lost".to_owned();
        let (reason, gone_at) = match link {
            SessionState::Suspended(session, since) => (lost, *since + session.negotiated_timeout()),
            SessionState::Connecting { error, .. } if error.is_empty() => {
                ("not connected to ZooKeeper yet".to_owned(), now)
            }
            SessionState::Connecting { error, .. } => (format!("not connected to ZooKeeper: {error}"), now),
            SessionState::Connected(_) | SessionState::Closed => (lost, now + VERIFY_INTERVAL),
        };
        let registered = matches!(*self.state.borrow(), RegistrationState::Registered { .. });
        if registered && wanted.is_some() && wanted == self.applied.as_ref() && now < gone_at {
            return gone_at;
        }
        self.mark_unapplied(wanted.is_some(), reason);
        now + VERIFY_INTERVAL
    }

    /// Observes if necessary, plans, and takes the next step.
    async fn advance(&mut self, session: &Session, wanted: Option<&Bytes>) -> Result<Next, CallError> {
        let seen = match self.observed.seen.take() {
            Some(seen) if seen.epoch == session.epoch() => seen,
            _ => self.observe(session).await?,
        };
        self.detect_rival(&seen.nodes, session.id());
        self.limits.budget.of_session(session.id());
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
            rival: self.limits.contention.rival(),
        };
        let step = plan(&seen.nodes, desired_node, us);
        let rival_until = step
            .removes()
            .and_then(|target| self.limits.contention.wait(target.owner, now));
        let wait = match &step {
            Step::Nothing => return self.mark_applied(session, seen, wanted).await,
            Step::Refuse(refusal) => {
                self.report_failure(wanted.is_some(), refusal.to_string());
                Some(verify_at(now))
            }
            _ if rival_until.is_some() => {
                self.mark_unapplied(true, "another process registers the same instance".to_owned());
                rival_until
            }
            step if step.announces() && !touch => self.throttle(now),
            _ => None,
        };
        if let Some(until) = wait {
            self.observed.seen = Some(seen);
            return Ok(Next::Wait(until));
        }
        let wanted = wanted.map(|content| (base.as_str(), content));
        self.apply(session, seen, step, wanted).await
    }

    /// Returns until when the write budget delays an announcement, if it does.
    fn throttle(&mut self, now: Instant) -> Option<Instant> {
        let until = self.limits.budget.wait(now)?;
        if !self.limits.throttled {
            self.limits.throttled = true;
            tracing::warn!(path = %self.config.path(), "The registration changes too often for its write budget; changes are merged.");
        }
        self.mark_unapplied(
            true,
            "the write budget is used up; the latest state is written when it allows".to_owned(),
        );
        Some(until)
    }

    /// Writes, unless too many writes had no effect. Until the reply the observation is dropped.
    async fn apply(
        &mut self,
        session: &Session,
        mut seen: Seen,
        step: Step,
        wanted: Option<(&str, &Bytes)>,
    ) -> Result<Next, CallError> {
        if self.ineffective_writes == MAX_INEFFECTIVE_WRITES {
            self.ineffective_writes = 0;
            return Err(CallError::Unknown("repeated writes have no effect".to_owned()));
        }
        let doing = match wanted {
            Some(_) => "being written",
            None => "being deleted",
        };
        self.mark_unapplied(wanted.is_some(), doing.to_owned());
        let found = self.observed.located.take();
        let after = write(session, &self.config, &self.config.directory, &step, wanted).await;
        // `LookAgain` means that nothing was written.
        if !matches!(after, Ok(After::LookAgain)) {
            self.limits.budget.spend(Instant::now());
        }
        let written = match after? {
            After::LookAgain => {
                self.ineffective_writes += 1;
                return Ok(Next::Continue);
            }
            After::Written(node) => Some(node),
            After::Gone => None,
        };
        self.ineffective_writes = 0;
        let gone = match &step {
            Step::Set(target) => Some(&target.name),
            step => step.removes().map(|target| &target.name),
        };
        seen.nodes.retain(|node| Some(&node.name) != gone);
        if written.is_some() {
            self.touch_at = self.config.touch.map(|every| Instant::now() + every);
        }
        self.observed.located = found.filter(|(_, name)| written.as_ref().is_some_and(|node| node.name == *name));
        seen.nodes.extend(written);
        self.observed.seen = Some(seen);
        Ok(Next::Continue)
    }

    /// Reads the instance's nodes. The server first catches up with its leader: a write of ours ownership reply was lost may
    /// be known there alone.
    async fn observe(&mut self, session: &Session) -> Result<Seen, CallError> {
        let epoch = session.epoch();
        let found = self.observed.located.take().filter(|(through, _)| *through == epoch);
        let only = self.config.only_name().map(str::to_owned);
        let nodes = match only.clone().or_else(|| found.map(|(_, name)| name)) {
            None => self.list(session).await?,
            Some(name) => match self.read_and_watch(session, &name).await? {
                Some(node) => {
                    self.observed.located = Some((epoch, name));
                    vec![node]
                }
                None if only.is_some() => Vec::new(),
                // It may have been replaced under another number.
                None => self.list(session).await?,
            },
        };
        Ok(Seen { epoch, nodes })
    }

    /// Reads a node and watches it.
    async fn read_and_watch(&mut self, session: &Session, name: &str) -> Result<Option<Node>, CallError> {
        let path = format!("{}/{name}", self.config.directory);
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
                self.observed.watch = Some(ReusableBoxFuture::new(async move {
                    watch.changed().await;
                }));
                Ok(Some(Node::new(name.to_owned(), data.into(), &stat)))
            }
            Err(CallError::Answer(ClientError::NoNode)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Lists the directory and reads the instance's nodes. A node that vanishes meanwhile counts as absent.
    async fn list(&mut self, session: &Session) -> Result<Vec<Node>, CallError> {
        let directory = if self.config.directory.is_empty() {
            "/"
        } else {
            self.config.directory.as_str()
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
            let ownership = self.config.ownership(&name);
            if ownership == Ownership::Others {
                continue;
            }
            let path = format!("{}/{name}", self.config.directory);
            match session.call(|client| client.get_data(&path)).await {
                Ok((data, _)) if ownership == Ownership::CheckContent && !self.config.content_is_ours(&data) => {}
                Ok((data, stat)) => nodes.push(Node::new(name, data.into(), &stat)),
                Err(CallError::Answer(ClientError::NoNode)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(nodes)
    }

    /// Detects another process that took over our node.
    fn detect_rival(&mut self, nodes: &[Node], us: i64) {
        for node in nodes.iter().filter(|node| node.owner != us && node.is_ephemeral()) {
            if self
                .limits
                .contention
                .seen(node.owner, us, Instant::now(), fastrand::f64())
            {
                tracing::warn!(path = %self.config.path(), rival = %format_args!("{:#x}", node.owner), "Another process registers the same instance; both take turns with growing delays. Stop one of them.");
            }
        }
    }

    /// The desired content is applied: publishes that, and ensures that the node is watched.
    async fn mark_applied(&mut self, session: &Session, seen: Seen, wanted: Option<&Bytes>) -> Result<Next, CallError> {
        let now = Instant::now();
        self.ineffective_writes = 0;
        self.limits.retry.succeeded(now);
        self.limits.throttled &= !self.limits.budget.is_fresh();
        let (Some(content), [node]) = (wanted, seen.nodes.as_slice()) else {
            self.limits.contention.release();
            self.applied = None;
            self.touch_at = None;
            self.publish(RegistrationState::Withdrawn);
            return Ok(Next::Continue);
        };
        self.limits.contention.hold(session.id(), now);
        self.applied = Some(content.clone());
        self.publish(RegistrationState::Registered {
            czxid: node.czxid,
            session: session.id(),
        });
        // A predecessor's node is touched at a random moment, so that a fleet does not write at once.
        let chance = fastrand::f64();
        self.touch_at = self.touch_at.or_else(|| Some(now + self.config.touch?.mul_f64(chance)));
        let followed = self
            .observed
            .located
            .as_ref()
            .is_some_and(|(_, name)| *name == node.name);
        if self.observed.watch.is_some() && followed {
            self.observed.seen = Some(seen);
            let verify_at = verify_at(now);
            return Ok(Next::Wait(self.touch_at.map_or(verify_at, |at| at.min(verify_at))));
        }
        self.observed.located = Some((session.epoch(), node.name.clone()));
        self.observed.seen = Some(self.observe(session).await?);
        Ok(Next::Continue)
    }

    /// Returns the next step after a failed pass.
    fn failed(&mut self, session: &Session, wanted: bool, error: &CallError) -> Next {
        let now = Instant::now();
        self.observed.located = None;
        let wait = self
            .limits
            .retry
            .failed(error, session.is_connected(), now, fastrand::f64());
        let Some(wait) = wait else {
            // The next pass publishes the loss of the connection.
            return Next::Continue;
        };
        self.report_failure(wanted, error.to_string());
        Next::Pause(now + wait)
    }

    /// Publishes a failure that may need an operator; logs it when it differs from the last one.
    fn report_failure(&mut self, wanted: bool, reason: String) {
        if self.log.problem != reason {
            self.log.problem.clone_from(&reason);
            tracing::warn!(path = %self.config.path(), wanted, %reason, "Registration failed; retrying.");
        }
        self.mark_unapplied(wanted, reason);
    }

    fn mark_unapplied(&mut self, wanted: bool, reason: String) {
        self.applied = None;
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
                self.log.problem.clear();
                // A warm-up writes a weight every few seconds: only a new node is logged as registered.
                if self.log.czxid.replace(*czxid) == Some(*czxid) {
                    tracing::debug!(path = %self.config.path(), czxid, "Registration updated.");
                } else {
                    tracing::info!(path = %self.config.path(), session = %format_args!("{session:#x}"), czxid, "Registered.");
                }
            }
            RegistrationState::Withdrawn => {
                self.log.problem.clear();
                tracing::info!(path = %self.config.path(), "Withdrawn.");
            }
            RegistrationState::Pending(reason) | RegistrationState::Withdrawing(reason) => {
                tracing::debug!(path = %self.config.path(), %reason, "Registration not applied.");
            }
        }
        self.state.send_replace(state);
    }
}

fn verify_at(now: Instant) -> Instant {
    now + VERIFY_INTERVAL.mul_f64(0.75 + 0.5 * fastrand::f64())
}

/// Completes when the watch fires; never without a watch.
async fn watch_fired(watch: &mut Option<ReusableBoxFuture<'static, ()>>) {
    match watch {
        Some(fired) => fired.await,
        None => pending().await,
    }
}

/// Completes when the desired content changes; never when it cannot change any more.
async fn desired_changed(desired: &mut watch::Receiver<Desired>) {
    if desired.changed().await.is_err() {
        pending::<()>().await;
    }
}
