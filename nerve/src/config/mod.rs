//! The configuration as the daemon uses it: no `Option` that means "default", every range already checked.
//!
//! [`Source::load`] reads a file: environment templates first, then `resolve` reads each key where it is used.

pub mod conditions;
pub mod data_source;
mod expand;
mod resolve;
mod source;
pub mod warmup_shape;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use common::process::Program;
use common::report::Dialect;
use common::telemetry::log::Format;
use common::tls::TlsOptions;
use common::zk::node::NodeConfig;
use common::zk::session::EnsembleConfig;

use crate::config::warmup_shape::Shape;
use crate::health::verdict::Importance;
pub use resolve::check::amqp::AmqpConfig;
pub use resolve::check::exec::ExecConfig;
pub use resolve::check::file::FileConfig;
pub use resolve::check::grpc::GrpcConfig;
pub use resolve::check::http::HttpConfig;
pub use resolve::check::kubernetes::KubernetesConfig;
pub use resolve::check::login::LoginConfig;
pub use resolve::check::memcached::MemcachedConfig;
pub use resolve::check::proxyhttp::ProxyHttpConfig;
pub use resolve::check::push::PushConfig;
pub use resolve::check::redis::RedisConfig;
pub use resolve::check::sql::SqlConfig;
pub use resolve::check::status::StatusSet;
pub use resolve::check::tcp::{TcpConfig, TcpMode};
pub use resolve::check::zookeeper::ZookeeperCheckConfig;
pub use resolve::resolve;
pub use source::Source;

/// The whole daemon.
#[derive(Debug, Clone)]
pub struct Config {
    /// The log level, when the command line has none.
    pub log_level: String,
    /// How log lines look.
    pub log_format: Format,
    /// Where the API listens.
    pub api: ApiAddress,
    /// Listen address of the pre-stop hooks; disabled when `None`.
    pub hooks: Option<HooksConfig>,
    /// Listen address of the probe endpoints; disabled when `None`.
    pub probes: Option<common::http::ProbesConfig>,
    /// The deadline of the whole stop sequence; longer than every service's disable sequence.
    pub shutdown_timeout: Duration,
    /// Where nerve keeps what outlives it; `None`: nowhere.
    pub state_dir: Option<PathBuf>,
    /// hacheck's spool directory.
    pub hacheck_spool: Option<PathBuf>,
    /// The configuration in effect, for people, without secrets.
    pub effective: Arc<str>,
    /// Whether `GET` may disable, enable and weigh, as it may in Go-Nerve.
    pub legacy_get_mutations: bool,
    /// The services, in the file's order; names are unique.
    pub services: Vec<Arc<ServiceConfig>>,
}

/// Where the API listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApiAddress {
    /// A literal address or a name that is resolved once, at start.
    Tcp {
        /// The host.
        host: String,
        /// The port.
        port: u16,
    },
    /// A Unix socket.
    Unix(PathBuf),
}

/// Where hooks are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HooksConfig {
    /// A literal address or a name that is resolved once, at start.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// One service instance.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceConfig {
    /// Its name: unique, without `/` and control characters.
    pub name: String,
    /// The announced host: as it was configured, or as `advertise` found it.
    pub host: String,
    /// The announced port.
    pub port: u16,
    /// The weight of a warm instance, 1 to 255.
    pub weight: u8,
    /// `name` in the report.
    pub report_name: String,
    /// HAProxy server keywords, passed on.
    pub haproxy_server_options: String,
    /// Free labels, passed on.
    pub labels: BTreeMap<String, String>,
    /// How long after a failed report a file or console reporter tries again.
    pub report_replay: Duration,
    /// Whether a stop runs the disable sequence.
    pub down_on_shutdown: bool,
    /// Whether the global disable, enable and weight pass this service by.
    pub exclude_from_global: bool,
    /// Whether this service stays out of the metrics.
    pub no_metrics: bool,
    /// What happens between up and down.
    pub lifecycle: LifecycleConfig,
    /// Its checks; never empty. All must pass.
    pub checks: Vec<Arc<CheckConfig>>,
    /// Where it is reported; never empty.
    pub reporters: Vec<ReporterConfig>,
}

/// What happens between up and down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LifecycleConfig {
    /// Run before the service is announced.
    pub pre_available: Option<PreAvailable>,
    /// The weight ramp; `None` is full weight at once.
    pub warm_up: Option<WarmUpConfig>,
    /// How a service is disabled.
    pub disable: DisableConfig,
}

/// What runs before a service is announced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreAvailable {
    /// What is run.
    pub program: Program,
    /// How long after its failure it is run again, the service staying away meanwhile; `None`: its failure is only
    /// logged.
    pub retry: Option<Duration>,
}

/// The weight ramp.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WarmUpConfig {
    /// The time of one step.
    pub interval: Duration,
    /// After this the weight is full in any case.
    pub max: Duration,
    /// How the weight grows.
    pub shape: Shape,
    /// Run all along; while it fails the weight does not grow.
    pub stable: Option<Repeated>,
    /// What else its failure does.
    pub unstable: Unstable,
}

/// What the stability command's failure does to the weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unstable {
    /// It falls back to the first step, as in Go-Nerve.
    Reset,
    /// It stays as it is.
    Hold,
}

/// How a service is disabled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DisableConfig {
    /// Run first, when the daemon stops.
    pub shutdown: Option<Program>,
    /// Run until it succeeds.
    pub gracefully_done: Option<Repeated>,
    /// `gracefully_done` gets no longer than this.
    pub max: Duration,
    /// The sequence takes no less than this.
    pub min: Duration,
}

/// A program run again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repeated {
    /// What is run.
    pub program: Program,
    /// The pause between two runs.
    pub interval: Duration,
}

/// One check of a service.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckConfig {
    /// The kind of probe and its settings.
    pub kind: CheckKind,
    /// A literal address or a name that is resolved at each probe.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Whether IPv4 addresses of a name are tried first.
    pub prefer_ipv4: bool,
    /// The deadline of one probe.
    pub timeout: Duration,
    /// The time from the start of one probe to the start of the next.
    pub interval: Duration,
    /// Passes in a row that bring a failing check up.
    pub rise: u32,
    /// Failures in a row that bring a passing check down.
    pub fall: u32,
    /// What its failure does.
    pub importance: Importance,
}

/// A kind of check with its settings.
#[derive(Debug, Clone, PartialEq)]
pub enum CheckKind {
    /// A message's way through a queue.
    Amqp(AmqpConfig),
    /// The exit code of a program.
    Exec(ExecConfig),
    /// The standard health protocol of gRPC.
    Grpc(GrpcConfig),
    /// The answer to an HTTP request, over TLS or not.
    Http(HttpConfig),
    /// The readiness of a pod.
    Kubernetes(KubernetesConfig),
    /// URLs through an HTTP proxy.
    ProxyHttp(ProxyHttpConfig),
    /// The age of a file.
    File(FileConfig),
    /// The version or the statistics of a memcached.
    Memcached(MemcachedConfig),
    /// Nothing: it always passes.
    Noop,
    /// Reports of the service itself.
    Push(PushConfig),
    /// A `PING`.
    Redis(RedisConfig),
    /// A query.
    Sql(SqlConfig),
    /// A connection.
    Tcp(TcpConfig),
    /// Whether a ZooKeeper server is well, or its statistics.
    Zookeeper(ZookeeperCheckConfig),
}

impl CheckKind {
    /// The `type` in the configuration, `/status` and the metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Amqp(_) => "amqp",
            Self::Exec(_) => "exec",
            Self::Grpc(_) => "grpc",
            Self::Http(HttpConfig { tls: None, .. }) => "http",
            Self::Http(_) => "https",
            Self::Kubernetes(_) => "kubernetes",
            Self::ProxyHttp(_) => "proxyhttp",
            Self::File(_) => "file",
            Self::Memcached(_) => "memcached",
            Self::Noop => "noop",
            Self::Push(_) => "push",
            Self::Redis(_) => "redis",
            Self::Sql(_) => "sql",
            Self::Tcp(_) => "tcp",
            Self::Zookeeper(_) => "zookeeper",
        }
    }

    /// How it speaks TLS, if it may.
    pub fn tls(&self) -> Option<&TlsOptions> {
        match self {
            Self::Exec(_) | Self::File(_) | Self::Noop | Self::Push(_) | Self::Tcp(_) => None,
            Self::Amqp(amqp) => amqp.tls.as_ref(),
            Self::Memcached(memcached) => memcached.login.tls.as_ref(),
            Self::Redis(redis) => redis.login.tls.as_ref(),
            Self::Sql(sql) => sql.tls.as_ref(),
            Self::Zookeeper(zookeeper) => zookeeper.login.tls.as_ref(),
            Self::Grpc(grpc) => grpc.tls.as_ref(),
            Self::Http(http) => http.tls.as_ref(),
            Self::Kubernetes(pod) => Some(&pod.tls),
            Self::ProxyHttp(proxy) => Some(&proxy.tls),
        }
    }
}

impl CheckConfig {
    /// What is probed, for people.
    pub fn target(&self) -> String {
        match &self.kind {
            CheckKind::Amqp(amqp) => amqp.shown.clone(),
            CheckKind::Exec(exec) => exec.argv.first().cloned().unwrap_or_default(),
            CheckKind::Grpc(grpc) => format!("{}/{}", self.authority(), grpc.service),
            CheckKind::Http(http) => {
                let scheme = http.uri.scheme_str().unwrap_or_default();
                let path = http.uri.path_and_query().map_or("/", |path| path.as_str());
                format!("{scheme}://{}{path}", self.authority())
            }
            CheckKind::Kubernetes(pod) => {
                let container = pod
                    .container
                    .as_ref()
                    .map(|name| format!("/{name}"))
                    .unwrap_or_default();
                format!("{}/{}{container}", pod.namespace, pod.pod_name)
            }
            CheckKind::ProxyHttp(proxy) => authority(&proxy.host, proxy.port),
            CheckKind::File(file) => file.path.display().to_string(),
            CheckKind::Memcached(_) | CheckKind::Redis(_) | CheckKind::Tcp(_) | CheckKind::Zookeeper(_) => {
                self.authority()
            }
            CheckKind::Noop => String::new(),
            CheckKind::Push(push) => push.name.clone(),
            CheckKind::Sql(sql) => sql.shown.clone(),
        }
    }

    /// `host:port`, an IPv6 address in brackets.
    pub fn authority(&self) -> String {
        authority(&self.host, self.port)
    }
}

/// `host:port`, an IPv6 address in brackets.
pub(crate) fn authority(host: &str, port: u16) -> String {
    let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
    format!("{open}{host}{close}:{port}")
}

/// Where a service is reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReporterConfig {
    /// A node of ZooKeeper.
    Zookeeper(Box<ZookeeperConfig>),
    /// A file.
    File {
        /// Its path.
        path: PathBuf,
        /// Whether reports are added instead of replacing each other.
        append: bool,
    },
    /// Standard output.
    Console,
}

impl ReporterConfig {
    /// The `type` in the configuration, `/status` and the metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Zookeeper(_) => "zookeeper",
            Self::File { .. } => "file",
            Self::Console => "console",
        }
    }
}

/// A node of ZooKeeper that stands for the instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZookeeperConfig {
    /// The ensemble; equal ones share a session.
    pub ensemble: EnsembleConfig,
    /// The node, below the chroot.
    pub node: NodeConfig,
    /// What its bytes look like.
    pub payload: Dialect,
    /// Whether an unavailable instance keeps its node, with the word that it is not available.
    pub expose_on_unavailable: bool,
}

/// The host of a service, a check or the API that names none.
pub(crate) const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

#[cfg(test)]
pub(crate) mod testing {
    use common::config::{Loaded, UnknownKeys};

    use super::*;

    /// What a document means; its problems as text.
    pub(crate) fn read(text: &str) -> Result<Loaded<Config>, String> {
        common::config::Document::parse("nerve.yaml", text.to_owned())
            .and_then(|document| document.resolve(UnknownKeys::Refuse, resolve))
            .map_err(|problems| problems.to_string())
    }

    /// One service of a good configuration.
    pub(crate) fn service(text: &str) -> Arc<ServiceConfig> {
        let config = read(&format!("services: [{text}]"))
            .expect("a good configuration")
            .value;
        Arc::clone(&config.services[0])
    }
}
