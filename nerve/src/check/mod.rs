//! The closed list of checks. A probe returns what it saw or why it failed; it never runs longer than its deadline.

mod amqp;
mod connect;
mod connection;
mod exec;
mod file;
mod grpc;
mod http;
mod kubernetes;
mod login;
mod memcached;
mod proxyhttp;
pub mod push;
mod redis;
pub mod runner;
#[cfg(feature = "sql")]
mod sql;
mod tcp;
mod web;
pub mod wire;
mod zookeeper;

use std::pin::Pin;
use std::sync::Arc;

use common::tls::TlsError;
use tokio::time::timeout;

#[cfg(feature = "sql")]
use crate::config::SqlConfig;
use crate::config::{CheckConfig, CheckKind, ExecConfig, TcpConfig};
use crate::health::verdict::{Failure, FailureKind, cut};

/// A check, ready to probe.
#[derive(Debug)]
pub struct Check {
    config: Arc<CheckConfig>,
    probe: Probe,
}

#[derive(Debug)]
enum Probe {
    Grpc(grpc::GrpcProbe),
    Kubernetes(kubernetes::KubernetesProbe),
    ProxyHttp(proxyhttp::ProxyHttpProbe),
    Amqp(amqp::AmqpProbe),
    Exec(ExecConfig),
    File(file::FileProbe),
    Http(http::HttpProbe),
    Memcached(memcached::MemcachedProbe),
    Noop,
    Push(push::PushProbe),
    Redis(redis::RedisProbe),
    #[cfg(feature = "sql")]
    Sql(SqlConfig),
    Tcp(TcpConfig),
    Zookeeper(zookeeper::ZookeeperProbe),
}

/// Why a check can't be built: what the configuration names on this machine is not there.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BuildError(String);

impl From<TlsError> for BuildError {
    fn from(error: TlsError) -> Self {
        Self(error.to_string())
    }
}

impl Check {
    /// Prepares a check.
    pub fn new(config: Arc<CheckConfig>) -> Result<Self, BuildError> {
        let probe = match &config.kind {
            CheckKind::Grpc(grpc) => Probe::Grpc(grpc::GrpcProbe::new(&config, grpc)?),
            CheckKind::Http(http) => Probe::Http(http::HttpProbe::new(&config, http)?),
            CheckKind::Kubernetes(pod) => Probe::Kubernetes(kubernetes::KubernetesProbe::new(&config, pod)?),
            CheckKind::ProxyHttp(proxy) => Probe::ProxyHttp(proxyhttp::ProxyHttpProbe::new(&config, proxy)?),
            CheckKind::Tcp(tcp) => Probe::Tcp(tcp.clone()),
            CheckKind::Amqp(amqp) => Probe::Amqp(amqp::AmqpProbe::new(amqp)?),
            CheckKind::Exec(exec) => Probe::Exec(exec.clone()),
            CheckKind::File(file) => Probe::File(file::FileProbe::new(file)),
            CheckKind::Memcached(memcached) => Probe::Memcached(memcached::MemcachedProbe::new(memcached)?),
            CheckKind::Noop => Probe::Noop,
            CheckKind::Push(push) => Probe::Push(push::PushProbe::new(push)),
            CheckKind::Redis(redis) => Probe::Redis(redis::RedisProbe::new(redis)?),
            #[cfg(feature = "sql")]
            CheckKind::Sql(sql) => Probe::Sql(sql.clone()),
            #[cfg(not(feature = "sql"))]
            CheckKind::Sql(_) => return Err(BuildError("this nerve was built without `sql`".to_owned())),
            CheckKind::Zookeeper(zookeeper) => Probe::Zookeeper(zookeeper::ZookeeperProbe::new(zookeeper)?),
        };
        Ok(Self { config, probe })
    }

    /// Where the heartbeats of a `push` check go in.
    pub fn mailbox(&self) -> Option<&push::Mailbox> {
        match &self.probe {
            Probe::Push(push) => Some(&push.mailbox),
            _ => None,
        }
    }

    /// Probes once: what was seen, or why it failed. Each probe is boxed where it is made: between two of them a check
    /// takes next to no memory.
    pub async fn probe(&self) -> Result<String, Failure> {
        let config = &self.config;
        let seen = match &self.probe {
            Probe::Amqp(amqp) => self.in_time(Box::pin(amqp.probe(config))).await,
            // The program's own deadline, so that its group is killed and its output kept.
            Probe::Exec(exec) => Box::pin(exec::probe(exec, config.timeout)).await,
            Probe::File(file) => self.in_time(Box::pin(file.probe())).await,
            Probe::Memcached(memcached) => self.in_time(Box::pin(memcached.probe(config))).await,
            Probe::Noop => Ok(String::new()),
            // Its own deadline: the first heartbeat may take its time.
            Probe::Push(push) => Box::pin(push.probe()).await,
            Probe::Redis(redis) => self.in_time(Box::pin(redis.probe(config))).await,
            #[cfg(feature = "sql")]
            Probe::Sql(sql) => self.in_time(Box::pin(sql::probe(sql, config))).await,
            Probe::Zookeeper(zookeeper) => self.in_time(Box::pin(zookeeper.probe(config))).await,
            Probe::Grpc(grpc) => self.in_time(Box::pin(grpc.probe())).await,
            Probe::Http(http) => self.in_time(Box::pin(http.probe())).await,
            Probe::Kubernetes(pod) => self.in_time(Box::pin(pod.probe())).await,
            Probe::ProxyHttp(proxy) => self.in_time(Box::pin(proxy.probe())).await,
            Probe::Tcp(tcp) => self.in_time(Box::pin(tcp::probe(&self.config, tcp))).await,
        };
        seen.map(|seen| cut(&seen))
    }

    async fn in_time(&self, probe: Pin<Box<impl Future<Output = Result<String, Failure>>>>) -> Result<String, Failure> {
        let deadline = self.config.timeout;
        let late = || Failure::new(FailureKind::Timeout, format!("no answer within {deadline:?}"));
        timeout(deadline, probe).await.unwrap_or_else(|_| Err(late()))
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_protocols;
