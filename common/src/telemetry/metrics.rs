//! Prometheus metrics: one registry per daemon, handed to those who register in it.

use prometheus_client::registry::Registry;

/// What `/version` and `…_build_info` say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Build {
    /// `nerve` or `synapse`; also the prefix of its metrics.
    pub name: &'static str,
    /// The package's version.
    pub version: &'static str,
}

/// A registry with the build's and the process's own metrics (`process_resident_memory_bytes`, `process_open_fds`,
/// `process_cpu_seconds_total`, `process_start_time_seconds`).
pub fn registry(build: Build) -> Registry {
    let _ = build;
    todo!()
}

/// The text exposition format.
pub fn encode(registry: &Registry) -> String {
    let _ = registry;
    todo!()
}
