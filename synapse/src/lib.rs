//! synapse: keeps a local HAProxy right.
//!
//! ```text
//! watcher ──WatcherState──▶ gather: catalog ──Desired──▶ router ──▶ HAProxy (runtime API, or render and reload), console
//! ```

pub mod catalog;
pub mod cli;
pub mod config;
pub mod desired;
pub mod gather;
pub mod router;
pub mod watcher;
