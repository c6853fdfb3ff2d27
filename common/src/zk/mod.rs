//! The ZooKeeper client of nerve and synapse.
//!
//! - [`session`]: one session per ensemble; a supervisor resumes or rebuilds its client.
//! - [`session_pool`]: the sessions of a process, shared by their users.
//! - [`registration`]: one node (a [`node::NodeConfig`]) kept equal to its desired content, owned and unique.
//! - [`reflector`]: the children of one path with their data, as whole snapshots with their freshness.
//!
//! Each is a pair of a handle and a task to run under a supervisor.
//! "Lost" has two grades: *suspended* (no connection; the session and its nodes may live on) and *expired* (the session
//! is over; the next one is new, or the old one resumed when the server still holds it).

mod budget;
mod contention;
pub mod error;
pub mod node;
mod node_write;
mod reconciler;
mod reflect_one_shot;
mod reflect_state;
pub mod reflector;
mod register_plan;
pub mod registration;
mod registration_state;
mod retry;
pub mod security;
pub mod session;
pub mod session_pool;
mod session_state;
mod snapshot;
