//! The lifecycle of one service as a state machine: from its checks and overrides to whether it is registered, at which
//! weight, which command should run and when the next tick is due.
//!
//! Pure and level-triggered: nothing is emitted. After each [`Machine::step`] the caller compares
//! [`Machine::command`] with the command that runs (and starts or kills it), sleeps until [`Machine::wake_at`] at most,
//! and publishes [`Machine::status`]. A timer or a command that is no longer desired therefore needs no cancellation.
//!
//! Invariants: a disabled service is never registered as available; a command's end counts only while that very run is
//! desired; a phase that waits has a command or a time to wake.

use std::sync::Arc;

use common::process::Program;
use tokio::time::Instant;

use crate::config::LifecycleConfig;
use crate::config::warmup_shape::INTERVALS;
use crate::health::verdict::Health;
use crate::lifecycle::drain::{Drain, Settled, Stage};
use crate::lifecycle::warmup::{WarmUp, WarmUpProgress};
use crate::overrides::{Effective, Intent};
use common::ratio::PerMille;

/// The reason of a disabled service in the report and `/status`, as in Go-Nerve.
pub const DISABLED: &str = "Service is disabled";

/// An input of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The health that the checks report.
    Checked(Health),
    /// The overrides in force.
    Overrides(Effective),
    /// A command ended.
    Ended {
        /// Its run.
        run: u64,
        /// Exit code 0 in time.
        success: bool,
    },
    /// Time passed.
    Tick {
        /// Whether any reporter has delivered the last report.
        reported: bool,
    },
}

/// The commands of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandKind {
    /// `preAvailableCommand`.
    PreAvailable,
    /// `enableCheckStableCommand`.
    CheckStable,
    /// `disableShutdownCommand`.
    DisableShutdown,
    /// `disableGracefullyDoneCommand`.
    DisableGraceful,
}

impl CommandKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [
        Self::PreAvailable,
        Self::CheckStable,
        Self::DisableShutdown,
        Self::DisableGraceful,
    ];

    /// `type` in the metrics, as in Go-Nerve.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PreAvailable => "pre-available",
            Self::CheckStable => "check-stable",
            Self::DisableShutdown => "disable-shutdown",
            Self::DisableGraceful => "disable-grace",
        }
    }
}

/// A command that should be running now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandRun {
    /// Identifies the run.
    pub id: u64,
    /// The command.
    pub kind: CommandKind,
}

/// The phase of a service in its report of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LifecyclePhase {
    /// Not every check has reported.
    Unknown,
    /// Its checks fail.
    Down,
    /// The pre-available command runs.
    Preparing,
    /// Its weight grows.
    WarmingUp,
    /// At its full weight.
    Up,
    /// The disable sequence is running.
    Disabling,
    /// It is safe to stop.
    Disabled,
}

impl LifecyclePhase {
    /// `Lifecycle` in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Down => "down",
            Self::Preparing => "preparing",
            Self::WarmingUp => "warming up",
            Self::Up => "up",
            Self::Disabling => "disabling",
            Self::Disabled => "disabled",
        }
    }
}

/// The status of a service, for its report and `/status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LifecycleStatus {
    /// The operator's intent.
    pub intent: Intent,
    /// The phase.
    pub phase: LifecyclePhase,
    /// Whether the report is that it is available; `None` while the last report stays in force.
    pub available: Option<bool>,
    /// The reason it is not available; empty when it is.
    pub reason: String,
    /// The full weight.
    pub full_weight: u8,
    /// The current weight; 0 when not available.
    pub weight: u8,
    /// The failure of an advisory check that lowers the weight; empty otherwise.
    pub degraded_reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    Unknown,
    Down,
    Preparing(Preparing),
    WarmingUp(WarmUp),
    Up,
    Disabled(Drain),
}

/// The preparation of a service before it is registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Preparing {
    /// The command runs for the first time.
    First,
    /// It failed and blocks: it runs again at this time.
    Pause(Instant),
    /// It runs again.
    Retry,
}

/// The state of one service.
#[derive(Debug, Clone)]
pub struct Machine {
    config: Arc<LifecycleConfig>,
    configured_weight: u8,
    overrides: Effective,
    health: Health,
    /// The warm-up progress under the previous nerve; reset by the first failure.
    progress: Option<WarmUpProgress>,
    phase: Phase,
    command: Option<CommandRun>,
    runs: u64,
}

impl Machine {
    /// Returns a service of unknown health, with its warm-up progress under the previous nerve.
    pub fn new(config: Arc<LifecycleConfig>, configured_weight: u8, progress: Option<WarmUpProgress>) -> Self {
        Self {
            config,
            configured_weight,
            overrides: Effective::default(),
            health: Health::Unknown,
            progress,
            phase: Phase::Unknown,
            command: None,
            runs: 0,
        }
    }

    /// Applies an event.
    pub fn step(&mut self, event: Event, now: Instant) {
        match event {
            Event::Checked(health) => self.health = health,
            Event::Overrides(overrides) => {
                self.overrides = overrides;
                if self.intent() == Intent::Disabled {
                    self.disable(now);
                }
            }
            Event::Ended { run, success } => self.ended(run, success, now),
            Event::Tick { reported } => self.tick(reported, now),
        }
        self.follow_intent(now);
        self.follow_phase();
    }

    /// Returns the intent in force.
    pub fn intent(&self) -> Intent {
        self.overrides.intent
    }

    fn full_weight(&self) -> u8 {
        self.overrides
            .weight
            .map_or(self.configured_weight, |weight| weight.max(1))
    }

    /// Returns the command that should run now; no other should.
    pub fn command(&self) -> Option<CommandRun> {
        self.command
    }

    /// Returns the program of `kind`.
    pub fn program(&self, kind: CommandKind) -> Option<&Program> {
        let stable = || self.config.warm_up.as_ref().and_then(|warm_up| warm_up.stable.as_ref());
        match kind {
            CommandKind::PreAvailable => self.config.pre_available.as_ref().map(|command| &command.program),
            CommandKind::CheckStable => stable().map(|stable| &stable.program),
            CommandKind::DisableShutdown => self.config.disable.shutdown.as_ref(),
            CommandKind::DisableGraceful => self.config.disable.gracefully_done.as_ref().map(|done| &done.program),
        }
    }

    /// Returns the time at which an [`Event::Tick`] is due.
    pub fn wake_at(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Preparing(Preparing::Pause(until)) => Some(*until),
            Phase::Unknown | Phase::Down | Phase::Preparing(_) | Phase::Up => None,
            Phase::WarmingUp(warm_up) => Some(warm_up.wake_at()),
            Phase::Disabled(drain) => drain.wake_at(&self.config.disable),
        }
    }

    /// Returns the outcome of the disable sequence; `None` while there is none, or it is running.
    pub fn settled(&self) -> Option<Settled> {
        match &self.phase {
            Phase::Disabled(drain) if drain.stage == Stage::Done => Some(drain.settled),
            _ => None,
        }
    }

    /// Returns the status of the service.
    pub fn status(&self) -> LifecycleStatus {
        let (phase, available, weight) = match &self.phase {
            Phase::Unknown => (LifecyclePhase::Unknown, None, 0),
            Phase::Down => (LifecyclePhase::Down, Some(false), 0),
            Phase::Preparing(Preparing::First) => (LifecyclePhase::Preparing, None, 0),
            Phase::Preparing(_) => (LifecyclePhase::Preparing, Some(false), 0),
            Phase::WarmingUp(warm_up) => (LifecyclePhase::WarmingUp, Some(true), self.ramp(warm_up.step)),
            Phase::Up => (LifecyclePhase::Up, Some(true), self.full_weight()),
            Phase::Disabled(drain) if drain.stage == Stage::Done => (LifecyclePhase::Disabled, Some(false), 0),
            Phase::Disabled(_) => (LifecyclePhase::Disabling, Some(false), 0),
        };
        let degraded_reason = match (&self.health, self.intent()) {
            (Health::Degraded { share, reason }, Intent::Enabled) if weight > 0 => Some((*share, reason.clone())),
            _ => None,
        };
        let (share, degraded_reason) = degraded_reason.unwrap_or((PerMille::WHOLE, String::new()));
        LifecycleStatus {
            intent: self.intent(),
            phase,
            available,
            reason: self.reason(),
            full_weight: self.full_weight(),
            weight: share.of(weight),
            degraded_reason,
        }
    }

    /// Returns the warm-up progress; `None` when the service has to start from the beginning.
    pub fn progress(&self, now: Instant) -> Option<WarmUpProgress> {
        match &self.phase {
            Phase::Unknown | Phase::Preparing(_) => self.progress,
            Phase::WarmingUp(warm_up) => Some(warm_up.progress(now)),
            Phase::Up => Some(WarmUpProgress::WARM),
            Phase::Down | Phase::Disabled(_) => None,
        }
    }

    fn ramp(&self, step: u32) -> u8 {
        let (full, warm_up) = (self.full_weight(), self.config.warm_up.as_ref());
        warm_up.map_or(full, |config| config.shape.weight(step, full))
    }

    fn reason(&self) -> String {
        match (&self.phase, &self.health) {
            (Phase::WarmingUp(_) | Phase::Up, _) => String::new(),
            (Phase::Disabled(_), _) if self.overrides.reason.is_empty() => DISABLED.to_owned(),
            (Phase::Disabled(_), _) => format!("{DISABLED}: {}", self.overrides.reason),
            (Phase::Preparing(Preparing::First), _) => "Pre-available command is running".to_owned(),
            (Phase::Preparing(_), _) => "Pre-available command failed; it is run until it succeeds".to_owned(),
            (Phase::Down, Health::Unhealthy(reason)) => reason.clone(),
            (Phase::Unknown | Phase::Down, _) => "Not every check has reported yet".to_owned(),
        }
    }

    fn disable(&mut self, now: Instant) {
        self.progress = None;
        let config = &self.config.disable;
        if !matches!(self.phase, Phase::Disabled(_)) {
            let mut drain = Drain::start(now, config);
            drain.after_shutdown(config);
            self.phase = Phase::Disabled(drain);
        }
        if let (Phase::Disabled(drain), true) = (&mut self.phase, self.overrides.shutdown) {
            drain.shut_down(now, config);
        }
    }

    fn ended(&mut self, run: u64, success: bool, now: Instant) {
        let Some(ended) = self.command.take_if(|command| command.id == run) else {
            return;
        };
        let disable = &self.config.disable;
        match (ended.kind, &mut self.phase) {
            (CommandKind::PreAvailable, Phase::Preparing(preparing)) => {
                match self.config.pre_available.as_ref().and_then(|command| command.retry) {
                    Some(retry) if !success => *preparing = Preparing::Pause(now + retry),
                    // The caller logs a failure that does not block: the service is healthy nevertheless.
                    _ => self.phase = self.registered(now),
                }
            }
            (CommandKind::CheckStable, Phase::WarmingUp(warm_up)) => {
                if let Some(config) = &self.config.warm_up {
                    warm_up.stability(success, now, config);
                }
            }
            (CommandKind::DisableShutdown, Phase::Disabled(drain)) => drain.after_shutdown(disable),
            (CommandKind::DisableGraceful, Phase::Disabled(drain)) => drain.graceful_ended(success, now, disable),
            _ => debug_assert!(false, "a command outlived its phase"),
        }
        if let Phase::Disabled(drain) = &mut self.phase {
            drain.advance(now, &self.config.disable);
        }
    }

    fn tick(&mut self, reported: bool, now: Instant) {
        match (&mut self.phase, &self.config.warm_up) {
            (Phase::WarmingUp(warm_up), Some(config)) => {
                if warm_up.advance(now, reported, config) {
                    self.phase = Phase::Up;
                } else if warm_up.next_stable.take_if(|at| now >= *at).is_some() {
                    self.start(CommandKind::CheckStable);
                }
            }
            (Phase::Preparing(preparing), _) => {
                if matches!(preparing, Preparing::Pause(until) if now >= *until) {
                    *preparing = Preparing::Retry;
                }
            }
            (Phase::Disabled(drain), _) => drain.advance(now, &self.config.disable),
            _ => {}
        }
    }

    /// Moves between up and down as the checks and the intent require.
    fn follow_intent(&mut self, now: Instant) {
        let available = match (self.intent(), &self.health) {
            (Intent::Disabled, _) => return,
            (Intent::Forced, _) | (Intent::Enabled, Health::Healthy | Health::Degraded { .. }) => Some(true),
            (Intent::Enabled, Health::Unhealthy(_)) => Some(false),
            (Intent::Enabled, Health::Unknown) => None,
        };
        let is_available = match self.phase {
            Phase::Preparing(_) | Phase::WarmingUp(_) | Phase::Up => Some(true),
            Phase::Down => Some(false),
            Phase::Unknown => None,
            // Enabled again: it comes up, or goes down if its checks fail.
            Phase::Disabled(_) => Some(available != Some(true)),
        };
        if available == is_available {
            return;
        }
        if available != Some(true) {
            self.progress = None;
        }
        self.phase = match available {
            // A service that is enabled before its checks have reported stays down until they have.
            None | Some(false) => Phase::Down,
            Some(true) if self.config.pre_available.is_some() => Phase::Preparing(Preparing::First),
            Some(true) => self.registered(now),
        };
    }

    /// Returns the phase of a service that is registered from now on.
    fn registered(&mut self, now: Instant) -> Phase {
        match (&self.config.warm_up, self.progress.take()) {
            (Some(_), Some(WarmUpProgress { step: INTERVALS.., .. })) | (None, _) => Phase::Up,
            (Some(config), progress) => Phase::WarmingUp(WarmUp::start(now, config, progress)),
        }
    }

    /// Sets the desired command to the one that the phase needs, if any.
    fn follow_phase(&mut self) {
        let needed = match &self.phase {
            Phase::Preparing(Preparing::First | Preparing::Retry) => Some(CommandKind::PreAvailable),
            // Started when it is due; kept while it runs.
            Phase::WarmingUp(_) => self
                .command
                .map(|command| command.kind)
                .filter(|kind| *kind == CommandKind::CheckStable),
            Phase::Disabled(drain) => match drain.stage {
                Stage::Shutdown => Some(CommandKind::DisableShutdown),
                Stage::Graceful => Some(CommandKind::DisableGraceful),
                Stage::GracefulPause(_) | Stage::Hold | Stage::Done => None,
            },
            Phase::Unknown | Phase::Down | Phase::Preparing(Preparing::Pause(_)) | Phase::Up => None,
        };
        if self.command.map(|command| command.kind) == needed {
            return;
        }
        self.command = None;
        if let Some(kind) = needed {
            self.start(kind);
        }
    }

    fn start(&mut self, kind: CommandKind) {
        self.runs += 1;
        self.command = Some(CommandRun { id: self.runs, kind });
    }
}

#[cfg(test)]
mod tests;
