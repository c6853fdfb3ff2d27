//! The running services, and their replacement when the configuration is reloaded.
//!
//! A reload is all or nothing: everything new is built before anything changes. Then an equal service runs on; a new one
//! starts; a removed one is disabled and withdrawn, as at a stop; a changed one is replaced. A replaced service is not
//! disabled, because the instance stays: a node (or file) that its successor keeps too is handed over as it is, and any
//! other is withdrawn once the successor has registered. Overrides and the warm-up are handed over by the state store.

use std::sync::Arc;
use std::time::Duration;

use common::daemon::{Applied, LogConfig, Reconfigure, Refusal};
use common::exit::Fatal;
use common::ready::Readiness;
use common::supervise::{GroupId, Groups, Spawner, Stopping, Supervisor};
use common::telemetry::log::Format;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::Stage;
use super::plan::{in_effect, needs_restart, plan, same_target};
use super::service_builder::{Guards, Prepared, ServiceBuilder};
use crate::config::{Config, ServiceConfig};
use crate::delivery::ReporterKind;
use crate::reload::ServiceChanges;
use crate::running::{Running, RunningState};
use crate::service::ServiceHandle;

/// How long a node of a replaced service waits for its successor's.
const HANDOVER_TIMEOUT: Duration = Duration::from_secs(30);

/// How often the successor is checked meanwhile.
const HANDOVER_POLL_INTERVAL: Duration = Duration::from_millis(50);

/// A running service.
#[derive(Debug)]
struct ManagedService {
    id: GroupId,
    handle: ServiceHandle,
    guards: Guards,
}

impl ManagedService {
    fn config(&self) -> &Arc<ServiceConfig> {
        &self.handle.config
    }
}

/// Owns the running services.
#[derive(Debug)]
pub(super) struct ServiceManager {
    config: Config,
    builder: ServiceBuilder,
    groups: Groups<Stage>,
    services: Vec<ManagedService>,
    stopping: Vec<ManagedService>,
    stops: JoinSet<GroupId>,
    running: RunningState,
    shutdown_timeout: watch::Sender<Duration>,
}

impl ServiceManager {
    /// Returns the manager that will run `config`.
    pub(super) fn new(config: Config, builder: ServiceBuilder, groups: Groups<Stage>, running: RunningState) -> Self {
        Self {
            shutdown_timeout: watch::Sender::new(config.shutdown_timeout),
            config,
            builder,
            groups,
            services: Vec::new(),
            stopping: Vec::new(),
            stops: JoinSet::new(),
            running,
        }
    }

    /// Builds and starts the services; the daemon is ready when each has its first state.
    pub(super) async fn start(
        &mut self,
        supervisor: &mut Supervisor<Stage>,
        readiness: &Readiness,
    ) -> Result<(), Fatal> {
        let latch = |service: &ServiceConfig| readiness.latch(format!("the first state of service {}", service.name));
        let prepared = self.builder.services(&self.config.services, latch);
        for prepared in prepared.map_err(Fatal::config)? {
            let started = self.start_service(prepared, &mut Spawner::Startup(supervisor)).await;
            started.map_err(|Stopping| Fatal::runtime("nerve is stopping"))?;
        }
        self.publish();
        Ok(())
    }

    /// Returns the deadline of a stop, as it changes.
    pub(super) fn shutdown_timeout(&self) -> watch::Receiver<Duration> {
        self.shutdown_timeout.subscribe()
    }

    /// Takes over the keys of the root that can change; the others stay as they run.
    fn commit_config(&mut self, desired: Config) {
        self.shutdown_timeout.send_replace(desired.shutdown_timeout);
        self.config.log_level = desired.log_level;
        self.config.shutdown_timeout = desired.shutdown_timeout;
        self.config.services = desired.services;
        self.config.effective = in_effect(&self.config.effective, &desired.effective).into();
    }

    /// Detaches the stopping services from what `successor` keeps.
    async fn hand_over(&self, successor: &ServiceConfig) {
        for old in &self.stopping {
            if old.config().name == successor.name {
                old.guards.service.detach().await;
            }
            for (target, guard) in old.config().reporters.iter().zip(&old.guards.reporters) {
                if successor.reporters.iter().any(|kept| same_target(target, kept)) {
                    guard.detach().await;
                }
            }
        }
    }

    async fn start_service(
        &mut self,
        Prepared { handle, guards, group }: Prepared,
        spawner: &mut Spawner<'_, Stage>,
    ) -> Result<(), Stopping> {
        let id = spawner.start(group).await?;
        self.services.push(ManagedService { id, handle, guards });
        Ok(())
    }

    /// Stops a service: a removed one at once, a replaced one when its successor has registered.
    fn stop_service(&mut self, service: ManagedService) {
        let name = &service.config().name;
        let successor = self.services.iter().find(|new| new.config().name == *name);
        let successor = successor.map(|new| new.handle.clone());
        let (groups, id, guards) = (self.groups.clone(), service.id, service.guards.clone());
        self.stopping.push(service);
        self.stops.spawn(async move {
            let withdraw = async {
                if let Some(successor) = successor {
                    // Withdraw the old node even if the successor did not register in time.
                    timeout(HANDOVER_TIMEOUT, registered(&successor)).await.ok();
                }
                guards.withdraw_on_stop();
            };
            // The shutdown stops the group too.
            let (_stopped, ()) = tokio::join!(groups.stop(id), withdraw);
            id
        });
    }

    fn on_stopped(&mut self, id: GroupId) {
        if let Some(place) = self.stopping.iter().position(|service| service.id == id) {
            let stopped = self.stopping.swap_remove(place).handle.config;
            tracing::info!(service = %stopped.name, "Removed or replaced service stopped.");
            let mut remaining = self.services.iter().chain(&self.stopping);
            let labels = |config: &ServiceConfig| (config.name.clone(), config.host.clone(), config.port);
            if !remaining.any(|service| labels(service.config()) == labels(&stopped)) {
                self.builder.context.metrics.forget(&stopped);
            }
        }
        self.publish();
    }

    fn publish(&self) {
        self.running.publish(Running {
            services: self.services.iter().map(|service| service.handle.clone()).collect(),
            ensembles: self.builder.sessions.observers(),
            effective: Arc::clone(&self.config.effective),
        });
    }
}

impl LogConfig for Config {
    fn log_level(&self) -> &str {
        &self.log_level
    }

    fn log_format(&self) -> Format {
        self.log_format
    }
}

impl Reconfigure for ServiceManager {
    type Config = Config;
    type Changes = ServiceChanges;

    fn config(&self) -> &Config {
        &self.config
    }

    async fn apply(&mut self, desired: Config) -> Result<Applied<ServiceChanges>, Refusal> {
        let needs_restart = needs_restart(&self.config, &desired);
        let changes = plan(
            self.services.iter().map(|service| &**service.config()),
            &desired.services,
        );
        let is_kept = |service: &ServiceConfig| changes.kept.contains(&service.name);
        let new: Vec<_> = desired
            .services
            .iter()
            .filter(|service| !is_kept(service))
            .cloned()
            .collect();
        // The readiness of the daemon depends on its start only.
        let readiness = Readiness::default();
        let prepared = self
            .builder
            .services(&new, |service| readiness.latch(service.name.clone()));
        let prepared = prepared.map_err(Refusal::Problem)?;

        let groups = self.groups.clone();
        let mut spawner = Spawner::Running(&groups);
        let (kept, replaced): (Vec<_>, Vec<_>) = std::mem::take(&mut self.services)
            .into_iter()
            .partition(|service| is_kept(service.config()));
        self.services = kept;
        let before = self.stopping.len();
        self.stopping.extend(replaced);
        for prepared in prepared {
            self.hand_over(&prepared.handle.config).await;
            self.start_service(prepared, &mut spawner).await?;
        }
        for service in self.stopping.split_off(before) {
            self.stop_service(service);
        }
        let place = |service: &ManagedService| {
            desired
                .services
                .iter()
                .position(|new| new.name == service.config().name)
        };
        self.services.sort_by_key(place);
        self.commit_config(desired);
        self.publish();
        tracing::info!(
            kept = changes.kept.len(), added = ?changes.added, changed = ?changes.changed, removed = ?changes.removed,
            "Configuration reloaded."
        );
        Ok(Applied {
            is_unchanged: changes.is_empty(),
            changes,
            needs_restart,
        })
    }

    /// Waits for the end of a stopping service.
    async fn complete(&mut self) {
        match self.stops.join_next().await {
            Some(Ok(id)) => self.on_stopped(id),
            Some(Err(_panicked)) => {}
            None => std::future::pending().await,
        }
    }
}

/// Waits until a service has registered, or has nothing to register.
async fn registered(service: &ServiceHandle) {
    let is_registered = || {
        let mut reporters = service.reporters.iter();
        reporters.all(|reporter| reporter.kind != ReporterKind::Zookeeper || reporter.is_reported())
    };
    while service.state().status.available != Some(false) && !is_registered() {
        sleep(HANDOVER_POLL_INTERVAL).await;
    }
}
