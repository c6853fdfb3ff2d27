//! Every task has an owner, a name and a stage of the shutdown.
//!
//! A daemon lists its stages in an enum of its own, in the order in which they stop. A stage is requested to stop (its
//! token is cancelled) when all tasks of the earlier stages have ended; all share one deadline. A task that ends or
//! panics before it is requested to stop is a bug: everything stops, in order, and the daemon exits with a failure, so
//! that its supervisor restarts it. A panic is such a failure even during the shutdown.
//!
//! The tasks of a [`Group`] are started and stopped together while the daemon runs ([`Groups`]); a group stops in the
//! order of the stages too. Once the shutdown has begun no group starts.

mod group;
mod spawner;
mod supervisor;
#[cfg(test)]
mod tests;

pub use group::{Group, GroupId, Groups, Stopping};
pub use spawner::Spawner;
pub use supervisor::{Ended, Supervisor};
