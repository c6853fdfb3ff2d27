//! Keeps HAProxy exactly as desired, and reports it as applied only when HAProxy has confirmed it.
//!
//! ```text
//! Desired ─▶ slots ─▶ plan ─┬─▶ runtime commands ─▶ read back ─▶ file
//!              ▲            └─▶ candidate ─▶ haproxy -c ─▶ rename ─▶ reload ─▶ verdict
//!              └──── what HAProxy reports (pid, structure, servers)
//! ```
//!
//! The operator's view is in synapse's reference, under "How HAProxy is driven".
//!
//! # Invariants
//!
//! - Membership goes through the runtime API at once; a reload is for structure alone, has a reason, and never delays a
//!   change that needs none.
//! - Applied means read back. Differences are repaired, at the latest after `reconcileInterval`.
//! - The file on disk restarts HAProxy into the desired state at any time; it is replaced whole or not at all.
//! - HAProxy outlives synapse; the next synapse changes nothing that is right.
//! - A service HAProxy refuses is left out while the rest goes on.

mod actor;
mod cfg;
mod error;
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
use common::file::{Lock, with_suffix};
use common::process::{Outcome, Program};
use common::ready::Latch;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::default_servers;
use crate::config::{ApplyBudget, HaproxyConfig, HaproxyControl, PaceConfig, ServersMode, ServiceConfig};
use crate::router::Locks;
use crate::router::scheduler::ApplyScheduler;
pub use actor::Channels;
use actor::state::dynamic::Capabilities;
use actor::state::{ServiceState, State};
use actor::{Actor, Request, Shared, Timers, Work};
use cfg::render::{self, ConfigTemplate};
pub use error::HaproxyError;
use plan::Plan;
pub use plan::dynamic::Provisioning;
use plan::options::OperatorOptions;
pub use plan::reason::LABELS as RELOAD_REASONS;
pub use preview::{Preview, preview};
use process::master::Control;
use process::reload::ReloadMethod;
use process::validate::Checker;
use runtime::parse;
pub use runtime::parse::ServerStatistics;
pub use status::{
    ControlMode, HaproxyStatus, LastReload, PanicThresholdStatus, ReloadCount, ReloadResult, ServerPhase, ServerStatus,
    ServiceStatus,
};

/// The first release with the runtime API and the reload that are needed.
const MIN_RELEASE: (u32, u32) = (2, 6);
/// The last release that accepts a frontend and a backend of one name, as services of the originals have.
const MAX_RELEASE: (u32, u32) = (3, 2);
/// Time limit for `haproxy -v`.
const VERSION_TIMEOUT: Duration = Duration::from_secs(10);

/// A handle to a router: its status, and a reload on request.
#[derive(Clone, Debug)]
pub struct Haproxy {
    shared: Arc<Shared>,
    requests: mpsc::Sender<Request>,
}

/// The task behind a handle.
#[derive(Debug)]
#[must_use = "nothing happens until the task runs"]
pub struct HaproxyTask {
    actor: Actor,
    _lock: Arc<Lock>,
}

impl Haproxy {
    /// Returns the status as of the last step.
    pub fn status(&self) -> Arc<HaproxyStatus> {
        self.shared.status.load_full()
    }

    /// Returns the file as it should be on disk; empty before HAProxy was first observed.
    pub fn rendered(&self) -> String {
        self.shared.rendered.load().as_str().to_owned()
    }

    /// Makes HAProxy run on when the task ends, for a successor.
    pub fn detach(&self) {
        self.shared.stop_on_exit.store(false, Ordering::Relaxed);
    }

    /// Makes HAProxy stop when the task ends, if synapse runs it.
    pub fn stop(&self) {
        self.shared.stop_on_exit.store(true, Ordering::Relaxed);
    }

    /// Reloads HAProxy and waits for the result.
    pub async fn reload(&self) -> Result<(), Arc<HaproxyError>> {
        let gone = || Arc::new(HaproxyError::Aborted("synapse is stopping"));
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
                stop_on_exit: AtomicBool::default(),
            }),
            requests: mpsc::channel(1).0,
        }
    }
}

impl HaproxyTask {
    /// Runs until `stop`; HAProxy runs on, unless `stopOnExit`.
    pub async fn run(self, stop: CancellationToken) {
        let Self { actor, _lock } = self;
        actor.run(stop).await;
    }
}

/// Returns the command line of an HAProxy that synapse drives and does not run itself (`runHaproxy: false`).
pub fn kept_elsewhere(config: &HaproxyConfig) -> Option<[String; 7]> {
    match reload_method(config).0 {
        ReloadMethod::Managed(control) if !control.run => Some(control.argv()),
        ReloadMethod::Managed(_) | ReloadMethod::External { .. } => None,
    }
}

/// Whether another configuration needs another file in HAProxy, independent of its servers.
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

/// Builds a router of HAProxy; checks what it needs on this machine: the program, the directory of the file, and to be the
/// only one there. Starts nothing. `first_apply` is dropped when HAProxy was seen as desired for the first time.
pub async fn build(
    config: HaproxyConfig,
    services: Arc<Vec<ServiceConfig>>,
    pace: PaceConfig,
    channels: Channels,
    first_apply: Latch,
    locks: &mut Locks,
) -> Result<(Haproxy, HaproxyTask), Fatal> {
    let (state, checker, version) = prepare(&config, &services, ".candidate").await?;
    let lock = lock(&config.config_path, locks)?;
    let (method, stop_on_exit) = reload_method(&config);
    let status = HaproxyStatus {
        control: match method {
            ReloadMethod::Managed(_) => ControlMode::Managed,
            ReloadMethod::External { .. } => ControlMode::External,
        },
        version,
        ..HaproxyStatus::default()
    };
    let shared = Arc::new(Shared {
        status: ArcSwap::from_pointee(status.clone()),
        rendered: ArcSwap::default(),
        stop_on_exit: AtomicBool::new(stop_on_exit),
    });
    let budget = ApplyBudget {
        applies: 1,
        per: config.reload_min_interval,
    };
    let (requests, receiver) = mpsc::channel(8);
    let actor = Actor {
        scheduler: ApplyScheduler::new(PaceConfig {
            budget: Some(budget),
            ..pace
        }),
        work: Work::default(),
        timers: Timers::new(Instant::now(), config.start_wait),
        config: Arc::new(config),
        method,
        checker,
        shared: Arc::clone(&shared),
        channels,
        requests: receiver,
        state,
        plan: Plan::Nothing,
        first_apply: Some(first_apply),
        status,
        statistics: parse::Statistics::new(),
    };
    Ok((Haproxy { shared, requests }, HaproxyTask { actor, _lock: lock }))
}

/// Returns what a router and a dry run need: the initial state, the checker, and the version of the program. `candidate` is
/// the suffix of the file that is checked.
async fn prepare(
    config: &HaproxyConfig,
    services: &[ServiceConfig],
    candidate: &str,
) -> Result<(State, Checker, String), Fatal> {
    let (HaproxyControl::Managed { program, .. } | HaproxyControl::External { program, .. }) = &config.control;
    let version = version(program).await?;
    let checker = Checker {
        program: program.clone(),
        path: with_suffix(&config.config_path, candidate),
        mode: mode(config),
    };
    let state = State {
        template: Arc::new(ConfigTemplate::new(config, services)),
        capabilities: capabilities(config, program, &version)?,
        services: service_states(config, services)?,
        ..State::default()
    };
    Ok((state, checker, version))
}

/// The state of each service before its watcher has answered.
fn service_states(config: &HaproxyConfig, services: &[ServiceConfig]) -> Result<BTreeMap<String, ServiceState>, Fatal> {
    let state = |service: &ServiceConfig| {
        let http = render::is_http(&config.defaults, &service.backend);
        let cookie = service.haproxy.cookie.filter(|_| http);
        let mut operator = OperatorOptions::with_cookie(&service.server_options, cookie)
            .map_err(|error| Fatal::config(format!("serverOptions of service {}: {error}", service.id)))?;
        operator.policy = config.options_policy;
        let state = ServiceState {
            operator,
            defaults: default_servers(&service.selection).collect(),
            ..ServiceState::default()
        };
        Ok((service.id.clone(), state))
    };
    services.iter().map(state).collect()
}

/// The way of reloads, and whether HAProxy is stopped with synapse.
fn reload_method(config: &HaproxyConfig) -> (ReloadMethod, bool) {
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
            (ReloadMethod::Managed(control), *stop_on_exit)
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
            (ReloadMethod::External { reload, cleanup }, false)
        }
    }
}

/// The version that the program reports.
async fn version(program: &str) -> Result<String, Fatal> {
    if common::process::find(program).is_none() {
        return Err(Fatal::config(format!(
            "haproxyProgram: there is no program `{program}`, so no HAProxy can be checked or started. \
             Install HAProxy {}.{} or later, or set its path.",
            MIN_RELEASE.0, MIN_RELEASE.1
        )));
    }
    let command = Program {
        argv: vec![program.to_owned(), "-v".to_owned()],
        env: Vec::new(),
        timeout: VERSION_TIMEOUT,
    };
    let failed = |why: String| {
        Fatal::config(format!(
            "haproxyProgram: `{program} -v` does not report the version of an HAProxy: {why}"
        ))
    };
    let output = match command.run().await {
        Ok(Outcome::Success { output }) => output,
        Ok(Outcome::Failure { how, output }) => return Err(failed(format!("{how}: {}", output.trim()))),
        Err(error) => return Err(failed(error.to_string())),
    };
    let version = parse::version(&output).ok_or_else(|| failed(output.trim().to_owned()))?;
    if !(MIN_RELEASE..=MAX_RELEASE).contains(&parse::release(&version)) {
        return Err(Fatal::config(format!(
            "haproxyProgram: `{program}` is HAProxy {version}; one of {}.{} to {}.{} is needed.",
            MIN_RELEASE.0, MIN_RELEASE.1, MAX_RELEASE.0, MAX_RELEASE.1
        )));
    }
    Ok(version)
}

/// Whether the program supports dynamic servers; an error if they are required and it does not.
fn capabilities(config: &HaproxyConfig, program: &str, version: &str) -> Result<Capabilities, Fatal> {
    let program_supports_dynamic_servers = parse::release(version) >= parse::MIN_DYNAMIC_RELEASE;
    if config.servers == ServersMode::Dynamic && !program_supports_dynamic_servers {
        let (major, minor) = parse::MIN_DYNAMIC_RELEASE;
        return Err(Fatal::config(format!(
            "servers: dynamic: `{program}` is HAProxy {version}, and before {major}.{minor} servers added at runtime are not \
             safe. Install a later one, or use `servers: auto`."
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

/// The mode of the file if it exists. A file for an HAProxy of another supervisor is readable by others.
fn mode(config: &HaproxyConfig) -> u32 {
    let default = match config.control {
        HaproxyControl::Managed { .. } => 0o600,
        HaproxyControl::External { .. } => 0o644,
    };
    let metadata = std::fs::metadata(&config.config_path);
    metadata.map_or(default, |metadata| metadata.permissions().mode() & 0o777)
}
