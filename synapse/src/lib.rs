//! synapse: keeps a local HAProxy right.
//!
//! ```text
//! watcher ──WatcherState──▶ gather: guard ─▶ catalog ──Desired──▶ router ──▶ HAProxy (runtime API, or render and reload), console
//!                                │ ▲  ▲◀─────────Health──────────┤
//!            snapshot ◀──Guarded─┤ └──Order── api                │
//!                                └────────────Outcome────────────┴─status──▶ api, metrics
//! ```
//!
//! [`watcher`] publishes the content of the sources; in [`pipeline`] the guard holds back removals that a failing registry
//! causes and the catalog decides which servers each service has; a [`router`] or [`haproxy`] applies them. [`snapshot`]
//! keeps the sources' last content over a restart. Each publishes its state as a value; [`run`] connects them.

pub mod api;
pub mod child;
pub mod cli;
pub mod client;
pub mod config;
pub mod desired;
pub mod dry_run;
pub mod haproxy;
pub mod health;
pub mod metrics;
pub mod name;
pub mod pipeline;
pub mod reload;
pub mod router;
pub mod run;
pub mod running;
pub mod snapshot;
pub mod template;
pub mod watcher;
pub mod zone;

#[cfg(test)]
#[path = "../tests/fuzz/seeds.rs"]
mod seeds;
