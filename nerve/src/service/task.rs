//! One task per service: verdicts, orders, timers and the ends of commands go into the lifecycle machine, one at a time;
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
use crate::lifecycle::machine::{CommandKind, DISABLED, Event, Intent, Machine, Stand, Wanted};
use crate::memory::{Kept, Memory};
use crate::reporter::{ReporterHandle, ReporterState, Reports};
use crate::service::{Act, Change, CheckState, Context, Disabled, Order, ServiceHandle, ServiceState};
use crate::word::spool::Spools;
use crate::word::{Decision, Note, Says, Source, Voice, decide, hacheck};

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
    orders: mpsc::Receiver<Order>,
    running: Option<Wanted>,
    commands: JoinSet<Ended>,
    failures: [(CommandKind, Counter); 4],
    /// What outlives nerve of this service, and where it is kept.
    kept: Kept,
    memory: Memory,
    spool: Spools,
    /// What a hook said; it ends with this nerve, for the next one comes with the next life of the service.
    hook: Option<Note>,
    /// Since when nerve stops, milliseconds since the Unix epoch.
    stopping: Option<u64>,
    voices: Vec<Voice>,
    changes: broadcast::Sender<Arc<Change>>,
    taken: Vec<oneshot::Sender<Vec<Voice>>>,
    waiting: Vec<oneshot::Sender<Disabled>>,
    state: Arc<ArcSwap<ServiceState>>,
    reports: watch::Sender<Option<Arc<common::report::Report>>>,
    first_word: Option<Latch>,
}

#[derive(Debug)]
struct Ended {
    wanted: Wanted,
    result: Result<Outcome, SpawnError>,
}

#[derive(Debug)]
enum Wake {
    Verdict(usize, Verdict),
    Order(Order),
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
    let (order_sender, orders) = mpsc::channel(16);
    let (report_sender, reports) = watch::channel(None);
    let kept = context.memory.recall(&config.name);
    let machine = Machine::new(Arc::new(config.lifecycle.clone()), config.weight, kept.warmth);
    let checks: Vec<_> = config.checks.iter().map(|check| Checked::new(check)).collect();
    let state = Arc::new(ArcSwap::from_pointee(ServiceState {
        stand: machine.stand(),
        since: common::clock::unix_millis(),
        voices: Vec::new(),
        checks: states(&checks),
    }));
    let task = ServiceTask {
        machine,
        checks,
        reporters: reporters.iter().map(|reporter| reporter.state.clone()).collect(),
        verdicts,
        orders,
        running: None,
        commands: JoinSet::new(),
        failures: CommandKind::ALL.map(|kind| (kind, context.metrics.command(&config, kind))),
        kept,
        memory: context.memory.clone(),
        spool: context.spool.clone(),
        hook: None,
        stopping: None,
        voices: Vec::new(),
        changes: context.changes.clone(),
        taken: Vec::new(),
        waiting: Vec::new(),
        state: Arc::clone(&state),
        reports: report_sender,
        first_word: Some(ready),
        config: Arc::clone(&config),
    };
    let handle = ServiceHandle {
        config,
        reporters,
        mailboxes: Vec::new(),
        orders: order_sender,
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
            Some(order) = self.orders.recv() => Wake::Order(order),
            // A command that was aborted says nothing.
            Some(Ok(ended)) = self.commands.join_next() => Wake::Ended(ended),
            Ok(()) = self.spool.changed() => Wake::Spool,
            () = sleep_until(wake_at) => Wake::Timer,
        }
    }

    /// The time to the end of the first voice. The wall clock may be set meanwhile: it is looked at again before long.
    fn next_expiry(&self) -> Duration {
        let now = common::clock::unix_millis();
        let expiries = self.voices.iter().filter_map(|voice| voice.note.expires);
        let next = expiries
            .min()
            .map(|at| Duration::from_millis(at.saturating_sub(now).max(1)));
        next.unwrap_or(RESYNC).min(RESYNC)
    }

    /// What a wake means to the machine.
    fn event(&mut self, wake: Wake) -> Option<Event> {
        match wake {
            Wake::Verdict(index, verdict) => self.verdict(index, verdict),
            Wake::Order(order) => self.order(order),
            Wake::Ended(ended) => {
                let success = self.log_end(&ended);
                self.running = self.running.filter(|running| *running != ended.wanted);
                let ticket = ended.wanted.ticket;
                Some(Event::Ended { ticket, success })
            }
            // Heard with the other voices.
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
        Some(Event::Checked(Health::of(self.checks.iter().map(Checked::word))))
    }

    fn order(&mut self, order: Order) -> Option<Event> {
        let Order { act, note, taken } = order;
        let (service, reason, author) = (&self.config.name, &note.reason, &note.author);
        let words = &mut self.kept.words;
        self.taken.push(taken);
        match act {
            Act::Disable { shutdown, done } => {
                tracing::info!(%service, shutdown, reason, author, "Told to disable the service.");
                words.disable(note);
                self.waiting.push(done);
                return Some(Event::Disable { shutdown });
            }
            Act::Leave { done } => {
                tracing::info!(%service, reason, "A hook says that the service is about to stop.");
                // Who calls again joins: the voice is as old as the first call.
                self.hook.get_or_insert(note);
                self.waiting.push(done);
                return Some(Event::Disable { shutdown: true });
            }
            Act::Enable => {
                tracing::info!(%service, reason, author, "Told to enable the service.");
                words.enable();
                self.hook = None;
            }
            Act::Force => {
                tracing::info!(%service, reason, author, "Told to force the service.");
                words.force(note);
                self.hook = None;
            }
            Act::Weight(weight) => {
                tracing::info!(%service, weight, reason, author, "Told the service's weight.");
                words.weigh(weight.map(|weight| (weight, note)));
            }
        }
        None
    }

    /// Hears every voice anew and tells the machine what they say together.
    fn hear(&mut self, now: Instant) {
        let wall = common::clock::unix_millis();
        if self.kept.words.expire(wall) {
            tracing::info!(service = %self.config.name, "An operator's word has expired.");
        }
        let mut voices: Vec<_> = self.kept.words.voices().collect();
        voices.extend(hacheck::voices(&self.spool.borrow_and_update(), &self.config, wall));
        voices.extend(self.hook.clone().map(|note| Voice {
            source: Source::Hook,
            says: Says::Down,
            note,
        }));
        if let (Some(since), true) = (self.stopping, self.config.down_on_shutdown) {
            voices.push(Voice {
                source: Source::Stop,
                says: Says::Down,
                note: Note::new("", "", since, None),
            });
        }
        self.voices = voices;
        let Decision { intent, weight, .. } = decide(&self.voices);
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
        self.commands.abort_all();
        self.running = wanted;
        let Some(wanted) = wanted else { return };
        if let Some(program) = self.machine.program(wanted.kind).cloned() {
            self.commands.spawn(async move {
                let result = program.run().await;
                Ended { wanted, result }
            });
        }
    }

    /// Where the service stands, with the reason that was given for its being disabled.
    fn stand(&self) -> Stand {
        let mut stand = self.machine.stand();
        let why = decide(&self.voices).why;
        if stand.reason == DISABLED && !why.is_empty() {
            stand.reason = format!("{DISABLED}: {why}");
        }
        stand
    }

    fn publish(&mut self, now: Instant) {
        // A stop takes no warmth away: the next nerve goes on from here.
        if self.stopping.is_none() {
            self.kept.warmth = self.machine.warmth(now);
        }
        self.memory.keep(&self.config.name, &self.kept);
        let stand = self.stand();
        let before = self.state.load();
        let moved = before.stand.phase != stand.phase;
        if moved {
            let (phase, weight, reason) = (stand.phase, stand.weight, &stand.reason);
            tracing::info!(service = %self.config.name, phase, weight, reason, "The service changed its phase.");
        }
        if stand.phase != "unknown" {
            self.first_word = None;
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
            voices: self.voices.clone(),
            checks: states(&self.checks),
        }));
    }

    /// Answers those whose orders were taken, and those who wait for the disable sequence, once it is over. A caller that
    /// has gone away is no reason not to have carried its order out.
    fn answer(&mut self) {
        for taken in self.taken.drain(..) {
            let down = self.voices.iter().filter(|voice| voice.says == Says::Down);
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
        let command = kind.word();
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
