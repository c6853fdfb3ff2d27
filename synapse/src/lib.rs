//! synapse: keeps a local HAProxy right.
//!
//! ```text
//! watcher ──Snapshot──▶ catalog ──Desired──▶ router ──▶ HAProxy (runtime API, or render and reload), console
//! ```

pub mod config;
pub mod desired;
pub mod router;
