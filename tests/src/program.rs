//! A child process of the bench: its output goes to a file, it takes signals, and it never outlives us.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::Instant;

use crate::eventually::{TooLate, wait_for};

/// A running program, killed when dropped.
#[derive(Debug)]
pub(crate) struct Running(Child);

impl Running {
    /// Starts `argv` with its output appended to `log`. `setpriv` becomes the program and has the kernel kill it
    /// should the calling thread end first, even by SIGKILL: call this from a test's own thread.
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

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    /// SIGSTOP; returns once every thread has stopped, for the last of them may still answer after the signal was sent.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
        let tasks = format!("/proc/{}/task", self.id());
        let begun = Instant::now();
        while std::fs::read_dir(&tasks)
            .unwrap()
            .any(|task| !is_stopped(&task.unwrap().path()))
        {
            assert!(begun.elapsed() < Duration::from_secs(10), "{tasks} does not stop");
            std::thread::yield_now();
        }
    }

    /// SIGCONT after [`Running::freeze`].
    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Waits until it has ended by itself.
    pub(crate) async fn ended(&mut self, within: Duration) -> Result<ExitStatus, TooLate> {
        wait_for("the program ends", within, async || {
            self.status().ok_or_else(|| "still running".to_owned())
        })
        .await
    }

    /// How it ended; `None` while it runs.
    pub(crate) fn status(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().unwrap()
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

/// Whether a thread has stopped, or ended meanwhile. Its state is the word after its name, which is in brackets.
fn is_stopped(task: &Path) -> bool {
    let stat = std::fs::read_to_string(task.join("stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().next());
    state.is_none_or(|state| matches!(state, "T" | "Z" | "X"))
}

/// One of our own binaries, from the directory of the running test or demo.
pub fn binary(name: &str) -> String {
    let ours = std::env::current_exe().unwrap();
    let found: Option<PathBuf> = ours
        .ancestors()
        .skip(1)
        .take(2)
        .map(|at| at.join(name))
        .find(|path| path.is_file());
    let found = found.unwrap_or_else(|| {
        panic!(
            "no `{name}` beside {}: run `cargo build --workspace --bins`",
            ours.display()
        )
    });
    found
        .into_os_string()
        .into_string()
        .expect("the target directory's path is text")
}
