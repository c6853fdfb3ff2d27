//! From configuration to running tasks: one service with its checks, reporters and sessions at a time.

use std::sync::Arc;
use std::time::Duration;

use common::exit::Fatal;
use common::ready::Readiness;
use common::supervise::Supervisor;
use common::zk::registration::registration;
use common::zk::session::{Ensemble, EnsembleConfig, EnsembleTask, ensemble};

use tokio_util::sync::CancellationToken;

use super::Stage;
use crate::check::Check;
use crate::check::runner::Runner;
use crate::config::{CheckConfig, CheckKind, ReporterConfig, ServiceConfig};
use crate::metrics::Metrics;
use crate::reporter::{self, Reporter, ReporterHandle};
use crate::service::{ServiceHandle, service};

/// Checks start no further apart: a service waits for the first word of each.
const SPACING: Duration = Duration::from_millis(10);

/// What services are built from.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) supervisor: Supervisor<Stage>,
    /// A signal asked for the stop.
    pub(super) asked: CancellationToken,
    pub(super) readiness: Readiness,
    pub(super) metrics: Metrics,
    pub(super) ensembles: Vec<(EnsembleConfig, Ensemble)>,
    pub(super) checks: usize,
    pub(super) started: u32,
}

impl Parts {
    pub(super) fn start_service(&mut self, config: &Arc<ServiceConfig>) -> Result<ServiceHandle, Fatal> {
        let name = &config.name;
        warn_about(config);
        let (handles, reporters): (Vec<ReporterHandle>, Vec<Reporter>) = config
            .reporters
            .iter()
            .map(|reporter| self.reporter(config, reporter))
            .collect::<Result<Vec<_>, _>>()?
            .into_iter()
            .unzip();
        let ready = self.readiness.latch(format!("the first word of service {name}"));
        let (mut handle, reports, verdicts, task) = service(Arc::clone(config), handles, &self.metrics, ready);
        for (index, check_config) in config.checks.iter().enumerate() {
            let check = Check::new(Arc::clone(check_config))
                .map_err(|error| Fatal::config(format!("service `{name}`: cannot build check {index}: {error}")))?;
            handle.mailboxes.extend(check.mailbox().cloned());
            let runner = Runner {
                check,
                index,
                delay: self.next_delay(check_config.interval),
                verdicts: verdicts.clone(),
                metrics: self.metrics.check(config, check_config.kind.word()),
            };
            let label = format!("check {index} of {name}");
            self.supervisor.start(Stage::Checks, label, |stop| runner.run(stop));
        }
        for (index, reporter) in reporters.into_iter().enumerate() {
            let reports = reports.clone();
            let label = format!("reporter {index} of {name}");
            self.start(Stage::Reporters, label, |stop| reporter.run(reports, stop));
        }
        self.start(Stage::Services, format!("service {name}"), |stop| task.run(stop));
        Ok(handle)
    }

    /// Starts a task that would take nodes away when it stops: it hears of the stop only when a signal asked for it.
    pub(super) fn start<F, Fut>(&mut self, stage: Stage, name: String, task: F)
    where
        F: FnOnce(CancellationToken) -> Fut,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let asked = self.asked.clone();
        self.supervisor.start(stage, name, |stop| {
            let told = CancellationToken::new();
            let running = task(told.clone());
            async move {
                let tell = async {
                    stop.cancelled().await;
                    asked.cancelled().await;
                    told.cancel();
                    std::future::pending::<()>().await;
                };
                tokio::select! {
                    () = running => {}
                    () = tell => {}
                }
            }
        });
    }

    /// Checks start one after the other, spread over their interval when there are many; the first starts at once.
    fn next_delay(&mut self, interval: Duration) -> Duration {
        let places = u32::try_from(self.checks).unwrap_or(u32::MAX).max(1);
        let place = self.started;
        self.started += 1;
        (interval / places).min(SPACING) * place
    }

    fn reporter(
        &mut self,
        service: &ServiceConfig,
        config: &ReporterConfig,
    ) -> Result<(ReporterHandle, Reporter), Fatal> {
        let failures = self.metrics.reporter(service, config.word());
        Ok(match config {
            ReporterConfig::Zookeeper {
                ensemble,
                node,
                expose_on_unavailable,
            } => {
                let ensemble = self.ensemble(ensemble);
                Reporter::zookeeper(registration(&ensemble, node.clone()), *expose_on_unavailable, failures)
            }
            ReporterConfig::File { path, append } => {
                reporter::prepare_file(path).map_err(|error| {
                    Fatal::config(format!(
                        "service `{}`: cannot write the report file {}: {error}; choose another `path` or mend its rights",
                        service.name,
                        path.display()
                    ))
                })?;
                Reporter::file(path, *append, service.report_replay, failures)
            }
            ReporterConfig::Console => Reporter::console(service.report_replay, failures),
        })
    }

    /// One session per ensemble.
    fn ensemble(&mut self, config: &EnsembleConfig) -> Ensemble {
        if let Some((_, known)) = self.ensembles.iter().find(|(known, _)| known == config) {
            return known.clone();
        }
        let (handle, task): (Ensemble, EnsembleTask) = ensemble(config.clone());
        self.start(Stage::Sessions, format!("session {}", handle.name()), |stop| {
            task.run(stop)
        });
        self.ensembles.push((config.clone(), handle.clone()));
        handle
    }
}

/// What starts and probably disappoints.
fn warn_about(config: &ServiceConfig) {
    let registered = config
        .reporters
        .iter()
        .any(|reporter| matches!(reporter, ReporterConfig::Zookeeper { .. }));
    if registered && config.announces_loopback() {
        tracing::warn!(
            service = %config.name, host = %config.host,
            "The service is announced at a loopback address: only this machine can reach it. Set its `host`.",
        );
    }
    let lifecycle = &config.lifecycle;
    let stable = lifecycle.warm_up.as_ref().and_then(|warm_up| warm_up.stable.as_ref());
    let programs = [
        lifecycle.pre_available.as_ref(),
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
            service = %config.name, check = check.kind.word(), target = check.target(),
            "A check takes any certificate: `insecureSkipVerify` is set. Anybody in between can answer for the service.",
        );
    }
}
