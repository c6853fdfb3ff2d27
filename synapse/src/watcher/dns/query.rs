//! One question to DNS.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{RData, RecordType};
use hickory_resolver::{Resolver, TokioResolver};
use tokio::time::timeout;

use super::cache::{Answer, Share, Target};
use crate::config::{Question, Record};

/// How long one server is waited for.
const ATTEMPT: Duration = Duration::from_secs(2);

/// How long a question may take in all, with those for the targets of its answer.
const DEADLINE: Duration = Duration::from_secs(10);

/// How long a missing record is cached when the answer has no time for it.
const NOTHING: Duration = Duration::from_secs(5);

/// The most targets of one answer that are used: each is a question more.
const TARGETS: usize = 1_000;

/// Queries `nameserver`, or those that the system names now.
pub(super) async fn query(question: Question, nameserver: Option<SocketAddr>) -> Result<Answer, String> {
    let asked = async {
        let resolver = resolver(nameserver).map_err(|error| error.to_string())?;
        match question.record {
            Record::Srv => services(&resolver, &question.host).await,
            Record::A(port) => host(&resolver, &question.host, RecordType::A, port).await,
            Record::Aaaa(port) => host(&resolver, &question.host, RecordType::AAAA, port).await,
        }
    };
    timeout(DEADLINE, asked)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {} s", DEADLINE.as_secs())))
}

/// A new one for each question, for what the system names may change. It remembers nothing: that is the cache's part.
fn resolver(nameserver: Option<SocketAddr>) -> Result<TokioResolver, NetError> {
    let mut builder = match nameserver {
        None => Resolver::builder_tokio()?,
        Some(address) => {
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
                connection.port = address.port();
                connection
            });
            let server = NameServerConfig::new(address.ip(), true, connections.into());
            let config = ResolverConfig::from_name_servers(vec![server]);
            Resolver::builder_with_config(config, TokioRuntimeProvider::default())
        }
    };
    let options = builder.options_mut();
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    options.timeout = ATTEMPT;
    builder.build()
}

/// The addresses of one host.
async fn host(resolver: &TokioResolver, name: &str, record: RecordType, port: u16) -> Result<Answer, String> {
    let (addresses, ttl) = addresses(resolver, name, record).await?;
    let target = Target {
        host: name.trim_end_matches('.').to_owned(),
        port,
        share: None,
        addresses: Ok(addresses),
    };
    Ok(Answer {
        targets: vec![target],
        ttl,
    })
}

/// The targets of an SRV record, each with its addresses: IPv4, or IPv6 where there are none.
async fn services(resolver: &TokioResolver, name: &str) -> Result<Answer, String> {
    let (records, mut ttl) = lookup(resolver, name, RecordType::SRV).await?;
    let mut targets = Vec::new();
    let services = records.iter().filter_map(|record| match record {
        RData::SRV(service) => Some(service),
        _ => None,
    });
    for service in services.take(TARGETS) {
        let host = service.target.to_ascii();
        // A target of `.` means that there is no such service.
        if service.port == 0 || service.target.is_root() {
            continue;
        }
        let addresses = match addresses(resolver, &host, RecordType::A).await {
            Ok((none, _)) if none.is_empty() => addresses(resolver, &host, RecordType::AAAA).await,
            some => some,
        };
        if let Ok((_, holds)) = addresses {
            ttl = ttl.min(holds);
        }
        targets.push(Target {
            host: host.trim_end_matches('.').to_owned(),
            port: service.port,
            share: Some(Share {
                priority: service.priority,
                weight: service.weight,
            }),
            addresses: addresses.map(|(addresses, _)| addresses),
        });
    }
    Ok(Answer { targets, ttl })
}

/// The addresses of a name; an address is its own.
async fn addresses(
    resolver: &TokioResolver,
    name: &str,
    record: RecordType,
) -> Result<(Vec<IpAddr>, Duration), String> {
    if let Ok(ip) = name.parse() {
        return Ok((vec![ip], Duration::MAX));
    }
    let (records, ttl) = lookup(resolver, name, record).await?;
    let address = |record: &RData| match record {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    };
    let mut addresses: Vec<IpAddr> = records.iter().filter_map(address).collect();
    addresses.sort_unstable();
    Ok((addresses, ttl))
}

/// The records of a name and how long they hold; none when the answer is that there are none.
async fn lookup(resolver: &TokioResolver, name: &str, record: RecordType) -> Result<(Vec<RData>, Duration), String> {
    match resolver.lookup(name, record).await {
        Ok(found) => Ok((
            found.answers().iter().map(|record| record.data.clone()).collect(),
            ttl(&found),
        )),
        Err(NetError::Dns(DnsError::NoRecordsFound(nothing))) => {
            let ttl = nothing.negative_ttl.map(|ttl| Duration::from_secs(ttl.into()));
            Ok((Vec::new(), ttl.unwrap_or(NOTHING)))
        }
        Err(error) => Err(error.to_string()),
    }
}

fn ttl(found: &Lookup) -> Duration {
    let seconds = found.answers().iter().map(|record| record.ttl).min();
    Duration::from_secs(seconds.unwrap_or_default().into())
}
