//! TLS of clients: its configuration ([`TlsOptions`]) and connections ([`TlsClient`]).
//!
//! One provider of cryptography, aws-lc, for everything in the process. Servers are verified unless the configuration
//! disables that. Nothing is read from disk, not even the machine's roots, before a client is built.

mod client;
mod verify;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::ServerName;

use crate::config::Section;

pub use client::{TlsClient, TlsError, TlsStream, untrusting};
pub use rustls::ClientConfig;

/// The `tls` section.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsOptions {
    /// Trusted authorities, PEM; the machine's roots when absent.
    pub ca: Option<PathBuf>,
    /// Our certificate, when the server requests one.
    pub identity: Option<Identity>,
    /// The name in the server's certificate and in SNI; the host of the connection when absent.
    pub server_name: Option<String>,
    /// Whether any certificate is accepted.
    pub insecure_skip_verify: bool,
}

/// A client certificate, PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The certificate, followed by its intermediates.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl TlsOptions {
    /// Reads the section `key` of `parent`, known in the reference as `tls`; `None` when it is absent or wrong.
    pub fn of(parent: &mut Section<'_>, key: &'static str) -> Option<Self> {
        let mut section = parent.section(key, "tls")?;
        let path = |text: Option<String>| text.filter(|path| !path.is_empty()).map(PathBuf::from);
        let ca = path(section.text("ca"));
        let cert = path(section.text("cert"));
        let key = path(section.text("key"));
        let server_name = section.text("serverName").filter(|name| !name.is_empty());
        let insecure_skip_verify = section.flag_or("insecureSkipVerify", false);
        if let Some(name) = &server_name
            && ServerName::try_from(name.as_str()).is_err()
        {
            let what = format!("`{}` is no host name", name.escape_debug());
            section.problem("serverName", what, "a DNS name or an address, without a port");
        }
        if insecure_skip_verify && ca.is_some() {
            section.warning(
                "ca",
                "is not used: `insecureSkipVerify` accepts any certificate",
                "remove one of the two",
            );
        }
        let identity = match (cert, key) {
            (Some(cert), Some(key)) => Some(Identity { cert, key }),
            (None, None) => None,
            (cert, _) => {
                let missing = if cert.is_some() { "key" } else { "cert" };
                section.problem(
                    missing,
                    "is missing",
                    "`cert` and `key` are two PEM files that belong together",
                );
                None
            }
        };
        Some(Self {
            ca,
            identity,
            server_name,
            insecure_skip_verify,
        })
    }
}

/// Returns the provider, which becomes the process's default at its first use.
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    let provider = PROVIDER.get_or_init(|| {
        // Fails when there is a default already, which is equivalent.
        aws_lc_rs::default_provider().install_default().ok();
        Arc::new(aws_lc_rs::default_provider())
    });
    Arc::clone(provider)
}

#[cfg(test)]
mod tests;
