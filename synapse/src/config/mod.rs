//! The resolved configuration: nothing in it is a default waiting to be applied, a string waiting to be parsed or a
//! range waiting to be checked. Built by `resolve` from Go-Synapse's keys and ours.

mod panic_threshold;
mod resolve;
mod selection;
mod source;
mod watcher;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use common::config::{Document, Loaded, Problems, UnknownKeys};
use common::ratio::PerMille;

pub use panic_threshold::{Below, PanicThreshold, Then};
pub use selection::{
    Condition, Correlation, DefaultServer, LabelFilter, LocalZone, Pattern, Scope, SelectionConfig, ServerSort,
    Weights, ZoneConfig, ZonePolicy, default_servers,
};
pub use source::Source;
pub use watcher::{Combine, DnsConfig, MultiConfig, Question, Record, WatcherConfig, ZookeeperConfig};

/// All of synapse's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `logLevel`.
    pub log_level: String,
    /// `logFormat`: `text` or `json`.
    pub log_format: common::telemetry::log::Format,
    /// `apiHost`, `apiPort`, `apiSocket`.
    pub api: common::http::Listen,
    /// `probes`: listen address of the probe endpoints; disabled when `None`.
    pub probes: Option<common::http::ProbesConfig>,
    /// `stopDelay` and `shutdownTimeout`.
    pub stop: StopConfig,
    /// `snapshotPath`: the file of the sources' last content; `None` when there is no directory for it.
    pub snapshot_path: Option<PathBuf>,
    /// `routers[]`, in the file's order.
    pub routers: Vec<RouterConfig>,
    /// The configuration in effect, for people, without secrets: JSON as text.
    pub effective: Arc<str>,
}

/// What a stop takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StopConfig {
    /// `stopDelay`: how long synapse goes on after the first signal.
    pub delay: Duration,
    /// `shutdownTimeout`: how long it may take then, in all.
    pub timeout: Duration,
}

/// Understands a parsed file. `base` is the directory that relative paths in it start from.
pub fn resolve(document: &Document, unknown: UnknownKeys, base: &Path) -> Result<Loaded<Config>, Problems> {
    let mut loaded = document.resolve(unknown, |root| resolve::root(root, base))?;
    loaded.value.effective = Arc::clone(&loaded.effective);
    Ok(loaded)
}

/// One router and the services it serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouterConfig {
    /// How it takes its time. Membership does not wait for it in HAProxy: that goes through the runtime API at once.
    pub pace: PaceConfig,
    /// `services[]`, in the file's order.
    pub services: Arc<Vec<ServiceConfig>>,
    /// By `type`.
    pub kind: RouterKind,
}

/// When a router applies what is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PaceConfig {
    /// `eventsBufferDurationInMilli`: nothing must have changed for this long.
    pub buffer: Duration,
    /// `eventsBufferMaxDuration`: but no change waits longer than this.
    pub max_buffer: Duration,
    /// `applyBudget`; none for a router that may apply as often as it has to.
    pub budget: Option<ApplyBudget>,
    /// `reloadJitter`: the longest a reload that all hosts may need at one moment is put off here.
    pub jitter: Duration,
}

/// `applyBudget`: how often changes are applied at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApplyBudget {
    /// `applies`: in any span of `per`; at least 1.
    pub applies: usize,
    /// `per`.
    pub per: Duration,
}

/// What a router does with its services.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouterKind {
    /// Prints changes.
    Console,
    /// Writes a file from a template.
    Template(TemplateConfig),
    /// Writes a file for each service.
    FileOutput(FileOutputConfig),
    /// Keeps an HAProxy right.
    Haproxy(Box<HaproxyConfig>),
}

/// `type: template`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateConfig {
    /// `template` or `templateFile`.
    pub source: TemplateSource,
    /// `destinationFile`.
    pub destination: PathBuf,
    /// `destinationFileMode`: its permission bits.
    pub mode: u32,
    /// `postTemplateCommand[]`; empty for none.
    pub command: Vec<String>,
    /// `postTemplateCommandTimeoutInMilli`.
    pub command_timeout: Duration,
    /// `reconcileInterval`: how often the file is compared with its desired content.
    pub reconcile_interval: Duration,
}

/// Where a template's text is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplateSource {
    /// `template`: in the configuration.
    Text(String),
    /// `templateFile`: read when the router is built.
    File(PathBuf),
}

/// `type: file_output`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileOutputConfig {
    /// `outputDirectory`.
    pub directory: PathBuf,
    /// The names of the services that have a file, by id: all but those with `fileOutput: {disabled: true}`.
    pub files: BTreeMap<String, String>,
    /// `purgeUnknown`: whether `*.json` that this router did not write go too.
    pub purge_unknown: bool,
    /// `reconcileInterval`: how often the files are compared with their desired content.
    pub reconcile_interval: Duration,
}

/// `type: haproxy`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HaproxyConfig {
    /// `configPath`: the file, always equal to the desired state.
    pub config_path: PathBuf,
    /// How HAProxy is started and reloaded.
    pub control: HaproxyControl,
    /// The stats socket of `global[]`, or our own next to the file in managed mode.
    pub stats_socket: PathBuf,
    /// `reloadMinIntervalInMilli`: no two reloads are closer than this.
    pub reload_min_interval: Duration,
    /// `startWait`: how long the first file waits for services whose watchers have not answered; then they keep what the
    /// file on disk has for them, or start with their default servers.
    pub start_wait: Duration,
    /// `reconcileInterval`: how often the live process is compared with the desired state.
    pub reconcile_interval: Duration,
    /// `global[]`, lines as written.
    pub global: Vec<String>,
    /// `defaults[]`.
    pub defaults: Vec<String>,
    /// `extraSections{}`, `listen{}`, `frontend{}` and `backend{}`.
    pub extra_sections: Vec<ExtraSection>,
    /// `sharedFrontend[]`: the first lines of the frontend that services share; `None` when there is none.
    pub shared_frontend: Option<Vec<String>>,
    /// `haproxyServerOptionsPolicy`.
    pub options_policy: OptionsPolicy,
    /// `servers`.
    pub servers: ServersMode,
    /// Where the health of the servers is laid down for the next worker; `None` when the operator has decided otherwise.
    pub state_file: Option<PathBuf>,
}

/// The name of the frontend that services share, as in Airbnb's synapse.
pub const SHARED_FRONTEND: &str = "shared-frontend";

/// A section of the operator's own in haproxy.cfg.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtraSection {
    /// Its first line, e.g. `listen stats`.
    pub title: String,
    /// The others.
    pub lines: Vec<String>,
}

/// What becomes of the `haproxy_server_options` of a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OptionsPolicy {
    /// What is on the allow-list is taken.
    #[default]
    Strict,
    /// Everything that stays on its line is accepted, except the keywords that synapse sets itself.
    Legacy,
    /// Nothing is.
    Ignore,
}

/// How HAProxy gets a new server while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ServersMode {
    /// As the version that runs does it best.
    #[default]
    Auto,
    /// Into one of the spare servers of its file.
    Slots,
    /// Made when it comes and deleted when it has left, which takes HAProxy 3.0.
    Dynamic,
}

/// Which program owns the HAProxy process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HaproxyControl {
    /// synapse starts it in a process group of its own, watches it and reloads it through the master socket: when
    /// there is no `reloadCommand`.
    Managed {
        /// `runHaproxy`: whether synapse starts it. Otherwise `synapse haproxy` does, perhaps in another container, and
        /// nothing is known of the process but its replies on its sockets.
        run: bool,
        /// `haproxyProgram`, default `haproxy`.
        program: String,
        /// The master's command socket, next to the configuration file.
        master_socket: PathBuf,
        /// `stopOnExit`: whether a clean stop of synapse stops HAProxy too (softly). Default no: HAProxy outlives
        /// synapse, and the next synapse adopts it.
        stop_on_exit: bool,
    },
    /// Another program runs it; `reloadCommand[]` reloads (or starts) it.
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
    /// The name of its frontend and backend: `<name>_<n>` as in the original, `n` counted from 1 through the whole file,
    /// or `haproxy.backendName`. No other service of the file has it.
    pub id: String,
    /// `name`, or made from the watcher's path.
    pub name: String,
    /// Where its servers come from.
    pub watcher: WatcherConfig,
    /// Which of those it uses.
    pub selection: SelectionConfig,
    /// `serverOptions`: the operator's, a Go template over one server, appended to each server line.
    pub server_options: String,
    /// `routerOptions.frontend[]`, after the lines that `haproxy` stands for.
    pub frontend: Vec<String>,
    /// `routerOptions.backend[]`, the same.
    pub backend: Vec<String>,
    /// `haproxy`, as far as it is not in these lines by now.
    pub haproxy: ServiceHaproxy,
    /// `guard`.
    pub guard: Guard,
}

impl ServiceConfig {
    /// Whether a decision depends on the health that the proxy reports.
    pub fn goes_by_health(&self) -> bool {
        self.selection.goes_by_health() || self.haproxy.panic_threshold.is_some()
    }
}

/// `guard`: when a removal by the registry is doubted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guard {
    /// `policy`.
    pub policy: GuardPolicy,
    /// `share`: more than this of the service has to go within `window`...
    pub share: PerMille,
    /// `least`: ...and at least so many.
    pub least: usize,
    /// `window`.
    pub window: Duration,
    /// `settle`: how long removals are held back after a source has reconnected.
    pub settle: Duration,
    /// `holdTime`: how long an instance is held at most.
    pub hold_time: Duration,
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            policy: GuardPolicy::Hold,
            share: PerMille::from_percent(50),
            least: 3,
            window: Duration::from_secs(30),
            settle: Duration::from_secs(30),
            hold_time: Duration::from_mins(5),
        }
    }
}

/// What is done about a vanishing that is doubted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuardPolicy {
    /// The instances stay in rotation for a while.
    Hold,
    /// They go, and the service's default servers help those that are left.
    Defaults,
    /// None: removals by the registry apply at once.
    Trust,
}

/// Additions of `haproxy` of a service to its lines.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServiceHaproxy {
    /// `cookieValue`; an HTTP backend alone has cookies.
    pub cookie: Option<CookieValue>,
    /// `sharedFrontend[]`: its lines in the frontend that services share.
    pub shared_frontend: Vec<String>,
    /// `panic` of the service.
    pub panic_threshold: Option<PanicThreshold>,
}

/// What a server's cookie is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CookieValue {
    /// The server's own name, `<name>_<ip>:<port>`.
    Name,
    /// The SHA-1 of it, which reveals nothing to clients.
    Hash,
}

/// The address of the API when none is configured.
pub const DEFAULT_API: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 3455);

/// The port of `probes` when none is configured.
pub const DEFAULT_PROBES_PORT: u16 = 3459;
