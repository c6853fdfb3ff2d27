//! From configuration to tasks that are ready to start: one service with its checks, reporters and sessions at a time.

use std::sync::Arc;
use std::time::Duration;

use common::ready::Latch;
use common::supervise::Group;
use common::zk::registration::registration;
use common::zk::session_pool::SessionPool;
use tokio_util::sync::CancellationToken;

use super::Stage;
use super::bond::Bond;
use crate::announce::PayloadEncoder;
use crate::check::Check;
use crate::check::runner::Runner;
use crate::config::{CheckConfig, CheckKind, ReporterConfig, ServiceConfig};
use crate::reporter::{self, Reporter, ReporterHandle};
use crate::service::{Context, ServiceHandle, service};

/// Checks start no further apart: a service waits for the first word of each.
const SPACING: Duration = Duration::from_millis(10);

/// What services are built from.
#[derive(Debug)]
pub(super) struct Parts {
    /// A signal asked for the stop.
    pub(super) asked: CancellationToken,
    pub(super) context: Context,
    pub(super) sessions: SessionPool,
    /// How many checks start together, and how many of them were built.
    checks: usize,
    built: u32,
}

/// A service's ties: of its own task, and of each reporter's in the order of its configuration.
#[derive(Debug)]
pub(super) struct Bonds {
    pub(super) service: Bond,
    pub(super) reporters: Vec<Bond>,
}

/// A service that is built and not started.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) handle: ServiceHandle,
    pub(super) bonds: Bonds,
    pub(super) group: Group<Stage>,
}

impl Parts {
    pub(super) fn new(asked: CancellationToken, context: Context, sessions: SessionPool) -> Self {
        Self {
            asked,
            context,
            sessions,
            checks: 0,
            built: 0,
        }
    }

    /// Builds services that start together, each with the latch of its first word. The first that can't be built is the
    /// reason why none is.
    pub(super) fn services(
        &mut self,
        configs: &[Arc<ServiceConfig>],
        latch: impl Fn(&ServiceConfig) -> Latch,
    ) -> Result<Vec<Built>, String> {
        self.checks = configs.iter().map(|service| service.checks.len()).sum();
        self.built = 0;
        let services = configs.iter().map(|config| self.service(config, latch(config)));
        services.collect()
    }

    fn service(&mut self, config: &Arc<ServiceConfig>, ready: Latch) -> Result<Built, String> {
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
        let mut bonds = Bonds {
            service: Bond::under(&self.asked),
            reporters: Vec::new(),
        };
        for (index, reporter) in reporters.into_iter().enumerate() {
            let reports = reports.clone();
            let bond = Bond::under(&self.asked);
            let task = bond.hold(|stop| reporter.run(reports, stop));
            group.add(Stage::Reporters, format!("reporter {index} of {name}"), task);
            bonds.reporters.push(bond);
        }
        let task = bonds.service.hold(|stop| task.run(stop));
        group.add(Stage::Services, format!("service {name}"), task);
        Ok(Built { handle, bonds, group })
    }

    /// Checks start one after the other, spread over their interval when there are many; the first starts at once.
    fn next_delay(&mut self, interval: Duration) -> Duration {
        let places = u32::try_from(self.checks).unwrap_or(u32::MAX).max(1);
        let place = self.built;
        self.built += 1;
        (interval / places).min(SPACING) * place
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
                let wording = PayloadEncoder::new(config.payload.clone(), config.expose_on_unavailable);
                Reporter::zookeeper(registration(&ensemble, config.node.clone()), wording, failures)
            }
            ReporterConfig::File { path, append } => {
                reporter::prepare_file(path).map_err(|error| {
                    format!(
                        "service `{}`: cannot write the report file {}: {error}; choose another `path` or mend its rights",
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

/// What starts and probably disappoints.
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
            tracing::warn!(service = %config.name, program, "A program of this service can't be found.");
        }
    }
    let trusting = |check: &&Arc<CheckConfig>| check.kind.tls().is_some_and(|tls| tls.insecure_skip_verify);
    for check in config.checks.iter().filter(trusting) {
        tracing::warn!(
            service = %config.name, check = check.kind.as_str(), target = check.target(),
            "A check takes any certificate: `insecureSkipVerify` is set. Anybody in between can answer for the service.",
        );
    }
}
