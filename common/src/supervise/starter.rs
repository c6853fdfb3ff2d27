//! Starts groups, whether the supervisor runs yet or not: what is built at the start and at a reload starts the same way.

use std::fmt::Debug;

use super::{Group, GroupId, Groups, Supervisor};

/// Starts groups: before the supervisor runs, or while it does.
#[derive(Debug)]
pub enum Starter<'a, S> {
    /// It does not run yet.
    Before(&'a mut Supervisor<S>),
    /// It runs.
    While(&'a Groups<S>),
}

impl<S: Copy + Ord + Debug> Starter<'_, S> {
    /// Starts a group; `None` when the daemon is stopping: nothing starts any more.
    pub async fn start(&mut self, group: Group<S>) -> Option<GroupId> {
        match self {
            Self::Before(supervisor) => Some(supervisor.start_group(group)),
            Self::While(groups) => groups.start(group).await,
        }
    }
}
