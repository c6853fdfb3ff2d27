//! Exit codes, and the error that `main` prints.

use crate::config::Problems;

/// The exit codes, from `sysexits.h` where it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitCode {
    /// A clean stop, or a check that found no problem.
    Ok = 0,
    /// A failure while running; a supervisor should start the daemon again.
    Runtime = 1,
    /// An invalid command line (`EX_USAGE`).
    Usage = 64,
    /// An invalid configuration, or something that it names on this machine (`EX_CONFIG`): a file that can't be parsed, a
    /// port in use, an absent program, a path that can't be written. A restart will not help.
    Config = 78,
}

/// Why a daemon could not start or had to stop, ready to be printed.
#[derive(Debug)]
pub struct Fatal {
    /// The process's exit code.
    pub code: ExitCode,
    /// What failed, on what, why it matters and what to do. May have several lines.
    pub message: String,
}

impl Fatal {
    /// A failure of the configuration or of what it names.
    pub fn config(message: impl Into<String>) -> Self {
        Self {
            code: ExitCode::Config,
            message: message.into(),
        }
    }

    /// A failure while running.
    pub fn runtime(message: impl Into<String>) -> Self {
        Self {
            code: ExitCode::Runtime,
            message: message.into(),
        }
    }
}

impl From<Problems> for Fatal {
    fn from(problems: Problems) -> Self {
        Self::config(problems.to_string())
    }
}
