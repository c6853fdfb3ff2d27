//! A problem in a configuration, said so that a stranger can mend it.

use std::fmt;

/// One thing wrong in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: String,
    /// Line and column, from 1, where they are known.
    pub at: Option<(usize, usize)>,
    /// The path of the key, e.g. `services[0].checks[1].timeoutInMilli`; empty for the file as a whole.
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// What to do, e.g. ``did you mean `timeoutInMilli`?``; may be empty.
    pub help: String,
}

/// All that is wrong in a file; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let _ = f;
        todo!()
    }
}

impl std::error::Error for Problems {}
