//! synapse: keeps a local HAProxy right.
//!
//! ```text
//! watcher ──WatcherState──▶ gather: catalog ──Desired──▶ router ──▶ HAProxy (runtime API, or render and reload), console
//!                                │   ▲◀─────Health─────────┤
//!                                └────────Outcome──────────┴─status──▶ api, metrics
//! ```
//!
//! [`watcher`] says what the sources hold, [`catalog`] decides which servers each service has, a [`router`] makes it
//! so. Each publishes its state as a value; [`run`] ties them together.

pub mod api;
pub mod catalog;
pub mod cli;
pub mod config;
pub mod desired;
pub mod gather;
pub mod health;
pub mod look;
pub mod metrics;
pub mod reload;
pub mod roster;
pub mod router;
pub mod run;
pub mod watcher;
