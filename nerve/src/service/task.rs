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
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::announce::announce;
use crate::config::ServiceConfig;
use crate::health::threshold::Threshold;
use crate::health::verdict::{Health, Verdict};
use crate::lifecycle::machine::{CommandKind, Event, Intent, Machine, Wanted};
use crate::metrics::Metrics;
use crate::reporter::{ReporterHandle, ReporterState, Reports};
use crate::service::{CheckState, Disabled, Order, ServiceHandle, ServiceState};

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
    waiting: Vec<oneshot::Sender<Disabled>>,
    state: Arc<ArcSwap<ServiceState>>,
    reports: watch::Sender<Option<Arc<common::report::Report>>>,
    first_word: Option<Latch>,
}

#[derive(Debug)]
struct Checked {
    label: String,
    threshold: Threshold,
    last: Option<Arc<Verdict>>,
    /// Why it is down: the failure that brought it down, so that the report does not change with each later one.
    reason: String,
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
    Timer,
    Stop,
}

/// A service: how to see and steer it, where its reports come out, where its checks' verdicts go in, and its task.
/// `ready` is dropped at its first word.
pub fn service(
    config: Arc<ServiceConfig>,
    reporters: Vec<ReporterHandle>,
    metrics: &Metrics,
    ready: Latch,
) -> (ServiceHandle, Reports, mpsc::Sender<(usize, Verdict)>, ServiceTask) {
    let (verdict_sender, verdicts) = mpsc::channel(2 * config.checks.len().max(1));
    let (order_sender, orders) = mpsc::channel(16);
    let (report_sender, reports) = watch::channel(None);
    let machine = Machine::new(Arc::new(config.lifecycle.clone()), config.weight);
    let checks = config.checks.iter().map(|check| Checked {
        label: format!("{} {}", check.kind.word(), check.target()),
        threshold: Threshold::new(check.rise, check.fall),
        last: None,
        reason: String::new(),
    });
    let checks: Vec<_> = checks.collect();
    let state = Arc::new(ArcSwap::from_pointee(ServiceState {
        stand: machine.stand(),
        since: common::clock::unix_millis(),
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
        failures: CommandKind::ALL.map(|kind| (kind, metrics.command(&config, kind))),
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
        let mut stopping = false;
        loop {
            let wake = self.next(&stop, stopping).await;
            stopping |= matches!(wake, Wake::Stop);
            if let Some(event) = self.event(wake) {
                self.apply(event, Instant::now());
            }
            if stopping && (!self.config.down_on_shutdown || self.machine.settled().is_some()) {
                return;
            }
        }
    }

    async fn next(&mut self, stop: &CancellationToken, stopping: bool) -> Wake {
        let wake_at = self.machine.wake_at().unwrap_or_else(|| Instant::now() + RESYNC);
        tokio::select! {
            () = stop.cancelled(), if !stopping => Wake::Stop,
            Some((index, verdict)) = self.verdicts.recv() => Wake::Verdict(index, verdict),
            Some(order) = self.orders.recv() => Wake::Order(order),
            // A command that was aborted says nothing.
            Some(Ok(ended)) = self.commands.join_next() => Wake::Ended(ended),
            () = sleep_until(wake_at) => Wake::Timer,
        }
    }

    /// What a wake means to the machine.
    fn event(&mut self, wake: Wake) -> Option<Event> {
        match wake {
            Wake::Verdict(index, verdict) => self.verdict(index, verdict),
            Wake::Order(order) => Some(self.order(order)),
            Wake::Ended(ended) => {
                let success = self.log_end(&ended);
                self.running = self.running.filter(|running| *running != ended.wanted);
                let ticket = ended.wanted.ticket;
                Some(Event::Ended { ticket, success })
            }
            Wake::Timer => Some(Event::Tick {
                reported: self.reported(),
            }),
            Wake::Stop => self
                .config
                .down_on_shutdown
                .then_some(Event::Disable { shutdown: true }),
        }
    }

    fn verdict(&mut self, index: usize, verdict: Verdict) -> Option<Event> {
        let check = self.checks.get_mut(index)?;
        let verdict = Arc::new(verdict);
        let flipped = check.threshold.observe(verdict.outcome.is_ok());
        check.last = Some(Arc::clone(&verdict));
        if flipped {
            let check_name = &check.label;
            match &verdict.outcome {
                Ok(detail) => {
                    check.reason = String::new();
                    tracing::info!(service = %self.config.name, check = %check_name, detail, "A check passes.");
                }
                Err(failure) => {
                    check.reason = format!("{}: {}", check.label, failure.detail);
                    let error = &failure.detail;
                    tracing::warn!(service = %self.config.name, check = %check_name, %error, "A check fails.");
                }
            }
        }
        let words = self.checks.iter().map(|check| match check.threshold.up() {
            None => None,
            Some(true) => Some(Ok(())),
            Some(false) => Some(Err(check.reason.as_str())),
        });
        Some(Event::Checked(Health::of(words)))
    }

    fn order(&mut self, order: Order) -> Event {
        // A caller that has gone away is no reason not to carry its order out.
        match order {
            Order::Disable { shutdown, done } => {
                tracing::info!(service = %self.config.name, shutdown, "Told to disable the service.");
                self.waiting.push(done);
                Event::Disable { shutdown }
            }
            Order::Enable { force, done } => {
                tracing::info!(service = %self.config.name, force, "Told to enable the service.");
                done.send(()).ok();
                Event::Enable { force }
            }
            Order::Weight { weight, done } => {
                tracing::info!(service = %self.config.name, weight, "Told the service's weight.");
                done.send(()).ok();
                Event::Weight(weight)
            }
        }
    }

    fn reported(&self) -> bool {
        self.reporters
            .iter()
            .any(|state| *state.borrow() == ReporterState::Reported)
    }

    fn apply(&mut self, event: Event, now: Instant) {
        self.machine.step(event, now);
        self.run_wanted();
        self.publish();
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

    fn publish(&mut self) {
        let stand = self.machine.stand();
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
        drop(before);
        self.state.store(Arc::new(ServiceState {
            stand,
            since,
            checks: states(&self.checks),
        }));
    }

    /// Answers those who wait for the disable sequence, once it is over.
    fn answer(&mut self) {
        let outcome = match self.machine.settled() {
            Some(settled) => Disabled::Settled(settled),
            None if self.machine.stand().intent == Intent::Disabled => return,
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
            up: check.threshold.up(),
            last: check.last.clone(),
        })
        .collect()
}
