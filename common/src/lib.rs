//! What nerve and synapse share, knowing neither of them.
//!
//! ```text
//!  config   a file becomes typed values, or every problem in it with line, column and the nearest valid key
//!  report   the registration report: the bytes of a znode, both ways
//!  zk       one session per ensemble; one owned registration; a path's children as whole snapshots
//!  http     the admin API's server and the routes both daemons have
//!  telemetry  logs and metrics
//!  tls      what the operator says of it, and client connections made that way
//!  daemon   main, command line, published state and reload loop of a daemon
//!  supervise  every task has an owner, a stage of the shutdown and a name
//!  reload   requests to reload the configuration and their outcomes
//!  systemd  notifications to the service manager
//!  process, file, signal, clock, runtime, template, backoff, ready   one effect or one rule each
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
