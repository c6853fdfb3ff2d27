//! Keeps HAProxy exactly as desired, and reports it only when HAProxy has confirmed it.
//!
//! ```text
//! Desired ─▶ desired ─▶ slots ─▶ plan ─┬─▶ runtime commands ─▶ read back ─▶ file
//!                       ▲            └─▶ candidate ─▶ haproxy -c ─▶ rename ─▶ reload ─▶ verdict
//!                       └──── what HAProxy says it is (pid, structure, servers)
//! ```
//!
//! What an operator should know of it is in synapse's reference, under "How HAProxy is driven".
//!
//! # Invariants
//!
//! - Membership goes through the runtime API at once; a reload is for structure alone, has a reason, and never holds up
//!   a change that needs none.
//! - Applied means read back. What differs is repaired, at the latest by the look every `reconcileInterval`.
//! - The file on disk restarts HAProxy into the desired state at any time; it is replaced whole or not at all.
//! - HAProxy outlives synapse; the next synapse changes nothing that is right.
//! - A service HAProxy refuses is left out while the rest goes on.

mod actor;
mod cfg;
mod plan;
mod preview;
mod process;
mod runtime;
mod status;

#[cfg(any(test, fuzzing))]
#[path = "../../tests/fuzz/haproxy/mod.rs"]
pub mod fuzz;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use common::exit::Fatal;
use common::file::Lock;
use common::process::{Outcome, Program};
use common::ready::Latch;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::{ApplyBudget, HaproxyConfig, HaproxyControl, PaceConfig, ServersMode, ServiceConfig};
use crate::desired::{Server, default_servers};

use crate::router::Locks;
use crate::router::scheduler::ApplyScheduler;
pub use actor::Channels;
use actor::state::State;
use actor::state::dynamic::Capabilities;
use actor::{Actor, Request, Shared, UnderWay};
use cfg::render::{self, ConfigTemplate};
use plan::options::OperatorOptions;
pub use plan::reason::LABELS as RELOAD_REASONS;
pub use preview::{Preview, preview};
use process::master::{Control, with_suffix};
use process::reload::Engine;
use process::validate::Checker;
use runtime::parse;
pub use runtime::parse::ServerStatistics;
pub use status::{HaproxyStatus, LastReload, PanicThresholdStatus, ReloadCount, ServerStatus, ServiceStatus};

/// The oldest HAProxy with the runtime API and the reload this relies on.
const OLDEST: (u32, u32) = (2, 6);
/// The newest that takes a frontend and a backend of one name, as the originals' services are named.
const NEWEST: (u32, u32) = (3, 2);
/// How long `haproxy -v` may take.
const VERSION_TIMEOUT: Duration = Duration::from_secs(10);

/// A handle to a router: what it shows, and a reload by hand.
#[derive(Clone, Debug)]
pub struct Haproxy {
    shared: Arc<Shared>,
    requests: mpsc::Sender<Request>,
    /// Whether HAProxy is stopped when the task ends, if it is ours to stop.
    stop_on_exit: Arc<AtomicBool>,
}

/// The task behind a handle.
#[derive(Debug)]
#[must_use = "nothing happens until the task runs"]
pub struct HaproxyTask {
    actor: Actor,
    _lock: Arc<Lock>,
}

impl Haproxy {
    /// The state as of the last step.
    pub fn status(&self) -> Arc<HaproxyStatus> {
        self.shared.status.load_full()
    }

    /// The file as it should be on disk; empty before HAProxy was first seen.
    pub fn rendered(&self) -> String {
        self.shared.rendered.load().as_str().to_owned()
    }

    /// The task is about to end: HAProxy runs on for an successor, or, without one, is stopped if synapse runs it.
    pub fn leave(&self, has_successor: bool) {
        self.stop_on_exit.store(!has_successor, Ordering::Relaxed);
    }

    /// Reloads HAProxy and waits for its verdict. An error is for the operator.
    pub async fn reload(&self) -> Result<(), String> {
        let gone = || "synapse is stopping".to_owned();
        let (reply, verdict) = oneshot::channel();
        self.requests.send(reply).await.map_err(|_| gone())?;
        verdict.await.unwrap_or_else(|_| Err(gone()))
    }

    #[cfg(test)]
    pub(crate) fn showing(status: HaproxyStatus) -> Self {
        Self {
            shared: Arc::new(Shared {
                status: ArcSwap::from_pointee(status),
                rendered: ArcSwap::default(),
            }),
            requests: mpsc::channel(1).0,
            stop_on_exit: Arc::default(),
        }
    }
}

impl HaproxyTask {
    /// Runs until `stop`; HAProxy goes on, unless `stopOnExit`.
    pub async fn run(self, stop: CancellationToken) {
        let Self { actor, _lock } = self;
        actor.run(stop).await;
    }
}

/// The command line of an HAProxy that synapse drives and does not run itself (`runHaproxy: false`).
pub fn kept_elsewhere(config: &HaproxyConfig) -> Option<[String; 7]> {
    match engine(config).0 {
        Engine::Managed(control) if !control.run => Some(control.argv()),
        Engine::Managed(_) | Engine::External { .. } => None,
    }
}

/// Whether another configuration needs another file in HAProxy, whoever its servers are.
pub fn differs_in_structure(
    (was, services_before): (&HaproxyConfig, &[ServiceConfig]),
    (is, services): (&HaproxyConfig, &[ServiceConfig]),
) -> bool {
    let options = |services: &[ServiceConfig]| -> BTreeMap<String, String> {
        services
            .iter()
            .map(|service| (service.id.clone(), service.server_options.clone()))
            .collect()
    };
    was.servers != is.servers
        || ConfigTemplate::new(was, services_before) != ConfigTemplate::new(is, services)
        || options(services_before) != options(services)
}

/// Checks what a router of HAProxy needs on this machine: the program, the directory of the file, and to be the only one
/// there. Starts nothing. `first_apply` is dropped when HAProxy was seen to be
/// as desired for the first time.
pub async fn build(
    config: HaproxyConfig,
    services: Arc<Vec<ServiceConfig>>,
    pace: PaceConfig,
    links: Channels,
    first_apply: Latch,
    locks: &mut Locks,
) -> Result<(Haproxy, HaproxyTask), Fatal> {
    let (HaproxyControl::Managed { program, .. } | HaproxyControl::External { program, .. }) = &config.control;
    let program = program.clone();
    let version = version(&program).await?;
    let capabilities = capabilities(&config, &program, &version)?;
    let lock = lock(&config.config_path, locks)?;
    let Operators { options, defaults } = Operators::of(&config, &services)?;
    let managed = matches!(config.control, HaproxyControl::Managed { .. });
    let (engine, stop_on_exit) = engine(&config);
    let stop_on_exit = Arc::new(AtomicBool::new(stop_on_exit));
    let checker = Checker {
        program,
        path: with_suffix(&config.config_path, ".candidate"),
        mode: mode(&config.config_path, managed),
    };
    let frame = Arc::new(ConfigTemplate::new(&config, &services));
    let status = HaproxyStatus {
        control: if managed { "managed" } else { "external" },
        version,
        ..HaproxyStatus::default()
    };
    let shared = Arc::new(Shared {
        status: ArcSwap::from_pointee(status.clone()),
        rendered: ArcSwap::from_pointee(String::new()),
    });
    let pace = PaceConfig {
        budget: Some(ApplyBudget {
            applies: 1,
            per: config.reload_min_interval,
        }),
        ..pace
    };
    let (requests, receiver) = mpsc::channel(8);
    let actor = Actor {
        pace: ApplyScheduler::new(pace),
        under_way: UnderWay::new(Instant::now(), config.start_wait),
        config,
        engine,
        stop_on_exit: Arc::clone(&stop_on_exit),
        checker,
        shared: Arc::clone(&shared),
        links,
        requests: receiver,
        state: State::new(frame, capabilities, options, defaults),
        first_apply: Some(first_apply),
        status,
        statistics: parse::Statistics::new(),
    };
    let haproxy = Haproxy {
        shared,
        requests,
        stop_on_exit,
    };
    let task = HaproxyTask { actor, _lock: lock };
    Ok((haproxy, task))
}

/// What the operator says of the servers of each service.
struct Operators {
    options: BTreeMap<String, OperatorOptions>,
    defaults: BTreeMap<String, Vec<Server>>,
}

impl Operators {
    fn of(config: &HaproxyConfig, services: &[ServiceConfig]) -> Result<Self, Fatal> {
        let (mut all, mut defaults) = (BTreeMap::new(), BTreeMap::new());
        for service in services {
            defaults.insert(service.id.clone(), default_servers(&service.selection).collect());
            let http = render::is_http(&config.defaults, &service.backend);
            let cookie = service.haproxy.cookie.filter(|_| http);
            let mut options = OperatorOptions::with_cookie(&service.server_options, cookie)
                .map_err(|error| Fatal::config(format!("serverOptions of service {}: {error}", service.id)))?;
            options.policy = config.options_policy;
            all.insert(service.id.clone(), options);
        }
        Ok(Self { options: all, defaults })
    }
}

fn engine(config: &HaproxyConfig) -> (Engine, bool) {
    match &config.control {
        HaproxyControl::Managed {
            run,
            program,
            master_socket,
            stop_on_exit,
        } => {
            let control = Control {
                run: *run,
                program: program.clone(),
                socket: master_socket.clone(),
                config: config.config_path.clone(),
            };
            (Engine::Managed(control), *stop_on_exit)
        }
        HaproxyControl::External {
            reload_command,
            reload_timeout,
            cleanup_command,
            cleanup_timeout,
            ..
        } => {
            let command = |argv: &[String], timeout| Program {
                argv: argv.to_vec(),
                env: vec![("HAP_CONFIG".to_owned(), config.config_path.clone().into_os_string())],
                timeout,
            };
            let reload = command(reload_command, *reload_timeout);
            let cleanup = command(cleanup_command, *cleanup_timeout);
            (Engine::External { reload, cleanup }, false)
        }
    }
}

/// The program's version, as it says itself.
async fn version(program: &str) -> Result<String, Fatal> {
    if common::process::find(program).is_none() {
        return Err(Fatal::config(format!(
            "haproxyProgram: there is no program `{program}`, so no HAProxy can be checked or started. \
             Install HAProxy {}.{} or later, or say where it is.",
            OLDEST.0, OLDEST.1
        )));
    }
    let asked = Program {
        argv: vec![program.to_owned(), "-v".to_owned()],
        env: Vec::new(),
        timeout: VERSION_TIMEOUT,
    };
    let failed = |why: String| {
        Fatal::config(format!(
            "haproxyProgram: `{program} -v` does not tell the version of an HAProxy: {why}"
        ))
    };
    let output = match asked.run().await {
        Ok(Outcome::Success { output }) => output,
        Ok(Outcome::Failure { how, output }) => return Err(failed(format!("{how}: {}", output.trim()))),
        Err(error) => return Err(failed(error.to_string())),
    };
    let version = parse::version(&output).ok_or_else(|| failed(output.trim().to_owned()))?;
    if !(OLDEST..=NEWEST).contains(&parse::release(&version)) {
        return Err(Fatal::config(format!(
            "haproxyProgram: `{program}` is HAProxy {version}; one of {}.{} to {}.{} is needed.",
            OLDEST.0, OLDEST.1, NEWEST.0, NEWEST.1
        )));
    }
    Ok(version)
}

/// What the program can do with servers while it runs; an error if that is less than was asked for.
fn capabilities(config: &HaproxyConfig, program: &str, version: &str) -> Result<Capabilities, Fatal> {
    let program_supports_dynamic_servers = parse::release(version) >= parse::MIN_DYNAMIC_RELEASE;
    if config.servers == ServersMode::Dynamic && !program_supports_dynamic_servers {
        let (major, minor) = parse::MIN_DYNAMIC_RELEASE;
        return Err(Fatal::config(format!(
            "servers: dynamic: `{program}` is HAProxy {version}, and before {major}.{minor} servers that are made while it \
             runs are not safe. Install a later one, or use `servers: auto`."
        )));
    }
    Ok(Capabilities {
        mode: config.servers,
        program_supports_dynamic_servers,
    })
}

/// Takes the file's lock, which also shows that its directory can be written.
fn lock(path: &Path, locks: &mut Locks) -> Result<Arc<Lock>, Fatal> {
    let lock = with_suffix(path, ".lock");
    match locks.take(&lock) {
        Ok(Some(lock)) => Ok(lock),
        Ok(None) => Err(Fatal::config(format!(
            "configPath: another synapse keeps {} (it holds {}). Two would fight: stop it, or give this router another file.",
            path.display(),
            lock.display()
        ))),
        Err(error) => Err(Fatal::config(format!(
            "configPath: {error}. synapse writes {} and files with_suffix it: create its directory and let this user write there.",
            path.display()
        ))),
    }
}

/// The file's own mode if it is there. A file for an HAProxy that someone else runs is for others to read.
fn mode(path: &Path, managed: bool) -> u32 {
    let default = if managed { 0o600 } else { 0o644 };
    std::fs::metadata(path).map_or(default, |metadata| metadata.permissions().mode() & 0o777)
}
