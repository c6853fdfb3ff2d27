//! Groups: tasks that start and stop together while the daemon runs, e.g. all that belongs to one service.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

type Start = Box<dyn FnOnce(CancellationToken) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// Tasks that are yet to start, together.
#[must_use = "its tasks run once a supervisor has it"]
pub struct Group<S> {
    pub(super) tasks: Vec<(S, String, Start)>,
}

/// A group that was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupId(pub(super) u64);

/// Starts and stops groups while [`Supervisor::run`](super::Supervisor::run) has the supervisor.
#[derive(Debug, Clone)]
pub struct Groups<S> {
    pub(super) orders: mpsc::Sender<Order<S>>,
}

/// What a supervisor is told while it runs.
#[derive(Debug)]
pub(super) enum Order<S> {
    Start(Group<S>, oneshot::Sender<GroupId>),
    Stop(GroupId, oneshot::Sender<()>),
}

impl<S> Default for Group<S> {
    fn default() -> Self {
        Self { tasks: Vec::new() }
    }
}

impl<S> Group<S> {
    /// Adds a task; `task` gets the token that tells it to stop.
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
    /// Starts a group; `None` when the daemon is stopping: nothing starts any more.
    pub async fn start(&self, group: Group<S>) -> Option<GroupId> {
        let (started, id) = oneshot::channel();
        self.orders.send(Order::Start(group, started)).await.ok()?;
        id.await.ok()
    }

    /// Stops a group, stage by stage, and waits for its end. There is no deadline but the group's own: its tasks end by
    /// themselves. `false` when the daemon stops meanwhile, and the group with it.
    pub async fn stop(&self, id: GroupId) -> bool {
        let (done, stopped) = oneshot::channel();
        self.orders.send(Order::Stop(id, done)).await.is_ok() && stopped.await.is_ok()
    }
}
