//! synapse: keeps a local HAProxy right.
//!
//! ```text
//! watcher ──WatcherState──▶ catalog ──Desired──▶ router ──▶ HAProxy (runtime API, or render and reload), console
//! ```

pub mod catalog;
pub mod config;
pub mod desired;
pub mod gather;
pub mod watcher;
