//! Programs run with a deadline, in a process group of their own that is killed and reaped as a whole.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// A program to run: an argument vector, never a shell line.
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
    /// The system's word.
    pub source: std::io::Error,
}

impl Program {
    /// Runs it to its end or its deadline. Dropping the future kills the group too.
    pub async fn run(&self) -> Result<Outcome, SpawnError> {
        todo!()
    }
}

/// A long-lived child in a process group of its own that is **not** killed when this value is dropped or this process
/// dies: it inherits standard error, so its logs go where ours go, whoever is alive.
#[derive(Debug)]
pub struct Detached {
    child: tokio::process::Child,
}

impl Detached {
    /// Starts `argv`.
    pub fn start(argv: &[String]) -> Result<Self, SpawnError> {
        let _ = argv;
        todo!()
    }

    /// The process id, `None` once it was reaped.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits for its end and says how it ended, e.g. `exit code 1`. Cancel-safe.
    pub async fn ended(&mut self) -> String {
        todo!()
    }
}

/// Looks `program` up as `Program::run` does: the executable's path, or `None`.
pub fn find(program: &str) -> Option<PathBuf> {
    let _ = program;
    todo!()
}
