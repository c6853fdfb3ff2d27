//! The closed list of checks. A probe says what it saw or why it failed; it never runs longer than its deadline.

mod amqp;
pub mod conditions;
mod conversation;
mod exec;
mod file;
mod http;
mod login;
mod memcached;
pub mod push;
mod redis;
pub mod runner;
pub mod source;
#[cfg(feature = "sql")]
mod sql;
mod tcp;
pub mod wire;
mod zookeeper;

use std::net::SocketAddr;
use std::sync::Arc;

use common::tls::TlsError;
use tokio::time::timeout;

#[cfg(feature = "sql")]
use crate::config::SqlConfig;
use crate::config::{CheckConfig, CheckKind, ExecConfig};
use crate::health::verdict::{Failure, FailureKind};

/// A check, ready to probe.
#[derive(Debug)]
pub struct Check {
    config: Arc<CheckConfig>,
    probe: Probe,
}

#[derive(Debug)]
enum Probe {
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
    Tcp,
    Zookeeper(zookeeper::ZookeeperProbe),
}

/// Why a check can't be built.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unbuildable(String);

impl Check {
    /// Prepares a check.
    pub fn new(config: Arc<CheckConfig>) -> Result<Self, Unbuildable> {
        let probe = match &config.kind {
            CheckKind::Amqp(amqp) => Probe::Amqp(amqp::AmqpProbe::new(amqp)?),
            CheckKind::Exec(exec) => Probe::Exec(exec.clone()),
            CheckKind::File(file) => Probe::File(file::FileProbe::new(file)),
            CheckKind::Http(http) => Probe::Http(
                http::HttpProbe::new(http.url.clone(), http.expected.clone(), config.prefer_ipv4)
                    .map_err(|error| Unbuildable(error.to_string()))?,
            ),
            CheckKind::Memcached(memcached) => Probe::Memcached(memcached::MemcachedProbe::new(memcached)?),
            CheckKind::Noop => Probe::Noop,
            CheckKind::Push(push) => Probe::Push(push::PushProbe::new(push)),
            CheckKind::Redis(redis) => Probe::Redis(redis::RedisProbe::new(redis)?),
            #[cfg(feature = "sql")]
            CheckKind::Sql(sql) => Probe::Sql(sql.clone()),
            #[cfg(not(feature = "sql"))]
            CheckKind::Sql(_) => return Err(Unbuildable("this nerve was built without `sql`".to_owned())),
            CheckKind::Tcp(_) => Probe::Tcp,
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

    /// Probes once: what was seen, or why it failed.
    pub async fn probe(&self) -> Result<String, Failure> {
        let config = &self.config;
        match &self.probe {
            Probe::Amqp(amqp) => self.in_time(amqp.probe(config)).await,
            // The program's own deadline, so that its group is killed and its output kept.
            Probe::Exec(exec) => exec::probe(exec, config.timeout).await,
            Probe::File(file) => self.in_time(file.probe()).await,
            Probe::Http(http) => self.in_time(http.probe()).await,
            Probe::Memcached(memcached) => self.in_time(memcached.probe(config)).await,
            Probe::Noop => Ok(String::new()),
            // Its own deadline: the first heartbeat may take its time.
            Probe::Push(push) => push.probe().await,
            Probe::Redis(redis) => self.in_time(redis.probe(config)).await,
            #[cfg(feature = "sql")]
            Probe::Sql(sql) => self.in_time(Box::pin(sql::probe(sql, config))).await,
            Probe::Tcp => self.in_time(tcp::probe(config)).await,
            Probe::Zookeeper(zookeeper) => self.in_time(zookeeper.probe(config)).await,
        }
    }

    async fn in_time(&self, probe: impl Future<Output = Result<String, Failure>>) -> Result<String, Failure> {
        let deadline = self.config.timeout;
        let late = || Failure::new(FailureKind::Timeout, format!("no answer within {deadline:?}"));
        timeout(deadline, probe).await.unwrap_or_else(|_| Err(late()))
    }
}

impl From<TlsError> for Unbuildable {
    fn from(error: TlsError) -> Self {
        Self(error.to_string())
    }
}

/// As [`resolve`]; a name must have at least one.
async fn addresses(host: &str, port: u16, prefer_ipv4: bool) -> Result<Vec<SocketAddr>, Failure> {
    resolve(host, port, prefer_ipv4)
        .await
        .map_err(|error| Failure::new(FailureKind::Unresolved, format!("cannot resolve {host}: {error}")))
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
#[cfg(test)]
mod tests_protocols;
