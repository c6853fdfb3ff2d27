//! The code that nerve and synapse share. It imports nothing of either.
//!
//! ```text
//!  config     a file becomes typed values, or every problem in it with line, column and the nearest valid key
//!  report     the registration report: the bytes of a znode, decoded and encoded
//!  zk         one session per ensemble; an owned registration; the children of a path as snapshots
//!  http       the admin API's server, the routes of both daemons, and a client
//!  daemon     command line and reconfiguration of both daemons
//!  reload     requests to read the configuration again, and their results
//!  supervise  every task has an owner, a stage of the shutdown and a name
//!  tls        configuration of clients and their connections
//!  telemetry  logs and metrics
//!  systemd    notifications to a service manager
//!  process, file, signal, clock, runtime, template   one effect each
//!  backoff, hash, ratio, ready, exit                 one rule each
//! ```

pub mod backoff;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod exit;
pub mod file;
pub mod hash;
pub mod http;
pub mod process;
pub mod ratio;
pub mod ready;
pub mod reload;
pub mod report;
pub mod runtime;
pub mod signal;
pub mod supervise;
pub mod systemd;
pub mod telemetry;
pub mod template;
pub mod tls;
pub mod zk;
