//! A container's first process, where it is not the program that the container is for: when the first process ends,
//! however it does, the kernel kills all the others, and some have to outlive a crash of that program.
//!
//! So it does only what can hardly fail: it starts the program as its child, hands it the signals that an orchestrator
//! sends, reaps whoever has lost its parent, and starts the program again when that has crashed.

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

/// How long a crashed program stays away.
const AGAIN: BackoffConfig = BackoffConfig {
    min: Duration::from_millis(50),
    max: Duration::from_secs(5),
    healthy_after: Duration::from_secs(30),
};

/// A program that has lived this long was started well.
const PROVEN: Duration = Duration::from_secs(5);

/// Whether this process is one.
pub fn is_first() -> bool {
    std::process::id() == 1
}

/// What is kept running.
#[derive(Debug, Clone, Copy)]
pub struct Kept<'k> {
    /// For people.
    pub name: &'k str,
    /// The program and its arguments.
    pub argv: &'k [OsString],
    /// What it is sent when this process gets SIGTERM, SIGINT, SIGQUIT or SIGHUP, if anything; all but the last ask for
    /// its end, and it is told whether that was asked for before.
    pub translate: fn(Signal, bool) -> Option<Signal>,
}

/// Keeps a program running until it is told to stop, ends in good order, or can't be started; the exit code to end with.
/// `say` tells people of crashes. Must be called inside the runtime.
pub async fn keep(kept: Kept<'_>, say: impl Fn(&str)) -> Result<u8> {
    let Kept { name, argv, translate } = kept;
    let mut first = First {
        child_ended: unix::signal(SignalKind::child())?,
        relayed: [Signal::TERM, Signal::INT, Signal::QUIT, Signal::HUP]
            .into_iter()
            .map(|signal| Ok((signal, unix::signal(SignalKind::from_raw(signal.as_raw()))?)))
            .collect::<Result<_>>()?,
        is_stopping: false,
        translate,
    };
    let mut backoff = Backoff::new(AGAIN);
    let mut is_proven = false;
    let mut program = start(argv)?;
    loop {
        let begun = Instant::now();
        backoff.succeeded(begun);
        let end = first.end_of(program).await;
        is_proven |= begun.elapsed() >= PROVEN;
        if first.is_stopping || !is_crash(end, is_proven) {
            return Ok(code(end));
        }
        say(&format!("{name} crashed ({}) and is started again", describe(end)));
        program = loop {
            if first
                .is_stopped_within(backoff.failed(Instant::now(), fastrand::f64()))
                .await
            {
                return Ok(code(end));
            }
            match start(argv) {
                Ok(program) => break program,
                Err(error) => say(&format!("{name} can't be started again: {error}")),
            }
        };
    }
}

/// Whether the program is to be started again. What is wrong with its command line or configuration is for whoever starts
/// the container to see; but once it has run, there may be others that have to go on.
fn is_crash(end: ExitStatus, is_proven: bool) -> bool {
    let is = |code: ExitCode| end.code() == Some(i32::from(code as u8));
    if is(ExitCode::Usage) || is(ExitCode::Config) {
        return is_proven;
    }
    !end.success()
}

/// As a shell would say it.
fn code(end: ExitStatus) -> u8 {
    let code = end
        .code()
        .or_else(|| end.signal().map(|signal| signal.saturating_add(128)));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

/// Starts the program, in a process group of its own: what a terminal sends reaches it through us alone.
#[expect(
    clippy::disallowed_methods,
    reason = "it has no deadline, and is reaped as all others are"
)]
fn start(argv: &[OsString]) -> Result<Pid> {
    let (program, arguments) = argv.split_first().ok_or_else(|| Error::other("the command is empty"))?;
    let child = Command::new(program).args(arguments).process_group(0).spawn()?;
    Ok(Pid::from_child(&child))
}

/// What it hears.
struct First {
    child_ended: unix::Signal,
    relayed: Vec<(Signal, unix::Signal)>,
    is_stopping: bool,
    translate: fn(Signal, bool) -> Option<Signal>,
}

impl First {
    /// Hands signals on to the program and reaps until it has ended.
    async fn end_of(&mut self, program: Pid) -> ExitStatus {
        loop {
            if let Some(end) = reap(Some(program)) {
                return end;
            }
            tokio::select! {
                _ = self.child_ended.recv() => {}
                signal = heard(&mut self.relayed) => {
                    if let Some(signal) = (self.translate)(signal, self.is_stopping) {
                        // Fails only when it has ended, which is seen at once.
                        kill_process(program, signal).ok();
                    }
                    self.is_stopping |= signal != Signal::HUP;
                }
            }
        }
    }

    /// Reaps while the program does not run; whether a stop was asked for. Nobody is there to reload.
    async fn is_stopped_within(&mut self, pause: Duration) -> bool {
        let mut pause = std::pin::pin!(sleep(pause));
        loop {
            reap(None);
            tokio::select! {
                () = pause.as_mut() => return false,
                _ = self.child_ended.recv() => {}
                signal = heard(&mut self.relayed) => if signal != Signal::HUP { return true },
            }
        }
    }
}

/// The next signal to hand on. Cancel-safe.
async fn heard(relayed: &mut [(Signal, unix::Signal)]) -> Signal {
    poll_fn(|context| {
        for (signal, stream) in relayed.iter_mut() {
            if stream.poll_recv(context).is_ready() {
                return Poll::Ready(*signal);
            }
        }
        Poll::Pending
    })
    .await
}

/// Reaps every child that has ended; how this one did, if it is among them.
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
    fn a_crash_is_what_nobody_asked_for() {
        for is_proven in [false, true] {
            assert!(!is_crash(exit(0), is_proven));
            for crash in [exit(1), exit(101), ExitStatus::from_raw(9), ExitStatus::from_raw(6)] {
                assert!(is_crash(crash, is_proven), "{crash}");
            }
            for mistake in [64, 78] {
                assert_eq!(is_crash(exit(mistake), is_proven), is_proven, "{mistake}");
            }
        }
    }

    #[test]
    fn it_ends_as_the_program_did() {
        let ends = [exit(0), exit(78), exit(255), ExitStatus::from_raw(15)];
        assert_eq!(ends.map(code), [0, 78, 255, 143]);
    }
}
