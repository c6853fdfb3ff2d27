//! nerve: checks a local service and registers it as an ephemeral ZooKeeper node.
//!
//! ```text
//!  check/*  ──Verdict──┐
//!                      ▼
//!  api ──Order──▶ service: thresholds → overrides → lifecycle machine → weight ──▶ ServiceState (api, metrics, memory)
//!                      │ announce: state → Option<Report>
//!                      ▼
//!                 reporter/* ──▶ ZooKeeper, file, console
//!
//!  SIGHUP, POST /v1/reload ──▶ reload ──▶ run: groups of tasks start, stop and hand over ──▶ running: what runs
//! ```
//!
//! Decisions (`health`, `lifecycle`, `announce`, `config`, `api::view`) are plain functions over plain data: the clock
//! is an argument. One task per service owns its state; checks and the API send it messages, reporters follow what it
//! publishes. Nothing is said of a service before each of its checks has reported once.

pub mod announce;
pub mod api;
pub mod check;
pub mod cli;
pub mod client;
pub mod config;
pub mod health;
pub mod lifecycle;
pub mod metrics;
pub mod overrides;
pub mod reload;
pub mod reporter;
pub mod run;
pub mod running;
pub mod service;
pub mod state_store;
