//! Logs through `tracing`, as text or JSON, with a level that can be changed while running.

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people; colour only on a terminal and without `NO_COLOR`.
    Text,
    /// One JSON object per line.
    Json,
}

/// Changes the level while running.
#[derive(Debug, Clone)]
pub struct LevelHandle {}

/// A level that is none, with the valid ones in its text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no log level; the levels are trace, debug, info, warn, error and off, alone or per module as in `info,common::zk=debug`"
)]
pub struct LevelError(pub String);

/// Starts logging to standard error. `level` also takes the originals' names (`fatal`, `panic` read as `error`).
/// Call once, first thing in `main`.
pub fn init(level: &str, format: Format) -> Result<LevelHandle, LevelError> {
    let _ = (level, format);
    todo!()
}

impl LevelHandle {
    /// Changes the level.
    pub fn set(&self, level: &str) -> Result<(), LevelError> {
        let _ = level;
        todo!()
    }

    /// The level in force.
    pub fn get(&self) -> String {
        todo!()
    }
}
