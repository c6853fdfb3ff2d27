//! `watcher`, resolved: where a service's servers come from.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use common::report::{Decoder, Report};
use common::zk::session::EnsembleConfig;

/// `watcher`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatcherConfig {
    /// `type: zookeeper`, or `zookeeper_poll`.
    Zookeeper(Box<ZookeeperConfig>),
    /// `type: static`: `servers[]`, in the file's order, each of another address or name.
    Static(Vec<Report>),
    /// `type: file`.
    File {
        /// `path`: a file, or a directory of them.
        path: PathBuf,
        /// `checkInterval`: how often it is looked at.
        check_interval: Duration,
    },
    /// `type: dns`.
    Dns(DnsConfig),
    /// `type: multi`.
    Multi(MultiConfig),
}

impl WatcherConfig {
    /// The `type`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Zookeeper(config) if config.polling.is_some() => "zookeeper_poll",
            Self::Zookeeper(_) => "zookeeper",
            Self::Static(_) => "static",
            Self::File { .. } => "file",
            Self::Dns(_) => "dns",
            Self::Multi(_) => "multi",
        }
    }

    /// Whether all of it is a list in the configuration, which is right by definition, also after a restart.
    pub fn is_fixed(&self) -> bool {
        match self {
            Self::Static(_) => true,
            Self::Multi(multi) => multi.watchers.iter().all(|(_, watcher)| watcher.is_fixed()),
            Self::Zookeeper(_) | Self::File { .. } | Self::Dns(_) => false,
        }
    }

    /// Whether its content is written on this host, so that no registry can lose it.
    pub fn is_own_word(&self) -> bool {
        match self {
            Self::Static(_) | Self::File { .. } => true,
            Self::Multi(multi) => multi.watchers.iter().all(|(_, watcher)| watcher.is_own_word()),
            Self::Zookeeper(_) | Self::Dns(_) => false,
        }
    }
}

/// `type: zookeeper`, or `zookeeper_poll`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZookeeperConfig {
    /// `hosts[]`, and `timeoutInMilli` or `sessionTimeout`, `auth`, `tls`.
    pub ensemble: EnsembleConfig,
    /// `path`.
    pub path: String,
    /// `decode`.
    pub decoder: Decoder,
    /// `pollingInterval`; the path is watched when absent.
    pub polling: Option<Duration>,
}

/// `type: dns`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsConfig {
    /// `servers[]`.
    pub questions: Vec<Question>,
    /// `nameserver`; those of the system when absent.
    pub nameserver: Option<SocketAddr>,
    /// `checkInterval`: maximum time that an answer is used, regardless of its time to live.
    pub check_interval: Duration,
}

/// One of the `servers[]` of `type: dns`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// `host`: the name to ask for.
    pub host: String,
    /// `record`.
    pub record: Record,
    /// `name`; `host` when absent, or the target of an SRV record.
    pub name: Option<String>,
    /// `weight`; that of an SRV record when absent.
    pub weight: Option<u16>,
    /// `labels`.
    pub labels: std::collections::BTreeMap<String, String>,
    /// `options`.
    pub options: String,
}

/// One query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record {
    /// IPv4 addresses, and the port that goes with them.
    A(u16),
    /// IPv6 addresses, and the port that goes with them.
    Aaaa(u16),
    /// Targets with their ports, priorities and weights.
    Srv,
}

/// `type: multi`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MultiConfig {
    /// `method`.
    pub method: Combine,
    /// `watchers[]`: each with its `name`, in the file's order.
    pub watchers: Vec<(String, WatcherConfig)>,
    /// `patience`: how long a source without an answer is awaited before it is skipped.
    pub patience: Duration,
}

/// How several sources make one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Combine {
    /// The servers of all.
    Union,
    /// Those of the first that has any.
    Sequential,
}
