//! Disabling: the service is already taken away; what is left is to wait until it is safe to stop it.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::DisableConfig;

/// A disable sequence, under way or over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Drain {
    /// Since when the service is taken away: the minimum counts from here.
    pub(super) since: Instant,
    /// The graceful command gets no longer.
    pub(super) max_at: Instant,
    /// Whether the shutdown command had its turn.
    pub(super) shutdown_ran: bool,
    pub(super) stage: Stage,
    pub(super) settled: Settled,
}

/// Where a disable sequence is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The shutdown command runs.
    Shutdown,
    /// The graceful command runs.
    Graceful,
    /// The graceful command failed and runs again then.
    GracefulPause(Instant),
    /// The commands are done; the minimum is not over.
    Hold,
    /// It is safe to stop the service.
    Done,
}

/// What a disable sequence waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// For the minimum duration alone.
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

    /// When something is due that no command's end brings.
    pub(super) fn wake_at(&self, config: &DisableConfig) -> Option<Instant> {
        match self.stage {
            Stage::Shutdown | Stage::Done => None,
            Stage::Graceful => Some(self.max_at),
            Stage::GracefulPause(until) => Some(until.min(self.max_at)),
            Stage::Hold => Some(self.since + config.min),
        }
    }

    /// Moves on as far as time alone allows.
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

    /// What follows the shutdown command, or comes first without one.
    pub(super) fn after_shutdown(&mut self, config: &DisableConfig) {
        self.stage = match config.gracefully_done {
            Some(_) if self.settled == Settled::Minimum => Stage::Graceful,
            Some(_) | None => Stage::Hold,
        };
    }

    /// The graceful command ended.
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

    /// Runs the shutdown command now, if it had no turn yet.
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
