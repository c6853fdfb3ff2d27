//! The keys of `exec`.

use std::collections::BTreeMap;

use common::config::{Secret, Section};

use crate::config::CheckKind;

/// The exit code of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecConfig {
    /// The program and its arguments; never empty.
    pub argv: Vec<String>,
    /// Variables beside nerve's own.
    pub environment: BTreeMap<String, Secret>,
}

pub(super) fn read(section: &mut Section<'_>, _host: Option<&str>, _port: u16) -> Option<CheckKind> {
    let argv = section.texts("command");
    let environment = section.secret_map("environment");
    if environment
        .keys()
        .any(|name| name.is_empty() || name.contains(['=', '\0']))
    {
        section.problem(
            "environment",
            "has a name that is empty or contains `=`",
            "e.g. `{ LANG: C }`",
        );
    }
    if argv.first().is_none_or(String::is_empty) {
        section.problem(
            "command",
            "is missing",
            "the program, then its arguments, e.g. `[/bin/sh, -c, \"test -f /run/ok\"]`",
        );
        return None;
    }
    Some(CheckKind::Exec(ExecConfig { argv, environment }))
}
