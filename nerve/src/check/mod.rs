//! The closed list of checks. A probe says what it saw or why it failed; it never runs longer than its deadline.

mod exec;
mod http;
pub mod runner;
mod tcp;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::time::timeout;

use crate::config::{CheckConfig, CheckKind};
use crate::health::verdict::{Failure, FailureKind};

/// A check, ready to probe.
#[derive(Debug)]
pub struct Check {
    config: Arc<CheckConfig>,
    probe: Probe,
}

#[derive(Debug)]
enum Probe {
    Exec(common::process::Program),
    Http(http::HttpProbe),
    Tcp,
}

/// Why a check can't be built.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unbuildable(String);

impl Check {
    /// Prepares a check.
    pub fn new(config: Arc<CheckConfig>) -> Result<Self, Unbuildable> {
        let probe = match &config.kind {
            CheckKind::Exec(exec) => Probe::Exec(exec::program(&exec.argv, config.timeout)),
            CheckKind::Http(http) => Probe::Http(
                http::HttpProbe::new(http.url.clone(), http.expected.clone(), config.prefer_ipv4)
                    .map_err(|error| Unbuildable(error.to_string()))?,
            ),
            CheckKind::Tcp(_) => Probe::Tcp,
        };
        Ok(Self { config, probe })
    }

    /// Probes once: what was seen, or why it failed.
    pub async fn probe(&self) -> Result<String, Failure> {
        match &self.probe {
            // The program's own deadline, so that its group is killed and its output kept.
            Probe::Exec(program) => exec::probe(program).await,
            Probe::Http(http) => self.in_time(http.probe()).await,
            Probe::Tcp => self.in_time(tcp::probe(&self.config)).await,
        }
    }

    async fn in_time(&self, probe: impl Future<Output = Result<String, Failure>>) -> Result<String, Failure> {
        let deadline = self.config.timeout;
        let late = || Failure::new(FailureKind::Timeout, format!("no answer within {deadline:?}"));
        timeout(deadline, probe).await.unwrap_or_else(|_| Err(late()))
    }
}

/// The addresses of a name, now; IPv4 first when preferred.
async fn resolve(host: &str, port: u16, prefer_ipv4: bool) -> std::io::Result<Vec<SocketAddr>> {
    let mut addresses: Vec<_> = tokio::net::lookup_host((host, port)).await?.collect();
    if prefer_ipv4 {
        addresses.sort_by_key(SocketAddr::is_ipv6);
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests;
