//! The end-to-end harness: real ZooKeeper, real HAProxy, the real daemons, a proxy that breaks links, an HTTP service
//! and a load that notices every lost request.
//!
//! The scenarios (`scenarios/`) and the demo (`src/bin/demo.rs`) are written in terms of these. Everything runs on
//! loopback, on ports of its own and in temporary directories, and is gone when its handle is dropped.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    clippy::print_stderr,
    reason = "test harness: a broken bench must stop the test at once, and say why"
)]

pub mod authority;
pub mod daemon;
pub mod eventually;
pub mod fault_proxy;
pub mod fleet;
pub mod haproxy;
pub mod http;
pub mod instance;
pub mod kubelet;
pub mod load;
pub mod outage;
pub mod ports;
pub mod program;
pub mod servers;
pub mod site;
pub mod target;
pub mod town;
pub mod usage;
pub mod zookeeper;
