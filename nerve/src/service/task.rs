//! One task per service: verdicts, commands, timers and the ends of command_runs go into the lifecycle machine, one at a time;
//! what it says is carried out and published.
//!
//! [`ServiceTask::next`] holds all the awaiting, [`ServiceTask::apply`] all the change, so no state is ever half applied.
//! The task never waits for a check, a reporter or a caller of the API.

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

use crate::announce::announce;
use crate::config::ServiceConfig;
use crate::health::checked::Checked;
use crate::health::verdict::{Health, Verdict};
use crate::lifecycle::machine::{CommandKind, DISABLED, Event, Intent, LifecycleStatus, Machine, Wanted};
use crate::overrides::spool::Spools;
use crate::overrides::{Decision, Metadata, Override, OverrideKind, Source, decide, hacheck};
use crate::reporter::{ReporterHandle, ReporterState, Reports};
use crate::service::{Act, Change, CheckState, Command, Context, Disabled, ServiceHandle, ServiceState};
use crate::state_store::{ServiceRecord, StateStore};

/// The task looks again at least this often, whatever happens.
const RESYNC: Duration = Duration::from_mins(1);

/// A service's task.
#[derive(Debug)]
pub struct ServiceTask {
    config: Arc<ServiceConfig>,
    machine: Machine,
    checks: Vec<Checked>,
    reporters: Vec<watch::Receiver<ReporterState>>,
    verdicts: mpsc::Receiver<(usize, Verdict)>,
    commands: mpsc::Receiver<Command>,
    running: Option<Wanted>,
    command_runs: JoinSet<Ended>,
    failures: [(CommandKind, Counter); 4],
    /// What outlives nerve of this service, and where it is kept.
    kept: ServiceRecord,
    state_store: StateStore,
    spool: Spools,
    /// What a hook said; it ends with this nerve, for the next one comes with the next life of the service.
    hook: Option<Metadata>,
    /// Since when nerve stops, milliseconds since the Unix epoch.
    stopping: Option<u64>,
    overrides: Vec<Override>,
    changes: broadcast::Sender<Arc<Change>>,
    taken: Vec<oneshot::Sender<Vec<Override>>>,
    waiting: Vec<oneshot::Sender<Disabled>>,
    state: Arc<ArcSwap<ServiceState>>,
    reports: watch::Sender<Option<Arc<common::report::Report>>>,
    ready_latch: Option<Latch>,
}

#[derive(Debug)]
struct Ended {
    wanted: Wanted,
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

/// A service: how to see and steer it, where its reports come out, where its checks' verdicts go in, and its task.
/// `ready` is dropped at its first word.
pub fn service(
    config: Arc<ServiceConfig>,
    reporters: Vec<ReporterHandle>,
    context: &Context,
    ready: Latch,
) -> (ServiceHandle, Reports, mpsc::Sender<(usize, Verdict)>, ServiceTask) {
    let (verdict_sender, verdicts) = mpsc::channel(2 * config.checks.len().max(1));
    let (order_sender, commands) = mpsc::channel(16);
    let (report_sender, reports) = watch::channel(None);
    let kept = context.state_store.load(&config.name);
    let machine = Machine::new(Arc::new(config.lifecycle.clone()), config.weight, kept.progress);
    let checks: Vec<_> = config.checks.iter().map(|check| Checked::new(check)).collect();
    let state = Arc::new(ArcSwap::from_pointee(ServiceState {
        stand: machine.stand(),
        since: common::clock::unix_millis(),
        overrides: Vec::new(),
        checks: states(&checks),
    }));
    let task = ServiceTask {
        machine,
        checks,
        reporters: reporters.iter().map(|reporter| reporter.state.clone()).collect(),
        verdicts,
        commands,
        running: None,
        command_runs: JoinSet::new(),
        failures: CommandKind::ALL.map(|kind| (kind, context.metrics.command(&config, kind))),
        kept,
        state_store: context.state_store.clone(),
        spool: context.spool.clone(),
        hook: None,
        stopping: None,
        overrides: Vec::new(),
        changes: context.changes.clone(),
        taken: Vec::new(),
        waiting: Vec::new(),
        state: Arc::clone(&state),
        reports: report_sender,
        ready_latch: Some(ready),
        config: Arc::clone(&config),
    };
    let handle = ServiceHandle {
        config,
        reporters,
        mailboxes: Vec::new(),
        commands: order_sender,
        state,
    };
    (handle, reports, verdict_sender, task)
}

impl ServiceTask {
    /// Runs until `stop`; then, unless the service is configured otherwise, until it is disabled and safe to stop.
    pub async fn run(mut self, stop: CancellationToken) {
        // What is kept from before and what hacheck says hold from the first moment.
        self.apply(None, Instant::now());
        loop {
            let wake = self.next(&stop).await;
            let event = self.event(wake);
            self.apply(event, Instant::now());
            if self.stopping.is_some() && (!self.config.down_on_shutdown || self.machine.settled().is_some()) {
                return;
            }
        }
    }

    async fn next(&mut self, stop: &CancellationToken) -> Wake {
        let now = Instant::now();
        let wake_at = self.machine.wake_at().unwrap_or(now + RESYNC);
        let wake_at = wake_at.min(now + self.next_expiry());
        tokio::select! {
            () = stop.cancelled(), if self.stopping.is_none() => Wake::Stop,
            Some((index, verdict)) = self.verdicts.recv() => Wake::Verdict(index, verdict),
            Some(order) = self.commands.recv() => Wake::Command(order),
            // A command that was aborted says nothing.
            Some(Ok(ended)) = self.command_runs.join_next() => Wake::Ended(ended),
            Ok(()) = self.spool.changed() => Wake::Spool,
            () = sleep_until(wake_at) => Wake::Timer,
        }
    }

    /// The time to the end of the first entry. The wall clock may be set meanwhile: it is looked at again before long.
    fn next_expiry(&self) -> Duration {
        let now = common::clock::unix_millis();
        let expiries = self.overrides.iter().filter_map(|entry| entry.note.expires);
        let next = expiries
            .min()
            .map(|at| Duration::from_millis(at.saturating_sub(now).max(1)));
        next.unwrap_or(RESYNC).min(RESYNC)
    }

    /// What a wake means to the machine.
    fn event(&mut self, wake: Wake) -> Option<Event> {
        match wake {
            Wake::Verdict(index, verdict) => self.verdict(index, verdict),
            Wake::Command(order) => self.order(order),
            Wake::Ended(ended) => {
                let success = self.log_end(&ended);
                self.running = self.running.filter(|running| *running != ended.wanted);
                let ticket = ended.wanted.ticket;
                Some(Event::Ended { ticket, success })
            }
            // Heard with the other overrides.
            Wake::Spool => None,
            Wake::Timer => Some(Event::Tick {
                reported: self.reported(),
            }),
            Wake::Stop => {
                self.stopping = Some(common::clock::unix_millis());
                self.config
                    .down_on_shutdown
                    .then_some(Event::Disable { shutdown: true })
            }
        }
    }

    fn verdict(&mut self, index: usize, verdict: Verdict) -> Option<Event> {
        let check = self.checks.get_mut(index)?;
        let verdict = Arc::new(verdict);
        if check.observe(&verdict) {
            let (service, check) = (&self.config.name, &check.label);
            match &verdict.outcome {
                Ok(detail) => tracing::info!(%service, %check, detail, "A check passes."),
                Err(failure) => tracing::warn!(%service, %check, error = %failure.detail, "A check fails."),
            }
        }
        Some(Event::Checked(Health::of(self.checks.iter().map(Checked::as_str))))
    }

    fn order(&mut self, order: Command) -> Option<Event> {
        let Command { act, note, taken } = order;
        let (service, reason, author) = (&self.config.name, &note.reason, &note.author);
        let words = &mut self.kept.words;
        self.taken.push(taken);
        match act {
            Act::Disable { shutdown, done } => {
                tracing::info!(%service, shutdown, reason, author, "CommandRequest to disable the service.");
                words.disable(note);
                self.waiting.push(done);
                return Some(Event::Disable { shutdown });
            }
            Act::Leave { done } => {
                tracing::info!(%service, reason, "A hook says that the service is about to stop.");
                // Who calls again joins: the entry is as old as the first call.
                self.hook.get_or_insert(note);
                self.waiting.push(done);
                return Some(Event::Disable { shutdown: true });
            }
            Act::Enable => {
                tracing::info!(%service, reason, author, "CommandRequest to enable the service.");
                words.enable();
                self.hook = None;
            }
            Act::Force => {
                tracing::info!(%service, reason, author, "CommandRequest to force the service.");
                words.force(note);
                self.hook = None;
            }
            Act::Weight(weight) => {
                tracing::info!(%service, weight, reason, author, "CommandRequest the service's weight.");
                words.weigh(weight.map(|weight| (weight, note)));
            }
        }
        None
    }

    /// Hears every entry anew and tells the machine what they say together.
    fn hear(&mut self, now: Instant) {
        let wall = common::clock::unix_millis();
        if self.kept.words.expire(wall) {
            tracing::info!(service = %self.config.name, "An operator's word has expired.");
        }
        let mut overrides: Vec<_> = self.kept.words.overrides().collect();
        overrides.extend(hacheck::overrides(&self.spool.borrow_and_update(), &self.config, wall));
        overrides.extend(self.hook.clone().map(|note| Override {
            source: Source::Hook,
            kind: OverrideKind::Down,
            note,
        }));
        if let (Some(since), true) = (self.stopping, self.config.down_on_shutdown) {
            overrides.push(Override {
                source: Source::Stop,
                kind: OverrideKind::Down,
                note: Metadata::new("", "", since, None),
            });
        }
        self.overrides = overrides;
        let Decision { intent, weight, .. } = decide(&self.overrides);
        let weight = weight.unwrap_or(self.config.weight);
        let (told, full_weight) = self.machine.told();
        if weight != full_weight {
            self.machine.step(Event::Weight(weight), now);
        }
        if intent != told {
            let event = match intent {
                Intent::Disabled => Event::Disable { shutdown: false },
                Intent::Enabled => Event::Enable { force: false },
                Intent::Forced => Event::Enable { force: true },
            };
            self.machine.step(event, now);
        }
    }

    fn reported(&self) -> bool {
        self.reporters
            .iter()
            .any(|state| *state.borrow() == ReporterState::Reported)
    }

    fn apply(&mut self, event: Option<Event>, now: Instant) {
        if let Some(event) = event {
            self.machine.step(event, now);
        }
        self.hear(now);
        self.run_wanted();
        self.publish(now);
        self.answer();
    }

    /// Makes the running command the wanted one: starts it, or kills the one that is not wanted any more.
    fn run_wanted(&mut self) {
        let wanted = self.machine.command();
        if wanted == self.running {
            return;
        }
        self.command_runs.abort_all();
        self.running = wanted;
        let Some(wanted) = wanted else { return };
        if let Some(program) = self.machine.program(wanted.kind).cloned() {
            self.command_runs.spawn(async move {
                let result = program.run().await;
                Ended { wanted, result }
            });
        }
    }

    /// Where the service stands, with the reason that was given for its being disabled.
    fn stand(&self) -> LifecycleStatus {
        let mut stand = self.machine.stand();
        let why = decide(&self.overrides).why;
        if stand.reason == DISABLED && !why.is_empty() {
            stand.reason = format!("{DISABLED}: {why}");
        }
        stand
    }

    fn publish(&mut self, now: Instant) {
        // A stop takes no progress away: the next nerve goes on from here.
        if self.stopping.is_none() {
            self.kept.progress = self.machine.progress(now);
        }
        self.state_store.keep(&self.config.name, &self.kept);
        let stand = self.stand();
        let before = self.state.load();
        let moved = before.stand.phase != stand.phase;
        if moved {
            let (phase, weight, reason) = (stand.phase, stand.weight, &stand.reason);
            tracing::info!(service = %self.config.name, phase, weight, reason, "The service changed its phase.");
        }
        if stand.phase != "unknown" {
            self.ready_latch = None;
        }
        if let Some(report) = announce(&self.config, &stand) {
            self.reports.send_if_modified(|published| {
                let news = published.as_deref() != Some(&report);
                if news {
                    *published = Some(Arc::new(report));
                }
                news
            });
        }
        let since = if moved {
            common::clock::unix_millis()
        } else {
            before.since
        };
        if before.stand != stand {
            let (name, stand) = (self.config.name.clone(), stand.clone());
            // Nobody may listen.
            self.changes.send(Arc::new(Change { name, stand, since })).ok();
        }
        drop(before);
        self.state.store(Arc::new(ServiceState {
            stand,
            since,
            overrides: self.overrides.clone(),
            checks: states(&self.checks),
        }));
    }

    /// Answers those whose commands were taken, and those who wait for the disable sequence, once it is over. A caller that
    /// has gone away is no reason not to have carried its order out.
    fn answer(&mut self) {
        for taken in self.taken.drain(..) {
            let down = self.overrides.iter().filter(|entry| entry.kind == OverrideKind::Down);
            taken.send(down.cloned().collect()).ok();
        }
        let outcome = match self.machine.settled() {
            Some(settled) => Disabled::Settled(settled),
            None if self.machine.told().0 == Intent::Disabled => return,
            None => Disabled::Cancelled,
        };
        for waiting in self.waiting.drain(..) {
            waiting.send(outcome).ok();
        }
    }

    fn log_end(&self, ended: &Ended) -> bool {
        let (how, output) = match &ended.result {
            Ok(Outcome::Success { .. }) => return true,
            Ok(Outcome::Failure { how, output }) => (how.clone(), output.as_str()),
            Err(error) => (error.to_string(), ""),
        };
        let kind = ended.wanted.kind;
        if let Some((_, failures)) = self.failures.iter().find(|(of, _)| *of == kind) {
            failures.inc();
        }
        let command = kind.as_str();
        if kind == CommandKind::DisableGraceful {
            // Failing until the service is done is what this one is for.
            tracing::debug!(service = %self.config.name, command, error = how, output, "The service is not done yet.");
        } else {
            tracing::warn!(service = %self.config.name, command, error = how, output, "A command failed.");
        }
        false
    }
}

fn states(checks: &[Checked]) -> Vec<CheckState> {
    checks
        .iter()
        .map(|check| CheckState {
            up: check.up(),
            history: check.history.clone(),
        })
        .collect()
}
