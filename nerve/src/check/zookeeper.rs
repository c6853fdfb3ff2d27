//! `ruok`, or `mntr` when something is expected of its statistics
//! (<https://zookeeper.apache.org/doc/r3.8.4/zookeeperAdmin.html#sc_zkCommands>).
//!
//! The server closes the connection after its answer. One without the command in its
//! `4lw.commands.whitelist` answers so, and that is what is shown.

use common::tls::TlsError;

use super::login::Login;
use super::wire::zookeeper::statistics;
use crate::config::{CheckConfig, ZookeeperCheckConfig};
use crate::health::verdict::{Failure, FailureKind};

#[derive(Debug)]
pub(super) struct ZookeeperProbe {
    login: Login,
    config: ZookeeperCheckConfig,
}

impl ZookeeperProbe {
    pub(super) fn new(config: &ZookeeperCheckConfig) -> Result<Self, TlsError> {
        Ok(Self {
            login: Login::new(&config.login)?,
            config: config.clone(),
        })
    }

    pub(super) async fn probe(&self, check: &CheckConfig) -> Result<String, Failure> {
        let command = if self.config.expect.is_empty() { "ruok" } else { "mntr" };
        let mut zookeeper = self.login.open(check).await?;
        zookeeper.send(command.as_bytes()).await?;
        let answer = zookeeper.rest().await?;
        let failure = |text| Failure::new(FailureKind::Answer, text);
        let said = || failure(format!("`{command}` was answered: {}", answer.trim()));
        if command == "ruok" {
            return if answer == "imok" { Ok(answer) } else { Err(said()) };
        }
        let statistics = statistics(&answer).ok_or_else(said)?;
        self.config.expect.judge(&statistics).map_err(failure)
    }
}
