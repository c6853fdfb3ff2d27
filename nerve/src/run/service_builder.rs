//! Builds services with their checks and reporters. Starts nothing.

use std::sync::Arc;
use std::time::Duration;

use common::ready::Latch;
use common::supervise::Group;
use common::zk::registration::registration;
use common::zk::session_pool::SessionPool;
use tokio_util::sync::CancellationToken;

use super::Stage;
use super::withdraw_guard::WithdrawGuard;
use crate::check::Check;
use crate::check::runner::Runner;
use crate::config::{CheckConfig, CheckKind, ReporterConfig, ServiceConfig};
use crate::delivery::ReporterHandle;
use crate::reporter::{self, PayloadEncoder, Reporter};
use crate::service::{Context, ServiceHandle, service};

/// The maximum delay between the starts of two checks: a service waits for the first result of each.
const MAX_START_SPACING: Duration = Duration::from_millis(10);

/// Builds services.
#[derive(Debug)]
pub(super) struct ServiceBuilder {
    /// Cancelled when a signal requests the stop.
    withdraw: CancellationToken,
    pub(super) context: Context,
    pub(super) sessions: SessionPool,
    /// The number of checks that start together, and how many of them are built.
    checks: usize,
    built: u32,
}

/// The guards of a service: of its own task, and of each reporter in the order of its configuration.
#[derive(Debug, Clone)]
pub(super) struct Guards {
    pub(super) service: WithdrawGuard,
    pub(super) reporters: Vec<WithdrawGuard>,
}

impl Guards {
    /// From now on a stop withdraws the service.
    pub(super) fn withdraw_on_stop(&self) {
        self.service.withdraw_on_stop();
        self.reporters.iter().for_each(WithdrawGuard::withdraw_on_stop);
    }
}

/// A service that is not started yet.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) handle: ServiceHandle,
    pub(super) guards: Guards,
    pub(super) group: Group<Stage>,
}

impl ServiceBuilder {
    /// Returns a builder; `withdraw` is cancelled when a signal requests the stop.
    pub(super) fn new(withdraw: CancellationToken, context: Context, sessions: SessionPool) -> Self {
        Self {
            withdraw,
            context,
            sessions,
            checks: 0,
            built: 0,
        }
    }

    /// Builds services that start together, each with the latch of its first state. Fails with the first that can't be
    /// built.
    pub(super) fn services(
        &mut self,
        configs: &[Arc<ServiceConfig>],
        latch: impl Fn(&ServiceConfig) -> Latch,
    ) -> Result<Vec<Prepared>, String> {
        self.checks = configs.iter().map(|service| service.checks.len()).sum();
        self.built = 0;
        let services = configs.iter().map(|config| self.service(config, latch(config)));
        services.collect()
    }

    fn service(&mut self, config: &Arc<ServiceConfig>, ready: Latch) -> Result<Prepared, String> {
        let name = &config.name;
        warn_about(config);
        let (handles, reporters): (Vec<ReporterHandle>, Vec<Reporter>) = config
            .reporters
            .iter()
            .map(|reporter| self.reporter(config, reporter))
            .collect::<Result<Vec<_>, _>>()?
            .into_iter()
            .unzip();
        let (mut handle, reports, verdicts, task) = service(Arc::clone(config), handles, &self.context, ready);
        let mut group = Group::default();
        for (index, check_config) in config.checks.iter().enumerate() {
            let check = Check::new(Arc::clone(check_config))
                .map_err(|error| format!("service `{name}`: cannot build check {index}: {error}"))?;
            handle.mailboxes.extend(check.mailbox().cloned());
            let runner = Runner {
                check,
                index,
                delay: self.next_delay(check_config.interval),
                verdicts: verdicts.clone(),
                metrics: self.context.metrics.check(config, check_config.kind.as_str()),
            };
            group.add(Stage::Checks, format!("check {index} of {name}"), |stop| {
                runner.run(stop)
            });
        }
        let mut guards = Guards {
            service: WithdrawGuard::new(&self.withdraw),
            reporters: Vec::new(),
        };
        for (index, reporter) in reporters.into_iter().enumerate() {
            let reports = reports.clone();
            let guard = WithdrawGuard::new(&self.withdraw);
            let task = guard.wrap(|stop| reporter.run(reports, stop));
            group.add(Stage::Reporters, format!("reporter {index} of {name}"), task);
            guards.reporters.push(guard);
        }
        let task = guards.service.wrap(|stop| task.run(stop));
        group.add(Stage::Services, format!("service {name}"), task);
        Ok(Prepared { handle, guards, group })
    }

    /// Returns the delay of the next check: many checks are spread over their interval, and the first starts at once.
    fn next_delay(&mut self, interval: Duration) -> Duration {
        let places = u32::try_from(self.checks).unwrap_or(u32::MAX).max(1);
        let place = self.built;
        self.built += 1;
        (interval / places).min(MAX_START_SPACING) * place
    }

    fn reporter(
        &mut self,
        service: &ServiceConfig,
        config: &ReporterConfig,
    ) -> Result<(ReporterHandle, Reporter), String> {
        let failures = self.context.metrics.reporter(service, config.as_str());
        Ok(match config {
            ReporterConfig::Zookeeper(config) => {
                let ensemble = self.sessions.session(&config.ensemble);
                let encoder = PayloadEncoder::new(config.payload.clone(), config.expose_on_unavailable);
                Reporter::zookeeper(registration(&ensemble, config.node.clone()), encoder, failures)
            }
            ReporterConfig::File { path, append } => {
                reporter::prepare_file(path).map_err(|error| {
                    format!(
                        "service `{}`: cannot write the report file {}: {error}; choose another `path` or fix its permissions",
                        service.name,
                        path.display()
                    )
                })?;
                Reporter::file(path, *append, service.report_replay, failures)
            }
            ReporterConfig::Console => Reporter::console(service.report_replay, failures),
        })
    }
}

/// Warns of settings that will probably fail or are insecure.
fn warn_about(config: &ServiceConfig) {
    let lifecycle = &config.lifecycle;
    let stable = lifecycle.warm_up.as_ref().and_then(|warm_up| warm_up.stable.as_ref());
    let programs = [
        lifecycle.pre_available.as_ref().map(|command| &command.program),
        stable.map(|stable| &stable.program),
        lifecycle.disable.shutdown.as_ref(),
        lifecycle
            .disable
            .gracefully_done
            .as_ref()
            .map(|graceful| &graceful.program),
    ];
    let commands = programs.into_iter().flatten().map(|program| &program.argv);
    let checks = config.checks.iter().filter_map(|check| {
        let CheckKind::Exec(exec) = &check.kind else {
            return None;
        };
        Some(&exec.argv)
    });
    for program in commands.chain(checks).filter_map(|argv| argv.first()) {
        if common::process::find(program).is_none() {
            tracing::warn!(service = %config.name, program, "Program of a service not found.");
        }
    }
    let trusting = |check: &&Arc<CheckConfig>| check.kind.tls().is_some_and(|tls| tls.insecure_skip_verify);
    for check in config.checks.iter().filter(trusting) {
        tracing::warn!(
            service = %config.name, check = check.kind.as_str(), target = check.target(),
            "Check accepts any certificate because `insecureSkipVerify` is set: a man in the middle can impersonate the service.",
        );
    }
}
