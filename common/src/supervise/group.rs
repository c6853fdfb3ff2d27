//! Groups: tasks that start and stop together while the daemon runs, e.g. those of one service.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

type Start = Box<dyn FnOnce(CancellationToken) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// Tasks that are not started yet.
#[must_use = "its tasks run once a supervisor has it"]
pub struct Group<S> {
    pub(super) tasks: Vec<(S, String, Start)>,
}

/// Identifies a started group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupId(pub(super) u64);

/// The daemon is stopping: nothing starts any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopping;

/// Starts and stops groups while [`Supervisor::run`](super::Supervisor::run) owns the supervisor.
#[derive(Debug, Clone)]
pub struct Groups<S> {
    pub(super) commands: mpsc::Sender<Command<S>>,
}

/// A command to a running supervisor.
#[derive(Debug)]
pub(super) enum Command<S> {
    Start(Group<S>, oneshot::Sender<GroupId>),
    Stop(GroupId, oneshot::Sender<()>),
}

impl<S> Default for Group<S> {
    fn default() -> Self {
        Self { tasks: Vec::new() }
    }
}

impl<S> Group<S> {
    /// Adds a task; `task` gets the token that requests its stop.
    pub fn add<F, Fut>(&mut self, stage: S, name: impl Into<String>, task: F)
    where
        F: FnOnce(CancellationToken) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.tasks
            .push((stage, name.into(), Box::new(|stop| Box::pin(task(stop)))));
    }
}

impl<S: fmt::Debug> fmt::Debug for Group<S> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tasks = self.tasks.iter().map(|(stage, name, _)| (stage, name));
        out.debug_list().entries(tasks).finish()
    }
}

impl<S> Groups<S> {
    /// Starts a group.
    pub async fn start(&self, group: Group<S>) -> Result<GroupId, Stopping> {
        let (started, id) = oneshot::channel();
        self.send(Command::Start(group, started), id).await
    }

    /// Stops a group, stage by stage, and waits for its end. The tasks' own deadlines are the only ones. An error when
    /// the daemon stops meanwhile, and the group with it.
    pub async fn stop(&self, id: GroupId) -> Result<(), Stopping> {
        let (done, stopped) = oneshot::channel();
        self.send(Command::Stop(id, done), stopped).await
    }

    async fn send<T>(&self, command: Command<S>, answer: oneshot::Receiver<T>) -> Result<T, Stopping> {
        self.commands.send(command).await.map_err(|_| Stopping)?;
        answer.await.map_err(|_| Stopping)
    }
}
