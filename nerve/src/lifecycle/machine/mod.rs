//! The life of one service as a state machine: what the checks and the operator say goes in; whether it is announced,
//! at which weight, which command should run and when to look again come out.
//!
//! Pure and level-triggered: nothing is emitted. After each [`Machine::step`] the caller compares
//! [`Machine::command`] with the command that runs (and starts or kills it), sleeps until [`Machine::wake_at`] at most,
//! and publishes [`Machine::stand`]. A timer or a command that is no longer wanted is therefore gone by itself.
//!
//! Invariants: a disabled service is never announced as available; a command's end counts only while that very run is
//! wanted; a phase that waits for something has a command or a time to wake.

use std::sync::Arc;

use common::process::Program;
use tokio::time::Instant;

use crate::config::LifecycleConfig;
use crate::health::verdict::Health;
use crate::lifecycle::drain::{Drain, Settled, Stage};
use crate::lifecycle::warmup::{INTERVALS, WarmUp, WarmUpProgress};
use common::ratio::PerMille;

/// What the report and `/status` say of a service that was disabled, in Go-Nerve's words.
pub const DISABLED: &str = "Service is disabled";

/// The operator's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intent {
    /// The checks decide.
    Enabled,
    /// Available whatever the checks say.
    Forced,
    /// Not available whatever the checks say.
    Disabled,
}

impl Intent {
    /// As `Status` in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Forced => "forced",
            Self::Disabled => "disabled",
        }
    }
}

/// What happens to a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The checks' word.
    Checked(Health),
    /// The operator, or a stop (`shutdown`), takes the service away.
    Disable {
        /// Whether the shutdown command runs.
        shutdown: bool,
    },
    /// The operator gives it back.
    Enable {
        /// Whatever the checks say.
        force: bool,
    },
    /// The operator sets the full weight, 1 to 255.
    Weight(u8),
    /// A command ended.
    Ended {
        /// Which run of it.
        ticket: u64,
        /// Exit code 0 in time.
        success: bool,
    },
    /// Time passed.
    Tick {
        /// Whether any reporter has delivered what it was given last.
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

    /// As `type` in the metrics, in Go-Nerve's words.
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
pub struct Wanted {
    /// Which run; a new one has a new ticket.
    pub ticket: u64,
    /// Which command.
    pub kind: CommandKind,
}

/// Where a service stands, for its announcement and `/status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LifecycleStatus {
    /// The operator's word.
    pub intent: Intent,
    /// The phase in a word.
    pub phase: &'static str,
    /// Whether it is (to be) announced as available; `None`: nothing new is to be said of it yet.
    pub available: Option<bool>,
    /// Why it is not available; empty when it is.
    pub reason: String,
    /// The full weight.
    pub full_weight: u8,
    /// The weight now; 0 when not available.
    pub weight: u8,
    /// Why that is less than it would be: an advisory check that fails. Empty otherwise.
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

/// What is done before a service is announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Preparing {
    /// The command runs for the first time.
    First,
    /// It failed and blocks: it runs again then.
    Pause(Instant),
    /// It runs again.
    Again,
}

/// The state of one service.
#[derive(Debug, Clone)]
pub struct Machine {
    config: Arc<LifecycleConfig>,
    intent: Intent,
    health: Health,
    full_weight: u8,
    /// How warm the service was when the nerve before this one stopped; forgotten at the first failure.
    progress: Option<WarmUpProgress>,
    phase: Phase,
    command: Option<Wanted>,
    tickets: u64,
}

impl Machine {
    /// A service of which nothing is known but how warm it was under the nerve before this one.
    pub fn new(config: Arc<LifecycleConfig>, full_weight: u8, progress: Option<WarmUpProgress>) -> Self {
        Self {
            config,
            intent: Intent::Enabled,
            health: Health::Unknown,
            full_weight,
            progress,
            phase: Phase::Unknown,
            command: None,
            tickets: 0,
        }
    }

    /// Takes an event in.
    pub fn step(&mut self, event: Event, now: Instant) {
        match event {
            Event::Checked(health) => self.health = health,
            Event::Weight(weight) => self.full_weight = weight.max(1),
            Event::Enable { force: false } => self.intent = Intent::Enabled,
            Event::Enable { force: true } => self.intent = Intent::Forced,
            Event::Disable { shutdown } => self.disable(shutdown, now),
            Event::Ended { ticket, success } => self.ended(ticket, success, now),
            Event::Tick { reported } => self.tick(reported, now),
        }
        self.follow_intent(now);
        self.follow_phase();
    }

    /// The operator's word and the full weight that are in force.
    pub fn told(&self) -> (Intent, u8) {
        (self.intent, self.full_weight)
    }

    /// The command that should run now; any other should not.
    pub fn command(&self) -> Option<Wanted> {
        self.command
    }

    /// What `kind` runs.
    pub fn program(&self, kind: CommandKind) -> Option<&Program> {
        let stable = || self.config.warm_up.as_ref().and_then(|warm_up| warm_up.stable.as_ref());
        match kind {
            CommandKind::PreAvailable => self.config.pre_available.as_ref().map(|command| &command.program),
            CommandKind::CheckStable => stable().map(|stable| &stable.program),
            CommandKind::DisableShutdown => self.config.disable.shutdown.as_ref(),
            CommandKind::DisableGraceful => self.config.disable.gracefully_done.as_ref().map(|done| &done.program),
        }
    }

    /// When a [`Event::Tick`] is due.
    pub fn wake_at(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Preparing(Preparing::Pause(until)) => Some(*until),
            Phase::Unknown | Phase::Down | Phase::Preparing(_) | Phase::Up => None,
            Phase::WarmingUp(warm_up) => Some(warm_up.wake_at()),
            Phase::Disabled(drain) => drain.wake_at(&self.config.disable),
        }
    }

    /// What the disable sequence waited for; `None` while there is none, or it is under way.
    pub fn settled(&self) -> Option<Settled> {
        match &self.phase {
            Phase::Disabled(drain) if drain.stage == Stage::Done => Some(drain.settled),
            _ => None,
        }
    }

    /// Where the service stands.
    pub fn stand(&self) -> LifecycleStatus {
        let (phase, available, weight) = match &self.phase {
            Phase::Unknown => ("unknown", None, 0),
            Phase::Down => ("down", Some(false), 0),
            Phase::Preparing(Preparing::First) => ("preparing", None, 0),
            Phase::Preparing(_) => ("preparing", Some(false), 0),
            Phase::WarmingUp(warm_up) => ("warming up", Some(true), self.ramp(warm_up.step)),
            Phase::Up => ("up", Some(true), self.full_weight),
            Phase::Disabled(drain) if drain.stage == Stage::Done => ("disabled", Some(false), 0),
            Phase::Disabled(_) => ("disabling", Some(false), 0),
        };
        let degraded_reason = match (&self.health, self.intent) {
            (Health::Degraded { share, reason }, Intent::Enabled) if weight > 0 => Some((*share, reason.clone())),
            _ => None,
        };
        let (share, degraded_reason) = degraded_reason.unwrap_or((PerMille::WHOLE, String::new()));
        LifecycleStatus {
            intent: self.intent,
            phase,
            available,
            reason: self.reason(),
            full_weight: self.full_weight,
            weight: share.of(weight),
            degraded_reason,
        }
    }

    /// How warm the service is; `None` when it has to start from the beginning.
    pub fn progress(&self, now: Instant) -> Option<WarmUpProgress> {
        match &self.phase {
            Phase::Unknown | Phase::Preparing(_) => self.progress,
            Phase::WarmingUp(warm_up) => Some(warm_up.progress(now)),
            Phase::Up => Some(WarmUpProgress::WARM),
            Phase::Down | Phase::Disabled(_) => None,
        }
    }

    fn ramp(&self, step: u32) -> u8 {
        let warm_up = self.config.warm_up.as_ref();
        warm_up.map_or(self.full_weight, |config| config.shape.weight(step, self.full_weight))
    }

    fn reason(&self) -> String {
        match (&self.phase, &self.health) {
            (Phase::WarmingUp(_) | Phase::Up, _) => String::new(),
            (Phase::Disabled(_), _) => DISABLED.to_owned(),
            (Phase::Preparing(Preparing::First), _) => "Pre-available command is running".to_owned(),
            (Phase::Preparing(_), _) => "Pre-available command failed; it is run until it succeeds".to_owned(),
            (Phase::Down, Health::Unhealthy(reason)) => reason.clone(),
            (Phase::Unknown | Phase::Down, _) => "Not every check has reported yet".to_owned(),
        }
    }

    fn disable(&mut self, shutdown: bool, now: Instant) {
        self.intent = Intent::Disabled;
        self.progress = None;
        let config = &self.config.disable;
        if !matches!(self.phase, Phase::Disabled(_)) {
            let mut drain = Drain::start(now, config);
            drain.after_shutdown(config);
            self.phase = Phase::Disabled(drain);
        }
        if let (Phase::Disabled(drain), true) = (&mut self.phase, shutdown) {
            drain.shut_down(now, config);
        }
    }

    fn ended(&mut self, ticket: u64, success: bool, now: Instant) {
        let Some(wanted) = self.command.take_if(|wanted| wanted.ticket == ticket) else {
            return;
        };
        let disable = &self.config.disable;
        match (wanted.kind, &mut self.phase) {
            (CommandKind::PreAvailable, Phase::Preparing(preparing)) => {
                match self.config.pre_available.as_ref().and_then(|command| command.retry) {
                    Some(retry) if !success => *preparing = Preparing::Pause(now + retry),
                    // A failure that does not block is the caller's to log: the service is healthy all the same.
                    _ => self.phase = self.announced(now),
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
                    *preparing = Preparing::Again;
                }
            }
            (Phase::Disabled(drain), _) => drain.advance(now, &self.config.disable),
            _ => {}
        }
    }

    /// Moves between up and down when the checks' or the operator's word says so.
    fn follow_intent(&mut self, now: Instant) {
        let available = match (self.intent, &self.health) {
            (Intent::Disabled, _) => return,
            (Intent::Forced, _) | (Intent::Enabled, Health::Healthy | Health::Degraded { .. }) => Some(true),
            (Intent::Enabled, Health::Unhealthy(_)) => Some(false),
            (Intent::Enabled, Health::Unknown) => None,
        };
        let is_available = match self.phase {
            Phase::Preparing(_) | Phase::WarmingUp(_) | Phase::Up => Some(true),
            Phase::Down => Some(false),
            Phase::Unknown => None,
            // Enabled again: it comes up, or goes down for its checks' sake.
            Phase::Disabled(_) => Some(available != Some(true)),
        };
        if available == is_available {
            return;
        }
        if available != Some(true) {
            self.progress = None;
        }
        self.phase = match available {
            // What was enabled again before its checks reported stays away until they have.
            None | Some(false) => Phase::Down,
            Some(true) if self.config.pre_available.is_some() => Phase::Preparing(Preparing::First),
            Some(true) => self.announced(now),
        };
    }

    /// The phase of a service that is announced from now on.
    fn announced(&mut self, now: Instant) -> Phase {
        match (&self.config.warm_up, self.progress.take()) {
            (Some(_), Some(WarmUpProgress { step: INTERVALS.., .. })) | (None, _) => Phase::Up,
            (Some(config), progress) => Phase::WarmingUp(WarmUp::start(now, config, progress)),
        }
    }

    /// Wants the command that the phase needs, and none that it does not.
    fn follow_phase(&mut self) {
        let needed = match &self.phase {
            Phase::Preparing(Preparing::First | Preparing::Again) => Some(CommandKind::PreAvailable),
            // Started when it is due; kept while it runs.
            Phase::WarmingUp(_) => self
                .command
                .map(|wanted| wanted.kind)
                .filter(|kind| *kind == CommandKind::CheckStable),
            Phase::Disabled(drain) => match drain.stage {
                Stage::Shutdown => Some(CommandKind::DisableShutdown),
                Stage::Graceful => Some(CommandKind::DisableGraceful),
                Stage::GracefulPause(_) | Stage::Hold | Stage::Done => None,
            },
            Phase::Unknown | Phase::Down | Phase::Preparing(Preparing::Pause(_)) | Phase::Up => None,
        };
        if self.command.map(|wanted| wanted.kind) == needed {
            return;
        }
        self.command = None;
        if let Some(kind) = needed {
            self.start(kind);
        }
    }

    fn start(&mut self, kind: CommandKind) {
        self.tickets += 1;
        self.command = Some(Wanted {
            ticket: self.tickets,
            kind,
        });
    }
}

#[cfg(test)]
mod tests;
