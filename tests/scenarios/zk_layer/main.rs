//! `common::zk` against a real ZooKeeper whose links and sessions break.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a scenario that goes wrong must stop")]

mod kinds;
mod party;
mod recorder;
mod reflecting;
mod registering;
mod secured;
mod sessions;
