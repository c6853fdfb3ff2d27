//! The keys of `exec`.

use common::config::Section;

use super::Target;
use crate::config::CheckKind;

/// The exit code of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecConfig {
    /// The program and its arguments; never empty.
    pub argv: Vec<String>,
}

pub(super) fn read(section: &mut Section<'_>, _target: &Target) -> Option<CheckKind> {
    let argv = section.texts("command");
    if argv.first().is_none_or(String::is_empty) {
        section.problem(
            "command",
            "is missing",
            "the program, then its arguments, e.g. `[/bin/sh, -c, \"test -f /run/ok\"]`",
        );
        return None;
    }
    Some(CheckKind::Exec(ExecConfig { argv }))
}
