//! The closed list of checks. A probe says what it saw or why it failed; it never runs longer than its deadline.

mod connect;
mod exec;
mod grpc;
mod http;
mod kubernetes;
mod proxyhttp;
pub mod runner;
mod tcp;
mod web;

use std::sync::Arc;

use common::tls::TlsError;
use tokio::time::timeout;

use crate::config::{CheckConfig, CheckKind, TcpConfig};
use crate::health::verdict::{Failure, FailureKind, cut};

/// A check, ready to probe.
#[derive(Debug)]
pub struct Check {
    config: Arc<CheckConfig>,
    probe: Probe,
}

#[derive(Debug)]
enum Probe {
    Exec(common::process::Program),
    Grpc(grpc::GrpcProbe),
    Http(http::HttpProbe),
    Kubernetes(kubernetes::KubernetesProbe),
    ProxyHttp(proxyhttp::ProxyHttpProbe),
    Tcp(TcpConfig),
}

/// Why a check can't be built: what the configuration names on this machine is not there.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unbuildable(String);

impl From<TlsError> for Unbuildable {
    fn from(error: TlsError) -> Self {
        Self(error.to_string())
    }
}

impl Check {
    /// Prepares a check.
    pub fn new(config: Arc<CheckConfig>) -> Result<Self, Unbuildable> {
        let probe = match &config.kind {
            CheckKind::Exec(exec) => Probe::Exec(exec::program(&exec.argv, config.timeout)),
            CheckKind::Grpc(grpc) => Probe::Grpc(grpc::GrpcProbe::new(&config, grpc)?),
            CheckKind::Http(http) => Probe::Http(http::HttpProbe::new(&config, http)?),
            CheckKind::Kubernetes(pod) => Probe::Kubernetes(kubernetes::KubernetesProbe::new(&config, pod)?),
            CheckKind::ProxyHttp(proxy) => Probe::ProxyHttp(proxyhttp::ProxyHttpProbe::new(&config, proxy)?),
            CheckKind::Tcp(tcp) => Probe::Tcp(tcp.clone()),
        };
        Ok(Self { config, probe })
    }

    /// Probes once: what was seen, or why it failed.
    pub async fn probe(&self) -> Result<String, Failure> {
        let seen = match &self.probe {
            // The program's own deadline, so that its group is killed and its output kept.
            Probe::Exec(program) => exec::probe(program).await,
            Probe::Grpc(grpc) => self.in_time(grpc.probe()).await,
            Probe::Http(http) => self.in_time(http.probe()).await,
            Probe::Kubernetes(pod) => self.in_time(pod.probe()).await,
            Probe::ProxyHttp(proxy) => self.in_time(proxy.probe()).await,
            Probe::Tcp(tcp) => self.in_time(tcp::probe(&self.config, tcp)).await,
        };
        seen.map(|seen| cut(&seen))
    }

    async fn in_time(&self, probe: impl Future<Output = Result<String, Failure>>) -> Result<String, Failure> {
        let deadline = self.config.timeout;
        let late = || Failure::new(FailureKind::Timeout, format!("no answer within {deadline:?}"));
        // Boxed: between two probes a check takes next to no memory.
        timeout(deadline, Box::pin(probe)).await.unwrap_or_else(|_| Err(late()))
    }
}

#[cfg(test)]
mod tests;
