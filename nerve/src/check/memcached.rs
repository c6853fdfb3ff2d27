//! `version`, or `stats` when something is expected of them.
//!
//! Memcached's text protocol; a server with an authentication file (`-Y`) takes the name and the password as the value
//! of a `set` (<https://github.com/memcached/memcached/blob/master/doc/protocol.txt>).

use common::tls::TlsError;

use super::connection::Connection;
use super::login::{Login, hide};
use super::wire::line;
use super::wire::memcached::statistics;
use crate::config::{CheckConfig, MemcachedConfig};
use crate::health::verdict::{Failure, FailureKind};

#[derive(Debug)]
pub(super) struct MemcachedProbe {
    login: Login,
    config: MemcachedConfig,
}

impl MemcachedProbe {
    pub(super) fn new(config: &MemcachedConfig) -> Result<Self, TlsError> {
        Ok(Self {
            login: Login::new(&config.login)?,
            config: config.clone(),
        })
    }

    pub(super) async fn probe(&self, check: &CheckConfig) -> Result<String, Failure> {
        let password = self.login.password()?;
        let mut memcached = self.login.open(check).await?;
        if let Some(password) = password {
            authenticate(&mut memcached, &self.login.config.username, &password)
                .await
                .map_err(|failure| hide(failure, &password))?;
        }
        let answer = |text| Failure::new(FailureKind::Answer, text);
        if self.config.expect.is_empty() {
            let version = memcached.call(b"version\r\n", line).await?;
            return match version.strip_prefix("VERSION ") {
                Some(version) => Ok(format!("version {version}")),
                None => Err(answer(format!("`version` was answered: {version}"))),
            };
        }
        let statistics = memcached.call(b"stats\r\n", statistics).await?;
        self.config.expect.judge(&statistics).map_err(answer)
    }
}

async fn authenticate(memcached: &mut Connection, username: &str, password: &str) -> Result<(), Failure> {
    let token = format!("{username} {password}");
    let request = format!("set nerve 0 0 {}\r\n{token}\r\n", token.len());
    match memcached.call(request.as_bytes(), line).await?.as_str() {
        "STORED" => Ok(()),
        refusal => Err(Failure::new(
            FailureKind::Answer,
            format!("the name or password was refused: {refusal}"),
        )),
    }
}
