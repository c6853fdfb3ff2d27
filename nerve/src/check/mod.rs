//! The closed list of checks. A probe says what it saw or why it failed; it never runs longer than its deadline.

mod exec;
mod http;
pub mod runner;
mod tcp;

use std::net::SocketAddr;

use tokio::time::timeout;

use crate::config::{CheckConfig, CheckKind};
use crate::health::verdict::{Failure, FailureKind};

/// A check, ready to probe.
#[derive(Debug)]
pub struct Check {
    config: std::sync::Arc<CheckConfig>,
    probe: Probe,
}

#[derive(Debug)]
enum Probe {
    Tcp,
    Http(http::HttpProbe),
    Exec(common::process::Program),
}

impl Check {
    /// Prepares a check. Fails only when the HTTP client can't be built.
    pub fn new(config: std::sync::Arc<CheckConfig>) -> Result<Self, reqwest::Error> {
        let probe = match &config.kind {
            CheckKind::Tcp => Probe::Tcp,
            CheckKind::Http { url, expected } => {
                Probe::Http(http::HttpProbe::new(url.clone(), expected.clone(), config.prefer_ipv4)?)
            }
            CheckKind::Exec(argv) => Probe::Exec(exec::program(argv, config.timeout)),
        };
        Ok(Self { config, probe })
    }

    /// Probes once: what was seen, or why it failed.
    pub async fn probe(&self) -> Result<String, Failure> {
        let deadline = self.config.timeout;
        let late = || Failure::new(FailureKind::Timeout, format!("no answer within {deadline:?}"));
        match &self.probe {
            Probe::Tcp => timeout(deadline, tcp::probe(&self.config))
                .await
                .unwrap_or_else(|_| Err(late())),
            Probe::Http(http) => timeout(deadline, http.probe()).await.unwrap_or_else(|_| Err(late())),
            // The program's own deadline, so that its group is killed and its output kept.
            Probe::Exec(program) => exec::probe(program).await,
        }
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
