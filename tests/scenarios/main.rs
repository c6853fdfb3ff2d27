//! What the two daemons must do against a real ZooKeeper and a real HAProxy when things go wrong.
//!
//! Every scenario starts servers of its own, so they run side by side. The binaries must have been built:
//! `cargo build --workspace --bins`, which `tests/run` does.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a scenario that goes wrong must stop")]

mod bench;
mod commands;
mod crowd;
mod faults;
mod guard;
mod hostile;
mod kubelet;
mod life;
mod panic_threshold;
mod readme;
mod registration;
mod reload;
mod reporters;
mod routers;
mod routing;
mod sources;
mod synapse_reload;
mod systemd;
