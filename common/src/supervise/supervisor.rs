//! The owner of all tasks of a daemon.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, interval_at, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, error, error_span, info, warn};

use crate::exit::Fatal;
use crate::signal::{Signal, Signals};

use super::group::{Command, Group, GroupId, Groups};

/// Commands that may wait for the supervisor; further senders wait too.
const COMMAND_BUFFER: usize = 16;

/// Between two reports of the tasks that the shutdown waits for.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// Owns the tasks of a daemon. `S` is the daemon's enum of stages, in the order of stopping.
///
/// Dropping it, or the future of [`run`](Self::run), aborts what still runs.
#[derive(Debug)]
pub struct Supervisor<S> {
    tokens: BTreeMap<S, CancellationToken>,
    running: HashMap<Id, Running<S>>,
    tasks: JoinSet<()>,
    groups: BTreeMap<GroupId, Stages<S>>,
    started_groups: u64,
    commands: mpsc::Receiver<Command<S>>,
    handle: Groups<S>,
}

/// A running task. Ordered as the tasks are to stop.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Running<S> {
    stage: S,
    name: String,
    group: Option<GroupId>,
}

/// A running group: its tokens, children of the daemon's, and the requests to stop it.
#[derive(Debug)]
struct Stages<S> {
    tokens: BTreeMap<S, CancellationToken>,
    waiting: Vec<oneshot::Sender<()>>,
}

/// How the daemon ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// By a signal, and every task ended within the deadline.
    Clean,
    /// By a signal, but these tasks were still running at the deadline or at the second signal.
    StillRunning(Vec<String>),
    /// This task ended or panicked on its own; the rest was stopped.
    TaskFailed {
        /// The task's name.
        task: String,
        /// Its panic message, or that it ended.
        why: String,
    },
}

impl Ended {
    /// Returns the failure to exit with.
    pub fn into_result(self) -> Result<(), Fatal> {
        match self {
            Self::Clean => Ok(()),
            Self::StillRunning(tasks) => {
                let tasks = tasks.join(", ");
                Err(Fatal::runtime(format!("stopped before these tasks had ended: {tasks}")))
            }
            Self::TaskFailed { task, why } => Err(Fatal::runtime(format!("the task `{task}` failed: {why}"))),
        }
    }
}

type Joined = Result<(Id, ()), JoinError>;

impl<S: Copy + Ord + Debug> Default for Supervisor<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Copy + Ord + Debug> Supervisor<S> {
    /// An owner without tasks.
    pub fn new() -> Self {
        let (sender, commands) = mpsc::channel(COMMAND_BUFFER);
        Self {
            tokens: BTreeMap::new(),
            running: HashMap::new(),
            tasks: JoinSet::new(),
            groups: BTreeMap::new(),
            started_groups: 0,
            commands,
            handle: Groups { commands: sender },
        }
    }

    /// Returns the handle that starts and stops groups while [`run`](Self::run) owns the supervisor.
    pub fn groups(&self) -> Groups<S> {
        self.handle.clone()
    }

    /// Starts a task in `stage`; `task` gets the token that requests its stop. Must be called inside the runtime.
    pub fn start<F, Fut>(&mut self, stage: S, name: impl Into<String>, task: F)
    where
        F: FnOnce(CancellationToken) -> Fut,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let token = self.token(stage);
        self.spawn(stage, name.into(), None, token, task);
    }

    /// Starts the tasks of a group. Must be called inside the runtime.
    pub fn start_group(&mut self, group: Group<S>) -> GroupId {
        self.started_groups += 1;
        let id = GroupId(self.started_groups);
        let mut tokens = BTreeMap::new();
        for (stage, name, task) in group.tasks {
            let daemon = self.token(stage);
            let token = tokens.entry(stage).or_insert_with(|| daemon.child_token()).clone();
            self.spawn(stage, name, Some(id), token, task);
        }
        let waiting = Vec::new();
        self.groups.insert(id, Stages { tokens, waiting });
        id
    }

    fn token(&mut self, stage: S) -> CancellationToken {
        self.tokens.entry(stage).or_default().clone()
    }

    fn spawn<F, Fut>(&mut self, stage: S, name: String, group: Option<GroupId>, token: CancellationToken, task: F)
    where
        F: FnOnce(CancellationToken) -> Fut,
        Fut: Future<Output = ()> + Send + 'static,
    {
        // At error level, so that no log level filters the span.
        let span = error_span!("task", name);
        let future = span.in_scope(|| task(token));
        let id = self.tasks.spawn(future.instrument(span)).id();
        self.running.insert(id, Running { stage, name, group });
    }

    /// Runs until a stop signal or the first task that ends on its own, then stops stage by stage within `grace`,
    /// reporting every few seconds what still runs. `on_stop` runs first (e.g. `/ready` turns false) and gets the
    /// failure that begins the stop, if any; `grace` is called when the stop begins, and `on_reload` at each SIGHUP.
    pub async fn run(
        mut self,
        signals: &mut Signals,
        grace: impl FnOnce() -> Duration,
        on_stop: impl FnOnce(Option<&Ended>),
        mut on_reload: impl FnMut(),
    ) -> Ended {
        let failed = loop {
            tokio::select! {
                biased;
                signal = signals.next() => match signal {
                    Signal::Stop => break None,
                    Signal::Reload => on_reload(),
                },
                Some(joined) = self.tasks.join_next_with_id() => {
                    if let Some(failed) = self.failure(joined) {
                        break Some(failed);
                    }
                }
                Some(command) = self.commands.recv() => self.handle(command),
            }
        };
        on_stop(failed.as_ref());
        // Requests that wait for a group fail: the daemon stops.
        self.commands.close();
        while self.commands.try_recv().is_ok() {}
        self.groups.values_mut().for_each(|group| group.waiting.clear());
        self.stop(signals, grace(), failed).await
    }

    fn handle(&mut self, command: Command<S>) {
        match command {
            Command::Start(group, started) => {
                let id = self.start_group(group);
                // Without its requester the group ends with the daemon.
                started.send(id).ok();
            }
            Command::Stop(id, done) => {
                let Some(group) = self.groups.get_mut(&id) else {
                    done.send(()).ok();
                    return;
                };
                group.waiting.push(done);
                self.advance(id);
            }
        }
    }

    /// Requests the next stage of a stopping group to stop, or removes the group when it has stopped.
    fn advance(&mut self, id: GroupId) {
        let Some(group) = self.groups.get_mut(&id).filter(|group| !group.waiting.is_empty()) else {
            return;
        };
        let tasks = self.running.values().filter(|task| task.group == Some(id));
        if let Some(stage) = tasks.map(|task| task.stage).min() {
            group.tokens.get(&stage).map(CancellationToken::cancel);
            return;
        }
        for waiting in group.waiting.drain(..) {
            waiting.send(()).ok();
        }
        self.groups.remove(&id);
    }

    /// The shutdown: stage after stage, one deadline for all.
    async fn stop(mut self, signals: &mut Signals, grace: Duration, failed: Option<Ended>) -> Ended {
        let mut is_requested = failed.is_none();
        let mut failed = failed;
        info!(grace = ?grace, "Stopping.");
        let mut deadline = std::pin::pin!(sleep(grace));
        let mut report = interval_at(Instant::now() + REPORT_INTERVAL, REPORT_INTERVAL);
        for (stage, token) in self.tokens.clone() {
            debug!(?stage, "Stopping a stage.");
            token.cancel();
            while self.running.values().any(|task| task.stage == stage) {
                tokio::select! {
                    biased;
                    signal = signals.next() => match signal {
                        // After a failure the first signal requests what is already happening.
                        Signal::Stop if !is_requested => is_requested = true,
                        Signal::Stop => {
                            let running = self.still_running();
                            warn!(?running, "Stopping at once at a second signal.");
                            return failed.unwrap_or(Ended::StillRunning(running));
                        }
                        Signal::Reload => {}
                    },
                    () = deadline.as_mut() => {
                        let running = self.still_running();
                        error!(?running, "These tasks did not stop within the deadline; exiting without them.");
                        return failed.unwrap_or(Ended::StillRunning(running));
                    }
                    _ = report.tick() => {
                        let left = deadline.deadline().saturating_duration_since(Instant::now());
                        info!(running = ?self.still_running(), ?left, "Still stopping.");
                    }
                    Some(joined) = self.tasks.join_next_with_id() => {
                        let failure = self.failure(joined);
                        failed = failed.or(failure);
                    }
                }
            }
        }
        info!("All tasks have stopped.");
        failed.unwrap_or(Ended::Clean)
    }

    /// Handles the end of a task; a failure when it was not requested, or a panic.
    fn failure(&mut self, joined: Joined) -> Option<Ended> {
        let id = match &joined {
            Ok((id, ())) => *id,
            Err(error) => error.id(),
        };
        let Running { stage, name, group } = self.running.remove(&id)?;
        // A group's token is cancelled with the daemon's.
        let tokens = group
            .and_then(|group| self.groups.get(&group))
            .map(|group| &group.tokens);
        let token = tokens.unwrap_or(&self.tokens).get(&stage);
        let is_requested = token.is_some_and(CancellationToken::is_cancelled);
        let task = name;
        let why = match joined {
            Ok(_) if is_requested => {
                if let Some(group) = group {
                    self.advance(group);
                }
                return None;
            }
            Ok(_) => "it ended before it was requested to stop".to_owned(),
            Err(error) => failure_cause(error),
        };
        error!(task, why, "A task failed; the daemon stops.");
        Some(Ended::TaskFailed { task, why })
    }

    /// Returns the names of the running tasks, in the order in which they are to stop.
    fn still_running(&self) -> Vec<String> {
        let mut running: Vec<_> = self.running.values().collect();
        running.sort_unstable();
        running.into_iter().map(|task| task.name.clone()).collect()
    }
}

fn failure_cause(error: JoinError) -> String {
    match error.try_into_panic() {
        Ok(payload) => {
            let message = payload
                .downcast_ref::<&str>()
                .copied()
                .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
                .unwrap_or("no message");
            format!("it panicked: {message}")
        }
        Err(cancelled) => cancelled.to_string(),
    }
}
