//! The daemon in one piece: builds everything, binds before anything runs, hands the tasks to the supervisor.
//!
//! The stop is a written sequence, stage by stage: services are disabled, checks end, nodes are withdrawn, sessions are
//! closed, the API goes last, so that it can be asked how far things are. A task that breaks is different: nerve leaves
//! at once **without** withdrawing anything, for the services are healthy; the next nerve takes their nodes over
//! within the session timeout.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use common::exit::Fatal;
use common::http::{self, Bound, CommonRoutes, Listen};
use common::ready::Readiness;
use common::signal::{Signal, Signals};
use common::supervise::{Ended, Supervisor};
use common::telemetry::log::LevelHandle;
use common::telemetry::metrics::{self, Build};
use common::zk::registration::registration;
use common::zk::session::{Ensemble, EnsembleConfig, EnsembleTask, ensemble};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::api::{self, App};
use crate::check::Check;
use crate::check::runner::Runner;
use crate::config::{ApiAddress, CheckKind, Config, ReporterConfig, ServiceConfig};
use crate::metrics::{Gauges, Metrics};
use crate::reporter::{self, Reporter, ReporterHandle};
use crate::service::{ServiceHandle, service};

/// How long API requests in flight get at the end.
const API_DRAIN: Duration = Duration::from_secs(2);

/// The stages of the stop, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Services,
    Checks,
    Reporters,
    Sessions,
    Api,
}

/// Runs the daemon until a signal stops it.
pub async fn run(config: Config, level: LevelHandle) -> Result<(), Fatal> {
    let signals =
        Signals::of_process().map_err(|error| Fatal::runtime(format!("cannot listen to signals: {error}")))?;
    let daemon = Daemon::build(&config, level).await?;
    daemon.run(config.shutdown_timeout, signals).await
}

#[derive(Debug)]
struct Daemon {
    supervisor: Supervisor<Stage>,
    readiness: Readiness,
}

impl Daemon {
    async fn build(config: &Config, level: LevelHandle) -> Result<Self, Fatal> {
        let bound = bind(&config.api).await?;
        let build = Build {
            name: "nerve",
            version: env!("CARGO_PKG_VERSION"),
        };
        let mut registry = metrics::registry(build);
        let mut parts = Parts {
            supervisor: Supervisor::new(),
            readiness: Readiness::default(),
            metrics: Metrics::register(&mut registry),
            ensembles: Vec::new(),
            checks: config.services.iter().map(|service| service.checks.len()).sum(),
            started: 0,
        };
        let services = config
            .services
            .iter()
            .map(|service| parts.start_service(service))
            .collect::<Result<Arc<[_]>, Fatal>>()?;
        let Parts {
            mut supervisor,
            readiness,
            ensembles,
            ..
        } = parts;
        registry.register_collector(Box::new(Gauges {
            services: Arc::clone(&services),
            ensembles: ensembles.into_iter().map(|(_, ensemble)| ensemble).collect(),
        }));
        tracing::info!(
            address = bound.address(),
            services = services.len(),
            version = build.version,
            "nerve is up."
        );
        let handler = api::handler(App {
            services,
            common: CommonRoutes {
                build,
                readiness: readiness.clone(),
                registry: Arc::new(registry),
                level,
            },
            legacy_get_mutations: config.legacy_get_mutations,
        });
        supervisor.start(Stage::Api, "api", |stop| bound.serve(handler, API_DRAIN, stop));
        Ok(Self { supervisor, readiness })
    }

    async fn run(self, grace: Duration, mut signals: Signals) -> Result<(), Fatal> {
        let Self { supervisor, readiness } = self;
        let (sender, receiver) = mpsc::channel(4);
        let mut heard = Signals::fed_by(receiver);
        let asked = Cell::new(false);
        let broken = CancellationToken::new();
        let stopping = RefCell::new(None);
        let on_stop = || {
            if asked.get() {
                *stopping.borrow_mut() = Some(readiness.latch("the end: nerve is stopping"));
            } else {
                broken.cancel();
            }
        };
        let on_reload = || {
            tracing::error!("This nerve does not read its configuration again on SIGHUP: restart it.");
        };
        let forward = async {
            loop {
                let signal = signals.next().await;
                asked.set(asked.get() || signal == Signal::Stop);
                if sender.send(signal).await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        let ended = tokio::select! {
            biased;
            () = broken.cancelled() => return Err(Fatal::runtime(
                "a task broke (see the log); leaving without withdrawing any node, so that a restart takes them over",
            )),
            ended = supervisor.run(&mut heard, grace, on_stop, on_reload) => ended,
            () = forward => return Ok(()),
        };
        match ended {
            Ended::Clean => Ok(()),
            Ended::StillRunning(tasks) => Err(Fatal::runtime(format!(
                "stopped before these were done: {}",
                tasks.join(", ")
            ))),
            Ended::TaskFailed { task, why } => {
                Err(Fatal::runtime(format!("task `{task}` failed while stopping: {why}")))
            }
        }
    }
}

/// What services are built from.
#[derive(Debug)]
struct Parts {
    supervisor: Supervisor<Stage>,
    readiness: Readiness,
    metrics: Metrics,
    ensembles: Vec<(EnsembleConfig, Ensemble)>,
    checks: usize,
    started: usize,
}

impl Parts {
    fn start_service(&mut self, config: &Arc<ServiceConfig>) -> Result<ServiceHandle, Fatal> {
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
        let (handle, reports, verdicts, task) = service(Arc::clone(config), handles, &self.metrics, ready);
        for (index, check) in config.checks.iter().enumerate() {
            let runner = Runner {
                check: Check::new(Arc::clone(check))
                    .map_err(|error| Fatal::runtime(format!("service `{name}`: cannot build its check: {error}")))?,
                index,
                delay: self.next_delay(check.interval),
                verdicts: verdicts.clone(),
                metrics: self.metrics.check(config, check.kind.word()),
            };
            let label = format!("check {index} of {name}");
            self.supervisor.start(Stage::Checks, label, |stop| runner.run(stop));
        }
        for (index, reporter) in reporters.into_iter().enumerate() {
            let reports = reports.clone();
            let label = format!("reporter {index} of {name}");
            self.supervisor
                .start(Stage::Reporters, label, |stop| reporter.run(reports, stop));
        }
        self.supervisor
            .start(Stage::Services, format!("service {name}"), |stop| task.run(stop));
        Ok(handle)
    }

    /// Spreads the checks of all services over their interval; the first starts at once.
    fn next_delay(&mut self, interval: Duration) -> Duration {
        let place = u32::try_from(self.started).unwrap_or(0);
        let places = u32::try_from(self.checks).unwrap_or(u32::MAX).max(1);
        self.started += 1;
        interval.mul_f64(f64::from(place) / f64::from(places))
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
        self.supervisor
            .start(Stage::Sessions, format!("session {}", handle.name()), |stop| {
                task.run(stop)
            });
        self.ensembles.push((config.clone(), handle.clone()));
        handle
    }
}

async fn bind(api: &ApiAddress) -> Result<Bound, Fatal> {
    let listen = match api {
        ApiAddress::Unix(path) => Listen::Unix(path.clone()),
        ApiAddress::Tcp { host, port } => {
            let mut addresses = tokio::net::lookup_host((host.as_str(), *port))
                .await
                .map_err(|error| Fatal::config(format!("apiHost: cannot resolve `{host}`: {error}")))?;
            let address = addresses
                .next()
                .ok_or_else(|| Fatal::config(format!("apiHost: `{host}` has no address")))?;
            Listen::Tcp(address)
        }
    };
    http::bind(&listen).await.map_err(|error| {
        Fatal::config(format!(
            "the API {error}; is another nerve running? Choose another `apiPort`, `apiHost` or `apiSocket`"
        ))
    })
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
    let checks = config.checks.iter().filter_map(|check| match &check.kind {
        CheckKind::Exec(argv) => Some(argv),
        CheckKind::Tcp | CheckKind::Http { .. } => None,
    });
    for program in commands.chain(checks).filter_map(|argv| argv.first()) {
        if common::process::find(program).is_none() {
            tracing::warn!(service = %config.name, program, "A program of this service can't be found.");
        }
    }
}
