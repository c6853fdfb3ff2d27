//! The exit code of a program.
//!
//! Unlike Go-Nerve's, it has nerve's environment: a check without PATH finds nothing.

use std::time::Duration;

use common::process::{Outcome, Program};

use crate::health::verdict::{Failure, FailureKind, cut};

pub(super) fn program(argv: &[String], timeout: Duration) -> Program {
    Program {
        argv: argv.to_vec(),
        env: Vec::new(),
        timeout,
    }
}

pub(super) async fn probe(program: &Program) -> Result<String, Failure> {
    match program.run().await {
        Ok(Outcome::Success { output }) => Ok(cut(output.trim())),
        Ok(Outcome::Failure { how, output }) => {
            let output = output.trim();
            let separator = if output.is_empty() { "" } else { ": " };
            Err(Failure::new(FailureKind::Answer, format!("{how}{separator}{output}")))
        }
        Err(error) => Err(Failure::new(FailureKind::Program, error.to_string())),
    }
}
