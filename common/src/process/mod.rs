//! Programs run with a deadline, in a process group of their own that is killed and reaped as a whole.
//!
//! Processes that a program leaves behind in its group are killed when the program ends, so nothing accumulates behind a
//! check that runs every second. A program meant to stay has to leave the group (`setsid`, as `haproxy -D` does).
//!
//! The group is always killed **before** its leader is reaped: as long as the leader exists, even as a zombie, the
//! kernel does not reuse its number and the signal can't hit an unrelated process.

mod group;
pub mod init;
pub mod orphans;
mod output;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::io::{Error, ErrorKind};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::fs::{Access, access};
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use group::Group;
use output::Output;

/// How long the output of an ended program is still read when another process holds its pipe open.
const OUTPUT_TIMEOUT: Duration = Duration::from_millis(100);

/// A program to run: an argument vector, never a shell command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The program and its arguments; looked up in PATH when it has no `/`.
    pub argv: Vec<String>,
    /// Variables added to this process's own environment.
    pub env: Vec<(String, OsString)>,
    /// After this the whole process group is killed.
    pub timeout: Duration,
}

/// How a program that was started ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Exit code 0.
    Success {
        /// Its output and error output, interleaved, the last [`OUTPUT_CAP`] bytes of it as text.
        output: String,
    },
    /// Another exit code, a signal, or the deadline.
    Failure {
        /// E.g. `exit code 3`, `killed by signal 9`, `no answer within 1s; its process group was killed`.
        how: String,
        /// As in `Success`.
        output: String,
    },
}

/// How much of a program's output is kept.
pub const OUTPUT_CAP: usize = 16 * 1024;

/// A program that could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start `{program}`: {source}")]
pub struct SpawnError {
    /// argv\[0\].
    pub program: String,
    /// The cause.
    pub source: Error,
}

impl Program {
    /// Runs it to its end or its deadline. Dropping the future kills the group too.
    pub async fn run(&self) -> Result<Outcome, SpawnError> {
        let failed = |source| spawn_error(&self.argv, source);
        let (mut output, writer) = Output::new().map_err(failed)?;
        let mut group = {
            let mut command = command(&self.argv)?;
            command
                .envs(self.env.iter().map(|(name, value)| (name, value)))
                .stdout(writer.try_clone().map_err(failed)?)
                .stderr(writer);
            // Dropping the command closes our ends for writing: the pipe ends with its other users.
            Group::start(&mut command).map_err(failed)?
        };
        let mut deadline = std::pin::pin!(sleep(self.timeout));
        let in_time = tokio::select! {
            biased;
            () = deadline.as_mut() => false,
            () = group.leader_ended() => true,
            // Never completes: it drains the pipe, so that the program does not block on it.
            () = output.read_forever() => false,
        };
        if in_time {
            // All output of the leader is in the pipe; other writers get no longer than this.
            timeout(OUTPUT_TIMEOUT, output.read_to_end()).await.ok();
        }
        group.kill();
        let status = group.reap().await;
        let output = output.into_text();
        let how = match status {
            Some(Ok(status)) if in_time && status.success() => {
                return Ok(Outcome::Success { output });
            }
            Some(Ok(status)) if in_time => describe(status),
            Some(Err(error)) if in_time => format!("its exit status is unknown: {error}"),
            Some(_) => format!("no answer within {:?}; its process group was killed", self.timeout),
            None => format!(
                "no answer within {:?}; its process group was killed but still exists",
                self.timeout
            ),
        };
        Ok(Outcome::Failure { how, output })
    }
}

/// A long-lived child in a process group of its own that is **not** killed when this value is dropped or this process
/// dies. It inherits standard error, so that its logs go where ours go even then.
#[derive(Debug)]
pub struct Detached {
    child: tokio::process::Child,
}

impl Detached {
    /// Starts `argv`; its output joins its error output.
    pub fn start(argv: &[String]) -> Result<Self, SpawnError> {
        let failed = |source| spawn_error(argv, source);
        let stderr = std::io::stderr().as_fd().try_clone_to_owned();
        let child = command(argv)?
            .stdout(stderr.map_err(failed)?)
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(failed)?;
        Ok(Self { child })
    }

    /// Returns the process id; `None` once it was reaped.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits for its end and describes it, e.g. `exit code 1`. Cancel-safe.
    pub async fn ended(&mut self) -> String {
        match self.child.wait().await {
            Ok(status) => describe(status),
            Err(error) => format!("its exit status is unknown: {error}"),
        }
    }
}

/// Returns the path of the executable that `Program::run` would run.
pub fn find(program: &str) -> Option<PathBuf> {
    let executable = |path: &PathBuf| path.is_file() && access(path, Access::EXEC_OK).is_ok();
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(executable);
    }
    if program.is_empty() {
        return None;
    }
    // The default of the C library without PATH.
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
    std::env::split_paths(&path)
        .map(|directory| directory.join(Path::new(program)))
        .find(executable)
}

/// Returns the command for `argv` in a new process group, without standard input.
#[expect(clippy::disallowed_methods, reason = "this is the one place that starts programs")]
fn command(argv: &[String]) -> Result<Command, SpawnError> {
    let Some((program, arguments)) = argv.split_first() else {
        let source = Error::new(ErrorKind::InvalidInput, "the command is empty");
        return Err(spawn_error(argv, source));
    };
    let mut command = Command::new(program);
    command.args(arguments).process_group(0).stdin(Stdio::null());
    Ok(command)
}

fn spawn_error(argv: &[String], source: Error) -> SpawnError {
    SpawnError {
        program: argv.first().cloned().unwrap_or_default(),
        source,
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => status.to_string(),
    }
}
