//! A process group, killed and reaped as a whole.

use std::io::Result;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::process::{Child, Command};
use tokio::signal::unix;
use tokio::time::timeout;

/// How long a killed process may take to end; longer only in uninterruptible sleep (a dead network disk).
const REAP_TIMEOUT: Duration = Duration::from_secs(1);

/// A group whose leader is our child and not reaped yet. Dropping it kills the group; the runtime then reaps the leader.
#[derive(Debug)]
pub(super) struct Group {
    /// The group's id; `None` once the leader is reaped and the id may be reused.
    alive: Option<Pid>,
    leader: Child,
    child_ended: unix::Signal,
}

impl Group {
    /// Starts `command`, which requests a group of its own.
    pub(super) fn start(command: &mut Command) -> Result<Self> {
        // Before the start, so that no end is missed.
        let child_ended = unix::signal(unix::SignalKind::child())?;
        let leader = command.spawn()?;
        let id = leader.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        Ok(Self {
            alive: id,
            leader,
            child_ended,
        })
    }

    /// Waits until the leader has ended, without reaping it. Cancel-safe.
    pub(super) async fn leader_ended(&mut self) {
        let Some(leader) = self.alive else { return };
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        // An error means that there is nothing to wait for.
        while let Ok(None) = waitid(WaitId::Pid(leader), options) {
            self.child_ended.recv().await;
        }
    }

    /// Kills all processes of the group.
    pub(super) fn kill(&self) {
        if let Some(group) = self.alive {
            // Fails when only a zombie is left, which is fine.
            kill_process_group(group, Signal::KILL).ok();
        }
    }

    /// Waits for the end of the killed group: of the leader, and of the processes that became our children when it died
    /// (in a container, where we are process 1). `None`: the leader did not die.
    pub(super) async fn reap(&mut self) -> Option<Result<ExitStatus>> {
        let status = timeout(REAP_TIMEOUT, self.leader.wait()).await.ok()?;
        if let Some(group) = self.alive.take() {
            timeout(REAP_TIMEOUT, self.reap_orphans(group)).await.ok();
        }
        Some(status)
    }

    async fn reap_orphans(&mut self, group: Pid) {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        // An error means that no child of ours is in the group.
        while let Ok(orphan) = waitid(WaitId::Pgid(Some(group)), options) {
            if orphan.is_none() {
                self.child_ended.recv().await;
            }
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}
