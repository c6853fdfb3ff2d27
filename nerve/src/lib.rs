//! nerve: checks a local service and registers it as an ephemeral ZooKeeper node.
//!
//! ```text
//!  check/*  ──Verdict──┐
//!                      ▼
//!  api ──Order──▶ service: thresholds → overrides → lifecycle machine → weight ──▶ ServiceState (api, metrics, memory)
//!                      │ service::report: status → Option<Report>
//!                      ▼
//!                 reporter/* ──▶ ZooKeeper, file, console
//!
//!  SIGHUP, POST /v1/reload ──▶ reload ──▶ run: groups of tasks start, stop and hand over ──▶ running: what runs
//! ```
//!
//! Decisions (`health`, `lifecycle`, `overrides`, `config`, `api::view`) are plain functions over plain data: the clock
//! is an argument. One task per service owns its state; checks and the API send it messages, reporters follow what it
//! publishes. A service has no report before each of its checks has a result.

pub mod api;
pub mod check;
pub mod cli;
pub mod client;
pub mod config;
pub mod delivery;
pub mod gauges;
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
