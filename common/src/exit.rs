//! How a daemon ends: the exit codes both share, and the error `main` prints.

/// The exit codes, from `sysexits.h` where it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitCode {
    /// A clean stop, or a check that found nothing wrong.
    Ok = 0,
    /// Something broke while running; a supervisor should start the daemon again.
    Runtime = 1,
    /// The command line is wrong (`EX_USAGE`).
    Usage = 64,
    /// The configuration, or what it names on this machine, is wrong (`EX_CONFIG`): a file that does not read, a port in
    /// use, a program that is not there, a path that can't be written. Starting again will not help.
    Config = 78,
}

/// Why a daemon could not start or had to stop, ready to be printed.
#[derive(Debug)]
pub struct Fatal {
    /// The process's exit code.
    pub code: ExitCode,
    /// What failed, on what, why it matters and what to do. May hold several lines.
    pub message: String,
}

impl Fatal {
    /// A failure of configuration or of what it names.
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
