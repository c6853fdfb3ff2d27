//! A child process of the bench: its output goes to a file, it takes signals, and it never outlives us.

use std::fs::OpenOptions;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::eventually::{TooLate, wait_for};

/// A running program, killed when dropped.
#[derive(Debug)]
pub(crate) struct Running(Child);

impl Running {
    /// Starts `argv` with its output appended to `log`. `setpriv` becomes the program and has the kernel kill it
    /// should this process die first, even by SIGKILL.
    pub(crate) fn start(argv: &[String], log: &Path) -> Self {
        let log = OpenOptions::new().create(true).append(true).open(log).unwrap();
        #[expect(
            clippy::disallowed_methods,
            reason = "runs until the test ends: no deadline to give it"
        )]
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .args(argv)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("setpriv, of Debian's util-linux, starts every program of the bench");
        Self(child)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    /// Waits until it has ended by itself.
    pub(crate) async fn ended(&mut self, within: Duration) -> Result<ExitStatus, TooLate> {
        wait_for("the program ends", within, async || {
            self.0.try_wait().unwrap().ok_or_else(|| "still running".to_owned())
        })
        .await
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }

    /// SIGKILL; returns once it is reaped.
    pub(crate) fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}
