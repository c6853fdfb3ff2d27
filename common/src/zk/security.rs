//! Who we are for ZooKeeper, and how we know that it is ZooKeeper.
//!
//! Secrets and certificates are read at each attempt to connect, so that what was replaced is used from then on.

use zookeeper_client::{Connector, SaslOptions, TlsOptions as ClientTls};

use crate::config::Secret;
use crate::tls::{self, TlsOptions};

/// How a session is secured; by default it is not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Security {
    /// Who we are.
    pub auth: Option<Auth>,
    /// TLS, when it is used: `ca` is needed; `serverName` and `insecureSkipVerify` are not known to the client.
    pub tls: Option<TlsOptions>,
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Auth {
    /// How the server is told.
    pub scheme: Scheme,
    /// The name.
    pub user: String,
    /// The password.
    pub password: Secret,
}

/// How a user is authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// ZooKeeper's own: no user has to be known to the server, and so a wrong password is noticed only where an ACL
    /// names the right one.
    Digest,
    /// SASL with DIGEST-MD5: the server knows its users and refuses others.
    Sasl,
}

impl Security {
    /// `USER@`, or nothing.
    pub(super) fn user(&self) -> String {
        self.auth
            .as_ref()
            .map_or_else(String::new, |auth| format!("{}@", auth.user))
    }

    pub(super) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Adds what is needed to a connector. The error is for the operator and names no secret.
    pub(super) fn secure(&self, connector: Connector) -> Result<Connector, String> {
        let connector = match &self.tls {
            Some(tls) => connector.with_tls(client_tls(tls)?),
            None => connector,
        };
        let Some(auth) = &self.auth else { return Ok(connector) };
        let password = auth.password.read().map_err(|error| error.to_string())?;
        Ok(match auth.scheme {
            Scheme::Digest => connector.with_auth("digest", format!("{}:{password}", auth.user).as_bytes()),
            Scheme::Sasl => connector.with_sasl(SaslOptions::digest_md5(auth.user.clone(), password)),
        })
    }
}

fn client_tls(options: &TlsOptions) -> Result<ClientTls, String> {
    // The client takes the process's provider.
    tls::provider();
    let read = |path: &std::path::Path| {
        std::fs::read_to_string(path)
            .map_err(|error| format!("cannot read {}, which `tls` names: {error}", path.display()))
    };
    let ca = options.ca.as_deref().ok_or("`tls` names no `ca`")?;
    let trusting = ClientTls::new()
        .with_pem_ca(&read(ca)?)
        .map_err(|error| format!("{} has no certificate to trust: {error}", ca.display()))?;
    let Some(identity) = &options.identity else {
        return Ok(trusting);
    };
    trusting
        .with_pem_identity(&read(&identity.cert)?, &read(&identity.key)?)
        .map_err(|error| {
            format!(
                "cannot use the certificate {} with its key: {error}",
                identity.cert.display()
            )
        })
}
