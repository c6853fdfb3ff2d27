//! Disabling: the service is already withdrawn; the sequence waits until it is safe to stop it.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::DisableConfig;

/// A disable sequence, running or done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Drain {
    /// The time of the withdrawal, from which the minimum counts.
    pub(super) since: Instant,
    /// The deadline of the graceful command.
    pub(super) max_at: Instant,
    /// Whether the shutdown command was started.
    pub(super) shutdown_ran: bool,
    pub(super) stage: Stage,
    pub(super) settled: Settled,
}

/// The stage of a disable sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The shutdown command runs.
    Shutdown,
    /// The graceful command runs.
    Graceful,
    /// The graceful command failed and runs again at this time.
    GracefulPause(Instant),
    /// The commands are done; the minimum is not over.
    Hold,
    /// It is safe to stop the service.
    Done,
}

/// The wait that a disable sequence ended with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// Only for the minimum duration.
    Minimum,
    /// For the graceful command, and it succeeded.
    GracefullyDone,
    /// For the graceful command, and it did not succeed in the maximum duration.
    Maximum,
}

impl Drain {
    pub(super) fn start(now: Instant, config: &DisableConfig) -> Self {
        Self {
            since: now,
            max_at: now + config.max,
            shutdown_ran: false,
            stage: Stage::Hold,
            settled: Settled::Minimum,
        }
    }

    /// Returns the next time at which the stage changes without the end of a command.
    pub(super) fn wake_at(&self, config: &DisableConfig) -> Option<Instant> {
        match self.stage {
            Stage::Shutdown | Stage::Done => None,
            Stage::Graceful => Some(self.max_at),
            Stage::GracefulPause(until) => Some(until.min(self.max_at)),
            Stage::Hold => Some(self.since + config.min),
        }
    }

    /// Advances as far as the time allows.
    pub(super) fn advance(&mut self, now: Instant, config: &DisableConfig) {
        match self.stage {
            Stage::Graceful | Stage::GracefulPause(_) if now >= self.max_at => {
                self.settled = Settled::Maximum;
                self.stage = Stage::Hold;
            }
            Stage::GracefulPause(until) if now >= until => self.stage = Stage::Graceful,
            Stage::Shutdown | Stage::Graceful | Stage::GracefulPause(_) | Stage::Hold | Stage::Done => {}
        }
        if self.stage == Stage::Hold && now >= self.since + config.min {
            self.stage = Stage::Done;
        }
    }

    /// Enters the stage after the shutdown command, or the first one without it.
    pub(super) fn after_shutdown(&mut self, config: &DisableConfig) {
        self.stage = match config.gracefully_done {
            Some(_) if self.settled == Settled::Minimum => Stage::Graceful,
            Some(_) | None => Stage::Hold,
        };
    }

    /// Applies the end of the graceful command.
    pub(super) fn graceful_ended(&mut self, success: bool, now: Instant, config: &DisableConfig) {
        if success {
            self.settled = Settled::GracefullyDone;
            self.stage = Stage::Hold;
        } else {
            let pause = config
                .gracefully_done
                .as_ref()
                .map_or(Duration::ZERO, |graceful| graceful.interval);
            self.stage = Stage::GracefulPause(now + pause);
        }
    }

    /// Starts the shutdown command, unless it was started before.
    pub(super) fn shut_down(&mut self, now: Instant, config: &DisableConfig) {
        if config.shutdown.is_none() || self.shutdown_ran {
            return;
        }
        self.shutdown_ran = true;
        if self.stage == Stage::Done {
            self.max_at = now + config.max;
        }
        self.stage = Stage::Shutdown;
    }
}
