//! `PING`, and on request a key that must be there.

use common::tls::TlsError;

use super::connection::Connection;
use super::login::Login;
use super::wire::redis::{Reply, command, reply};
use crate::config::{CheckConfig, RedisConfig};
use crate::health::verdict::{Failure, FailureKind};

#[derive(Debug)]
pub(super) struct RedisProbe {
    login: Login,
    config: RedisConfig,
}

impl RedisProbe {
    pub(super) fn new(config: &RedisConfig) -> Result<Self, TlsError> {
        Ok(Self {
            login: Login::new(&config.login)?,
            config: config.clone(),
        })
    }

    pub(super) async fn probe(&self, check: &CheckConfig) -> Result<String, Failure> {
        let password = self.login.password()?;
        let mut redis = self.login.open(check).await?;
        if let Some(password) = password {
            authenticate(&mut redis, &self.login.config.username, &password).await?;
        }
        match redis.call(&command(&["PING"]), reply).await? {
            Reply::Simple(pong) if pong == "PONG" => {}
            other => return Err(unexpected("PING", other)),
        }
        let Some(key) = &self.config.key else {
            return Ok("PONG".to_owned());
        };
        match redis.call(&command(&["EXISTS", key]), reply).await? {
            Reply::Integer(1) => Ok(format!("key {key} is there")),
            Reply::Integer(0) => Err(Failure::new(FailureKind::Answer, format!("there is no key {key}"))),
            other => Err(unexpected("EXISTS", other)),
        }
    }
}

async fn authenticate(redis: &mut Connection, username: &str, password: &str) -> Result<(), Failure> {
    let words = ["AUTH", username, password];
    let request = match username {
        "" => command(&["AUTH", password]),
        _ => command(&words),
    };
    match redis.call(&request, reply).await? {
        Reply::Simple(_) => Ok(()),
        // The first token alone: a server without the command repeats its arguments.
        Reply::Error(text) => {
            let word = text.split_whitespace().next().unwrap_or_default();
            Err(Failure::new(FailureKind::Answer, format!("AUTH was refused: {word}")))
        }
        Reply::Integer(_) => Err(Failure::new(FailureKind::Answer, "AUTH was answered with a number")),
    }
}

fn unexpected(command: &str, reply: Reply) -> Failure {
    let text = match reply {
        Reply::Simple(text) | Reply::Error(text) => text,
        Reply::Integer(number) => number.to_string(),
    };
    Failure::new(FailureKind::Answer, format!("{command} was answered: {text}"))
}
