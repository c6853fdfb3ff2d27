//! What checks that log in have in common: a name, a password read at each probe, TLS.

use common::config::Secret;
use common::tls::{TlsClient, TlsError};

use super::connection::Connection;
use crate::config::{CheckConfig, LoginConfig};
use crate::health::verdict::{Failure, FailureKind};

#[derive(Debug)]
pub(super) struct Login {
    pub(super) config: LoginConfig,
    tls: Option<TlsClient>,
}

impl Login {
    pub(super) fn new(config: &LoginConfig) -> Result<Self, TlsError> {
        let client = |tls: &common::tls::TlsOptions| TlsClient::new(tls.clone(), &[]);
        Ok(Self {
            tls: config.tls.as_ref().map(client).transpose()?,
            config: config.clone(),
        })
    }

    pub(super) async fn open(&self, check: &CheckConfig) -> Result<Connection, Failure> {
        Connection::open((&check.host, check.port), check.prefer_ipv4, self.tls.as_ref()).await
    }

    /// The password as it is now.
    pub(super) fn password(&self) -> Result<Option<String>, Failure> {
        self.config.password.as_ref().map(read).transpose()
    }
}

/// A secret as it is now.
pub(super) fn read(secret: &Secret) -> Result<String, Failure> {
    secret
        .read()
        .map_err(|error| Failure::new(FailureKind::Secret, error.to_string()))
}

/// A failure without `secret`, should the other side have repeated it.
pub(super) fn hide(failure: Failure, secret: &str) -> Failure {
    if secret.is_empty() {
        return failure;
    }
    Failure {
        detail: failure.detail.replace(secret, "[redacted]"),
        ..failure
    }
}
