//! Starts groups before and while the supervisor runs, so that startup and reload share their code.

use std::fmt::Debug;

use super::group::{Group, GroupId, Groups, Stopping};
use super::supervisor::Supervisor;

/// Starts groups.
#[derive(Debug)]
pub enum Spawner<'a, S> {
    /// The supervisor does not run yet.
    Startup(&'a mut Supervisor<S>),
    /// The supervisor runs.
    Running(&'a Groups<S>),
}

impl<S: Copy + Ord + Debug> Spawner<'_, S> {
    /// Starts a group.
    pub async fn start(&mut self, group: Group<S>) -> Result<GroupId, Stopping> {
        match self {
            Self::Startup(supervisor) => Ok(supervisor.start_group(group)),
            Self::Running(groups) => groups.start(group).await,
        }
    }
}
