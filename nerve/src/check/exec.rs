//! The exit code of a program.
//!
//! Unlike Go-Nerve's, it has nerve's environment: a check without PATH finds nothing.

use std::time::Duration;

use common::config::Secret;
use common::process::{Outcome, Program};

use super::login::read;
use crate::config::ExecConfig;
use crate::health::verdict::{Failure, FailureKind, cut};

pub(super) async fn probe(config: &ExecConfig, timeout: Duration) -> Result<String, Failure> {
    let value = |(name, value): (&String, &Secret)| read(value).map(|value| (name.clone(), value.into()));
    let program = Program {
        argv: config.argv.clone(),
        env: config.environment.iter().map(value).collect::<Result<_, _>>()?,
        timeout,
    };
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
