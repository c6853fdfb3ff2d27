//! A minimal init for a container. When PID 1 ends, the kernel kills all other processes of the container, and some have
//! to survive a crash of the main program; so PID 1 is not that program.
//!
//! Init does only what can hardly fail: it starts the program as its child, forwards the signals of the orchestrator,
//! reaps orphans, and restarts the program after a crash.

use std::ffi::OsString;
use std::future::poll_fn;
use std::io::{Error, Result};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};
use std::task::Poll;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait};
use tokio::signal::unix::{self, SignalKind};
use tokio::time::{Instant, sleep};

use super::describe;
use crate::backoff::{Backoff, BackoffConfig};
use crate::exit::ExitCode;

/// The delay before a crashed program is restarted.
const RESTART_BACKOFF: BackoffConfig = BackoffConfig {
    min: Duration::from_millis(50),
    max: Duration::from_secs(5),
    healthy_after: Duration::from_secs(30),
};

/// A program that has run for this long has started successfully.
const STARTUP_TIME: Duration = Duration::from_secs(5);

/// Whether this process is PID 1.
pub fn is_pid_1() -> bool {
    std::process::id() == 1
}

/// A program to supervise.
#[derive(Debug, Clone, Copy)]
pub struct ChildSpec<'a> {
    /// The name for messages.
    pub name: &'a str,
    /// The program and its arguments.
    pub argv: &'a [OsString],
    /// Maps a signal of this process (SIGTERM, SIGINT, SIGQUIT, SIGHUP) to the signal for the program, if any. All but
    /// SIGHUP request its end; the argument is whether that was requested before.
    pub translate: fn(Signal, bool) -> Option<Signal>,
}

/// Restarts a program after each crash until a signal stops it, it ends cleanly, or it can't be started; returns the
/// exit code. `report` receives messages for the operator. Must be called inside the runtime.
pub async fn supervise_child(child: ChildSpec<'_>, report: impl Fn(&str)) -> Result<u8> {
    let ChildSpec { name, argv, translate } = child;
    let mut init = Init {
        child_ended: unix::signal(SignalKind::child())?,
        forwarded: [Signal::TERM, Signal::INT, Signal::QUIT, Signal::HUP]
            .into_iter()
            .map(|signal| Ok((signal, unix::signal(SignalKind::from_raw(signal.as_raw()))?)))
            .collect::<Result<_>>()?,
        is_stopping: false,
        translate,
    };
    let mut backoff = Backoff::new(RESTART_BACKOFF);
    let mut has_started = false;
    let mut program = start(argv)?;
    loop {
        let started_at = Instant::now();
        backoff.succeeded(started_at);
        let end = init.end_of(program).await;
        has_started |= started_at.elapsed() >= STARTUP_TIME;
        if init.is_stopping || !is_crash(end, has_started) {
            return Ok(code(end));
        }
        report(&format!("{name} crashed ({}); restarting", describe(end)));
        program = loop {
            if init
                .is_stopped_within(backoff.failed(Instant::now(), fastrand::f64()))
                .await
            {
                return Ok(code(end));
            }
            match start(argv) {
                Ok(program) => break program,
                Err(error) => report(&format!("{name} can't be restarted: {error}")),
            }
        };
    }
}

/// Whether the program is restarted. An invalid command line or configuration has to fail the start of the container; but
/// once the program has run, other processes may depend on the container.
fn is_crash(end: ExitStatus, has_started: bool) -> bool {
    let is = |code: ExitCode| end.code() == Some(i32::from(code as u8));
    if is(ExitCode::Usage) || is(ExitCode::Config) {
        return has_started;
    }
    !end.success()
}

/// Returns the exit code that a shell would report.
fn code(end: ExitStatus) -> u8 {
    let code = end
        .code()
        .or_else(|| end.signal().map(|signal| signal.saturating_add(128)));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

/// Starts the program in a process group of its own, so that signals of a terminal reach it only through this process.
#[expect(
    clippy::disallowed_methods,
    reason = "it has no deadline, and is reaped as all other children"
)]
fn start(argv: &[OsString]) -> Result<Pid> {
    let (program, arguments) = argv.split_first().ok_or_else(|| Error::other("the command is empty"))?;
    let child = Command::new(program).args(arguments).process_group(0).spawn()?;
    Ok(Pid::from_child(&child))
}

/// The signals of this process.
struct Init {
    child_ended: unix::Signal,
    forwarded: Vec<(Signal, unix::Signal)>,
    is_stopping: bool,
    translate: fn(Signal, bool) -> Option<Signal>,
}

impl Init {
    /// Forwards signals to the program and reaps until it has ended.
    async fn end_of(&mut self, program: Pid) -> ExitStatus {
        loop {
            if let Some(end) = reap(Some(program)) {
                return end;
            }
            tokio::select! {
                _ = self.child_ended.recv() => {}
                signal = next_signal(&mut self.forwarded) => {
                    if let Some(signal) = (self.translate)(signal, self.is_stopping) {
                        // Fails only when it has ended, which the next loop detects.
                        kill_process(program, signal).ok();
                    }
                    self.is_stopping |= signal != Signal::HUP;
                }
            }
        }
    }

    /// Reaps while the program does not run; returns whether a stop was requested.
    async fn is_stopped_within(&mut self, pause: Duration) -> bool {
        let mut pause = std::pin::pin!(sleep(pause));
        loop {
            reap(None);
            tokio::select! {
                () = pause.as_mut() => return false,
                _ = self.child_ended.recv() => {}
                signal = next_signal(&mut self.forwarded) => if signal != Signal::HUP { return true },
            }
        }
    }
}

/// Returns the next signal to forward. Cancel-safe.
async fn next_signal(forwarded: &mut [(Signal, unix::Signal)]) -> Signal {
    poll_fn(|context| {
        for (signal, stream) in forwarded.iter_mut() {
            if stream.poll_recv(context).is_ready() {
                return Poll::Ready(*signal);
            }
        }
        Poll::Pending
    })
    .await
}

/// Reaps every ended child; returns the exit status of `program` if it has ended.
fn reap(program: Option<Pid>) -> Option<ExitStatus> {
    let mut end = None;
    // An error means that there is no child at all.
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if Some(pid) == program {
            end = Some(ExitStatus::from_raw(status.as_raw()));
        }
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(code: i32) -> ExitStatus {
        ExitStatus::from_raw(code << 8)
    }

    #[test]
    fn failures_and_signals_are_crashes() {
        for has_started in [false, true] {
            assert!(!is_crash(exit(0), has_started));
            for crash in [exit(1), exit(101), ExitStatus::from_raw(9), ExitStatus::from_raw(6)] {
                assert!(is_crash(crash, has_started), "{crash}");
            }
            for mistake in [64, 78] {
                assert_eq!(is_crash(exit(mistake), has_started), has_started, "{mistake}");
            }
        }
    }

    #[test]
    fn it_exits_with_the_code_of_the_program() {
        let ends = [exit(0), exit(78), exit(255), ExitStatus::from_raw(15)];
        assert_eq!(ends.map(code), [0, 78, 255, 143]);
    }
}
