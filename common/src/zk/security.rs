//! Authentication and TLS of a session.
//!
//! Secrets and certificates are read at each attempt to connect, so that replaced ones are used from then on.

use zookeeper_client::{Connector, SaslOptions, TlsOptions as ClientTls};

use crate::config::{Secret, Section};
use crate::tls::{self, TlsOptions};

/// Security of a session; none by default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Security {
    /// Our identity.
    pub auth: Option<Auth>,
    /// TLS, when it is used: `ca` is needed; `serverName` and `insecureSkipVerify` are not known to the client.
    pub tls: Option<TlsOptions>,
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Auth {
    /// The authentication scheme.
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
    /// SASL with DIGEST-MD5: the server has a list of users and refuses others.
    Sasl,
}

impl Security {
    /// Reads `auth` and `tls` of a section; `None` when either is wrong.
    pub fn of(section: &mut Section<'_>) -> Option<Self> {
        let auth = section.section("auth", "auth").map(|mut section| auth(&mut section));
        let with_tls = section.has("tls");
        let tls = TlsOptions::of(section, "tls");
        if let Some(tls) = &tls {
            tls_is_supported(section, tls);
        }
        if with_tls && tls.is_none() {
            return None;
        }
        Some(Self {
            auth: match auth {
                Some(auth) => Some(auth?),
                None => None,
            },
            tls,
        })
    }

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

fn auth(section: &mut Section<'_>) -> Option<Auth> {
    let scheme = scheme(section);
    let user = section.required_text("user");
    let password = section.secret("password");
    if user.as_ref().is_some_and(|user| user.contains(':')) {
        section.problem(
            "user",
            "has a `:`",
            "ZooKeeper separates user and password by it: leave it out",
        );
    }
    if password.is_none() {
        section.problem("password", "is missing", "the text, `env:NAME` or `file:/PATH`");
    }
    Some(Auth {
        scheme: scheme?,
        user: user?,
        password: password?,
    })
}

fn scheme(section: &mut Section<'_>) -> Option<Scheme> {
    let word = section.text("scheme").unwrap_or_default().to_ascii_lowercase();
    let schemes = [("digest", Scheme::Digest), ("sasl", Scheme::Sasl)];
    if matches!(word.as_str(), "gssapi" | "kerberos") {
        let what = format!("`{word}` is not offered: of SASL's mechanisms there is DIGEST-MD5");
        section.problem("scheme", what, "`sasl` with a user that the servers know, or `digest`");
        return None;
    }
    section.choice_or("scheme", "digest", &schemes)
}

/// Reports options that the ZooKeeper client does not support.
fn tls_is_supported(section: &mut Section<'_>, tls: &TlsOptions) {
    for (is_unsupported, what, help) in [
        (
            tls.ca.is_none(),
            "names no `ca`, and ZooKeeper is not trusted by the machine's roots",
            "add `ca: FILE`, the authority of the ensemble's certificates",
        ),
        (
            tls.server_name.is_some(),
            "has a `serverName`, which is not there for ZooKeeper",
            "name the `hosts` as their certificates do",
        ),
        (
            tls.insecure_skip_verify,
            "has `insecureSkipVerify`, which is not there for ZooKeeper",
            "name the ensemble's `ca` instead",
        ),
    ] {
        if is_unsupported {
            section.problem("tls", what, help);
        }
    }
}

fn client_tls(options: &TlsOptions) -> Result<ClientTls, String> {
    // The client uses the process's provider.
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
