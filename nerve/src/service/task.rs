//! The task of a service: verdicts, commands, timers and the ends of command runs enter the lifecycle machine one at a
//! time; its results are carried out and published.
//!
//! [`ServiceTask::next`] does all the awaiting and [`ServiceTask::apply`] all the changes, so no state is ever half applied.
//! The task never waits for a check, a reporter or a client of the API.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use common::process::{Outcome, SpawnError};
use common::ready::Latch;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::config::ServiceConfig;
use crate::delivery::{ReporterHandle, Reports};
use crate::health::check_state::CheckState;
use crate::health::verdict::{Health, Verdict};
use crate::lifecycle::machine::{CommandKind, CommandRun, Event, LifecyclePhase, Machine};
use crate::lifecycle::warmup::WarmUpProgress;
use crate::overrides::spool::Spools;
use crate::overrides::{Action, Intent, Override, Overrides, hacheck};
use crate::service::report::report_for;
use crate::service::{Change, CheckResults, Command, Context, Disabled, ServiceHandle, ServiceState};
use crate::state_store::{ServiceRecord, StateStore};

/// The maximum time between two ticks.
const RESYNC_INTERVAL: Duration = Duration::from_mins(1);

/// A service's task.
#[derive(Debug)]
pub struct ServiceTask {
    config: Arc<ServiceConfig>,
    machine: Machine,
    checks: Vec<CheckState>,
    reporters: Vec<ReporterHandle>,
    verdicts: mpsc::Receiver<(usize, Verdict)>,
    commands: mpsc::Receiver<Command>,
    running: Option<CommandRun>,
    command_runs: JoinSet<Ended>,
    failures: [(CommandKind, Counter); 4],
    overrides: Overrides,
    /// The saved warm-up progress.
    progress: Option<WarmUpProgress>,
    state_store: StateStore,
    spool: Spools,
    stopping: bool,
    changes: broadcast::Sender<Arc<Change>>,
    /// Commands that wait until they are in force.
    accepted: Vec<oneshot::Sender<Vec<Override>>>,
    /// Commands that wait for the end of the disable sequence.
    disabled: Vec<oneshot::Sender<Disabled>>,
    state: Arc<ArcSwap<ServiceState>>,
    reports: watch::Sender<Option<Arc<common::report::Report>>>,
    ready_latch: Option<Latch>,
}

#[derive(Debug)]
struct Ended {
    run: CommandRun,
    result: Result<Outcome, SpawnError>,
}

#[derive(Debug)]
enum Wake {
    Verdict(usize, Verdict),
    Command(Command),
    Ended(Ended),
    Spool,
    Timer,
    Stop,
}

/// Returns a service's handle, its reports, the sender of its checks' verdicts, and its task. `ready` is dropped at its first
/// state.
pub fn service(
    config: Arc<ServiceConfig>,
    reporters: Vec<ReporterHandle>,
    context: &Context,
    ready: Latch,
) -> (ServiceHandle, Reports, mpsc::Sender<(usize, Verdict)>, ServiceTask) {
    let (verdict_sender, verdicts) = mpsc::channel(2 * config.checks.len().max(1));
    let (command_sender, commands) = mpsc::channel(16);
    let (report_sender, reports) = watch::channel(None);
    let record = context.state_store.load(&config.name);
    let machine = Machine::new(Arc::new(config.lifecycle.clone()), config.weight, record.progress);
    let checks: Vec<_> = config
        .checks
        .iter()
        .map(|check| {
            let label = format!("{} {}", check.kind.as_str(), check.target());
            CheckState::new(label, check.importance, check.rise, check.fall)
        })
        .collect();
    let state = Arc::new(ArcSwap::from_pointee(ServiceState {
        status: machine.status(),
        since: common::clock::unix_millis(),
        overrides: Vec::new(),
        checks: results(&checks),
    }));
    let task = ServiceTask {
        machine,
        checks,
        reporters: reporters.clone(),
        verdicts,
        commands,
        running: None,
        command_runs: JoinSet::new(),
        failures: CommandKind::ALL.map(|kind| (kind, context.metrics.command(&config, kind))),
        overrides: Overrides::new(record.words),
        progress: record.progress,
        state_store: context.state_store.clone(),
        spool: context.spool.clone(),
        stopping: false,
        changes: context.changes.clone(),
        accepted: Vec::new(),
        disabled: Vec::new(),
        state: Arc::clone(&state),
        reports: report_sender,
        ready_latch: Some(ready),
        config: Arc::clone(&config),
    };
    let handle = ServiceHandle {
        config,
        reporters,
        mailboxes: Vec::new(),
        commands: command_sender,
        state,
    };
    (handle, reports, verdict_sender, task)
}

impl ServiceTask {
    /// Runs until `stop`; then, unless the service is configured otherwise, until it is disabled and safe to stop.
    pub async fn run(mut self, stop: CancellationToken) {
        // Saved overrides and hacheck's are in force from the start.
        self.apply(None, Instant::now());
        loop {
            let wake = self.next(&stop).await;
            let event = self.event(wake);
            self.apply(event, Instant::now());
            if self.stopping && (!self.config.down_on_shutdown || self.machine.settled().is_some()) {
                return;
            }
        }
    }

    async fn next(&mut self, stop: &CancellationToken) -> Wake {
        let now = Instant::now();
        let next_expiry = now + self.next_expiry();
        let wake_at = self.machine.wake_at().map_or(next_expiry, |at| at.min(next_expiry));
        tokio::select! {
            () = stop.cancelled(), if !self.stopping => Wake::Stop,
            Some((index, verdict)) = self.verdicts.recv() => Wake::Verdict(index, verdict),
            Some(command) = self.commands.recv() => Wake::Command(command),
            // An aborted command has no result.
            Some(Ok(ended)) = self.command_runs.join_next() => Wake::Ended(ended),
            Ok(()) = self.spool.changed() => Wake::Spool,
            () = sleep_until(wake_at) => Wake::Timer,
        }
    }

    /// Returns the time until the next override expires, at most [`RESYNC_INTERVAL`] because the wall clock may be set.
    fn next_expiry(&self) -> Duration {
        let now = common::clock::unix_millis();
        let expiries = self
            .overrides
            .in_force
            .iter()
            .filter_map(|entry| entry.metadata.expires);
        let next = expiries
            .min()
            .map(|at| Duration::from_millis(at.saturating_sub(now).max(1)));
        next.map_or(RESYNC_INTERVAL, |next| next.min(RESYNC_INTERVAL))
    }

    /// Applies a wake to the checks or overrides and returns the machine's event, if any.
    fn event(&mut self, wake: Wake) -> Option<Event> {
        match wake {
            Wake::Verdict(index, verdict) => self.verdict(index, verdict),
            Wake::Ended(ended) => {
                let success = self.log_end(&ended);
                self.running = self.running.filter(|running| *running != ended.run);
                Some(Event::Ended {
                    run: ended.run.id,
                    success,
                })
            }
            Wake::Timer => Some(Event::Tick {
                reported: self.reporters.iter().any(ReporterHandle::is_reported),
            }),
            Wake::Command(command) => {
                self.command(command);
                None
            }
            // Read with the other overrides.
            Wake::Spool => None,
            Wake::Stop => {
                self.stopping = true;
                if self.config.down_on_shutdown {
                    self.overrides.stop(common::clock::unix_millis());
                }
                None
            }
        }
    }

    fn verdict(&mut self, index: usize, verdict: Verdict) -> Option<Event> {
        let check = self.checks.get_mut(index)?;
        let verdict = Arc::new(verdict);
        if check.observe(&verdict) {
            let (service, check) = (&self.config.name, &check.label);
            match &verdict.outcome {
                Ok(detail) => tracing::info!(%service, %check, detail, "Check passes."),
                Err(failure) => tracing::warn!(%service, %check, error = %failure.detail, "Check fails."),
            }
        }
        Some(Event::Checked(Health::of(self.checks.iter().map(CheckState::result))))
    }

    fn command(&mut self, command: Command) {
        let Command {
            action,
            metadata,
            accepted,
            disabled,
        } = command;
        let message = match action {
            Action::Disable { .. } => "Service disabled by operator.",
            Action::Leave => "Pre-stop hook called: service is withdrawn.",
            Action::Enable => "Service enabled by operator.",
            Action::Force => "Service forced available by operator.",
            Action::Weight(_) => "Service weight set by operator.",
        };
        let (service, reason, author) = (&self.config.name, &metadata.reason, &metadata.author);
        tracing::info!(%service, ?action, reason, author, "{message}");
        self.overrides.apply(action, metadata);
        self.accepted.push(accepted);
        if action.withdraws() {
            self.disabled.push(disabled);
        }
    }

    fn apply(&mut self, event: Option<Event>, now: Instant) {
        if let Some(event) = event {
            self.machine.step(event, now);
        }
        let wall = common::clock::unix_millis();
        let hacheck = hacheck::overrides(&self.spool.borrow_and_update(), &self.config, wall);
        if self.overrides.refresh(hacheck, wall) {
            tracing::info!(service = %self.config.name, "Override expired.");
        }
        self.machine.step(Event::Overrides(self.overrides.effective()), now);
        self.run_desired();
        self.publish(now);
        self.answer();
    }

    /// Kills the running command if it is not the desired one, and starts the desired one.
    fn run_desired(&mut self) {
        let desired = self.machine.command();
        if desired == self.running {
            return;
        }
        self.command_runs.abort_all();
        self.running = desired;
        let Some(run) = desired else { return };
        if let Some(program) = self.machine.program(run.kind).cloned() {
            self.command_runs.spawn(async move {
                let result = program.run().await;
                Ended { run, result }
            });
        }
    }

    fn publish(&mut self, now: Instant) {
        let name = &self.config.name;
        // A stop keeps the saved progress, because the next nerve resumes from it.
        if !self.stopping {
            self.progress = self.machine.progress(now);
        }
        let words = self.overrides.persisted.clone();
        self.state_store.save(
            name,
            &ServiceRecord {
                words,
                progress: self.progress,
            },
        );
        let status = self.machine.status();
        let before = self.state.load();
        let mut since = before.since;
        if before.status.phase != status.phase {
            since = common::clock::unix_millis();
            let (phase, weight, reason) = (status.phase.as_str(), status.weight, &status.reason);
            tracing::info!(service = %name, phase, weight, reason, "Service phase changed.");
        }
        if status.phase != LifecyclePhase::Unknown {
            self.ready_latch = None;
        }
        if let Some(report) = report_for(&self.config, &status) {
            self.reports.send_if_modified(|published| {
                let is_new = published.as_deref() != Some(&report);
                if is_new {
                    *published = Some(Arc::new(report));
                }
                is_new
            });
        }
        if before.status != status {
            let (name, status) = (name.clone(), status.clone());
            // Fails when there is no receiver.
            self.changes.send(Arc::new(Change { name, status, since })).ok();
        }
        self.state.store(Arc::new(ServiceState {
            status,
            since,
            overrides: self.overrides.in_force.clone(),
            checks: results(&self.checks),
        }));
    }

    /// Answers the commands in force, and the end of the disable sequence. Commands take effect even if their client is
    /// gone.
    fn answer(&mut self) {
        for accepted in self.accepted.drain(..) {
            accepted.send(self.overrides.down().cloned().collect()).ok();
        }
        let outcome = match self.machine.settled() {
            Some(settled) => Disabled::Settled(settled),
            None if self.machine.intent() == Intent::Disabled => return,
            None => Disabled::Cancelled,
        };
        for disabled in self.disabled.drain(..) {
            disabled.send(outcome).ok();
        }
    }

    fn log_end(&self, ended: &Ended) -> bool {
        let (how, output) = match &ended.result {
            Ok(Outcome::Success { .. }) => return true,
            Ok(Outcome::Failure { how, output }) => (how.clone(), output.as_str()),
            Err(error) => (error.to_string(), ""),
        };
        let kind = ended.run.kind;
        if let Some((_, failures)) = self.failures.iter().find(|(of, _)| *of == kind) {
            failures.inc();
        }
        let command = kind.as_str();
        if kind == CommandKind::DisableGraceful {
            // This command fails by design until the service is done.
            tracing::debug!(service = %self.config.name, command, error = how, output, "Service not gracefully done yet.");
        } else {
            tracing::warn!(service = %self.config.name, command, error = how, output, "Lifecycle command failed.");
        }
        false
    }
}

fn results(checks: &[CheckState]) -> Vec<CheckResults> {
    checks
        .iter()
        .map(|check| CheckResults {
            up: check.up(),
            history: check.history.clone(),
        })
        .collect()
}
