//! The resolved configuration: nothing in it is a default waiting to be applied, a string waiting to be parsed or a
//! range waiting to be checked. Built by `resolve` from Go-Synapse's keys and ours.

mod resolve;
mod source;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use common::config::{Document, Problems, Understood, UnknownKeys};

pub use source::Source;

/// All of synapse's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `logLevel`.
    pub log_level: String,
    /// `logFormat`: `text` or `json`.
    pub log_json: bool,
    /// `apiHost`, `apiPort`, `apiSocket`.
    pub api: common::http::Listen,
    /// `shutdownTimeout`: how long a stop may take in all.
    pub shutdown_timeout: Duration,
    /// `routers[]`, in the file's order.
    pub routers: Vec<RouterConfig>,
    /// The configuration in effect, for people, without secrets.
    pub effective: Arc<serde_json::Value>,
}

/// Understands a parsed file. `base` is the directory that relative paths in it start from.
pub fn understand(document: &Document, unknown: UnknownKeys, base: &Path) -> Result<Understood<Config>, Problems> {
    let mut understood = document.understand(unknown, |root| resolve::root(root, base))?;
    understood.value.effective = Arc::new(std::mem::take(&mut understood.effective));
    Ok(understood)
}

/// One router and the services it serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouterConfig {
    /// `eventsBufferDurationInMilli`: how long changes are gathered before a reload (HAProxy) or a print (console).
    /// Membership does not wait for it in HAProxy: that goes through the runtime API at once.
    pub events_buffer: Duration,
    /// `services[]`, in the file's order.
    pub services: Vec<ServiceConfig>,
    /// By `type`.
    pub kind: RouterKind,
}

/// What a router does with its services.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouterKind {
    /// Prints changes.
    Console,
    /// Keeps an HAProxy right.
    Haproxy(Box<HaproxyConfig>),
}

/// `type: haproxy`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HaproxyConfig {
    /// `configPath`: the file, always equal to the desired state.
    pub config_path: PathBuf,
    /// Who starts and reloads HAProxy.
    pub control: HaproxyControl,
    /// The stats socket of `global[]`, or our own next to the file in managed mode.
    pub stats_socket: PathBuf,
    /// `reloadMinIntervalInMilli`: no two reloads are closer than this.
    pub reload_min_interval: Duration,
    /// `startWait`: how long the first file waits for services whose watchers have not answered; then they keep what the
    /// file on disk has for them, or start without servers.
    pub start_wait: Duration,
    /// `reconcileInterval`: how often the live process is compared with the desired state, whatever happens.
    pub reconcile_interval: Duration,
    /// `global[]`, lines as written.
    pub global: Vec<String>,
    /// `defaults[]`.
    pub defaults: Vec<String>,
    /// `listen{}`: name and lines.
    pub listen: Vec<(String, Vec<String>)>,
    /// `frontend{}`.
    pub frontend: Vec<(String, Vec<String>)>,
    /// `backend{}`.
    pub backend: Vec<(String, Vec<String>)>,
}

/// Who owns the HAProxy process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HaproxyControl {
    /// synapse starts it in a process group of its own, watches it and reloads it through the master socket: when
    /// there is no `reloadCommand`.
    Managed {
        /// `haproxyProgram`, default `haproxy`.
        program: String,
        /// The master's command socket, next to the configuration file.
        master_socket: PathBuf,
        /// `stopOnExit`: whether a clean stop of synapse stops HAProxy too (softly). Default no: HAProxy outlives
        /// synapse, and the next synapse adopts it.
        stop_on_exit: bool,
    },
    /// Someone else runs it; `reloadCommand[]` reloads (or starts) it.
    External {
        /// `reloadCommand[]`, run with `HAP_CONFIG` set to the configuration file.
        reload_command: Vec<String>,
        /// `reloadTimeoutInMilli`.
        reload_timeout: Duration,
        /// `cleanupCommand[]`, run after each reload; empty for none.
        cleanup_command: Vec<String>,
        /// `cleanupTimeoutInMilli`.
        cleanup_timeout: Duration,
        /// `haproxyProgram`: checks the candidate file before it takes the file's place.
        program: String,
    },
}

/// One service of a router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceConfig {
    /// `<name>_<n>`, `n` counted from 1 through the whole file: the name of its frontend and backend, as in the original.
    pub id: String,
    /// `name`, or made from the watcher's path.
    pub name: String,
    /// Where its servers come from.
    pub watcher: WatcherConfig,
    /// `serverSort`.
    pub sort: ServerSort,
    /// `serverCorrelation`.
    pub correlation: Option<Correlation>,
    /// `serverOptions`: the operator's, a Go template over one server, appended to each server line.
    pub server_options: String,
    /// `routerOptions.frontend[]`.
    pub frontend: Vec<String>,
    /// `routerOptions.backend[]`.
    pub backend: Vec<String>,
}

/// `watcher`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatcherConfig {
    /// `type: zookeeper`.
    Zookeeper {
        /// `hosts[]`, and `timeoutInMilli` or `sessionTimeout`.
        ensemble: common::zk::session::EnsembleConfig,
        /// `path`.
        path: String,
    },
}

/// `serverSort`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerSort {
    /// An order of this host's own, the same at each start.
    Random,
    /// By name, then address.
    Name,
    /// By the registration's creation.
    Date,
}

/// `serverCorrelation: {type: excludeServer, scope: first}`: leaves out the server that another service of the same
/// router has in the first place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Correlation {
    /// `otherServiceName`.
    pub other_service: String,
}

/// The address of the API when none is configured.
pub const DEFAULT_API: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 3455);
