//! What an operator reads: logs and metrics.

pub mod log;
pub mod metrics;
