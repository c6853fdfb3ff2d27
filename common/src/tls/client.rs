//! Connections over TLS, with certificates that may be replaced at runtime.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::client::Resumption;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use super::verify::AcceptAny;
use super::{Identity, TlsOptions, provider};

/// A connection over TLS.
pub type TlsStream<S> = tokio_rustls::client::TlsStream<S>;

/// Why a client can't be built.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read.
    #[error("cannot read {}, which `tls` names: {source}; check the path and its rights", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file has no PEM of the kind it should.
    #[error("{} has no {wanted} in PEM: {why}", path.display())]
    NotPem {
        /// Which.
        path: PathBuf,
        /// What was looked for.
        wanted: &'static str,
        /// What was found.
        why: String,
    },
    /// Certificate and key don't fit, or are of a kind that isn't known.
    #[error("cannot use the certificate {} with its key: {source}", cert.display())]
    Identity {
        /// The certificate.
        cert: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// The machine has no roots.
    #[error("this machine has no root certificates: install the package ca-certificates, or name a `ca` in `tls`")]
    NoRoots,
    /// The provider refuses.
    #[error("cannot set TLS up: {0}")]
    Setup(rustls::Error),
}

/// Makes connections with [`TlsOptions`].
///
/// Every handshake is a full one (no resumption), so that each verifies the server's certificate. Replaced files are read
/// again at the next connection; while they are unreadable, the last good ones are used.
#[derive(Debug)]
pub struct TlsClient {
    options: TlsOptions,
    alpn: &'static [&'static [u8]],
    loaded: ArcSwap<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    stamps: Vec<Option<Stamp>>,
    config: Arc<ClientConfig>,
}

/// What changes when a file is replaced.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
}

impl TlsClient {
    /// Reads the files. `alpn` are the protocols we offer, the best first.
    pub fn new(options: TlsOptions, alpn: &'static [&'static [u8]]) -> Result<Self, TlsError> {
        let loaded = Loaded {
            stamps: stamps(&options),
            config: config(&options, alpn)?,
        };
        Ok(Self {
            options,
            alpn,
            loaded: ArcSwap::from_pointee(loaded),
        })
    }

    /// The handshake over `stream`, which is connected to `host`.
    pub async fn connect<S>(&self, host: &str, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = self.name(host);
        let name = ServerName::try_from(name.to_owned()).map_err(|_| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("`{name}` is no server name for TLS"),
            )
        })?;
        TlsConnector::from(self.config()).connect(name, stream).await
    }

    /// The name that the certificate of `host` must have.
    pub fn name<'a>(&'a self, host: &'a str) -> &'a str {
        self.options.server_name.as_deref().unwrap_or(host)
    }

    /// The configuration with the files as they are now, for libraries that make connections themselves. They must ask
    /// for [`TlsClient::name`].
    pub fn config(&self) -> Arc<ClientConfig> {
        let loaded = self.loaded.load();
        let stamps = stamps(&self.options);
        if stamps == loaded.stamps {
            return Arc::clone(&loaded.config);
        }
        // A file that is being replaced is tried once per change, not once per connection.
        let config = config(&self.options, self.alpn).unwrap_or_else(|error| {
            tracing::warn!(%error, "Replaced TLS files cannot be used; keeping the previous ones.");
            Arc::clone(&loaded.config)
        });
        self.loaded.store(Arc::new(Loaded {
            stamps,
            config: Arc::clone(&config),
        }));
        config
    }
}

/// Returns a configuration without trusted authorities, for libraries that require one even without TLS.
pub fn untrusting() -> Arc<ClientConfig> {
    static UNTRUSTING: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    let config = UNTRUSTING.get_or_init(|| {
        // The process's default from now on, which the builder takes.
        provider();
        let builder = ClientConfig::builder().with_root_certificates(RootCertStore::empty());
        Arc::new(builder.with_no_client_auth())
    });
    Arc::clone(config)
}

fn stamps(options: &TlsOptions) -> Vec<Option<Stamp>> {
    let identity = options
        .identity
        .iter()
        .flat_map(|identity| [&identity.cert, &identity.key]);
    let stamp = |path: &PathBuf| {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Stamp {
            modified: metadata.modified().ok(),
            length: metadata.len(),
        })
    };
    options.ca.iter().chain(identity).map(stamp).collect()
}

fn config(options: &TlsOptions, alpn: &[&[u8]]) -> Result<Arc<ClientConfig>, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Setup)?;
    let builder = if options.insecure_skip_verify {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AcceptAny(provider())))
    } else {
        builder.with_root_certificates(match &options.ca {
            Some(path) => Arc::new(roots_of(path)?),
            None => machine_roots()?,
        })
    };
    let mut config = match &options.identity {
        Some(Identity { cert, key }) => builder
            .with_client_auth_cert(certificates(cert)?, private_key(key)?)
            .map_err(|source| TlsError::Identity {
                cert: cert.clone(),
                source,
            })?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Unreadable {
        path: path.to_owned(),
        source,
    })
}

fn not_pem(path: &Path, wanted: &'static str, why: &impl ToString) -> TlsError {
    TlsError::NotPem {
        path: path.to_owned(),
        wanted,
        why: why.to_string(),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read(path)?;
    let certificates = CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, PemError>>();
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err(not_pem(path, "certificate", &"there is none in it")),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(not_pem(path, "certificate", &error)),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(&read(path)?).map_err(|error| not_pem(path, "private key", &error))
}

fn roots_of(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots
            .add(certificate)
            .map_err(|error| not_pem(path, "usable certificate", &error))?;
    }
    Ok(roots)
}

/// The machine's roots, read once and shared: they are large.
fn machine_roots() -> Result<Arc<RootCertStore>, TlsError> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    if let Some(roots) = ROOTS.get() {
        return Ok(Arc::clone(roots));
    }
    let mut roots = RootCertStore::empty();
    let (usable, _unusable) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if usable == 0 {
        return Err(TlsError::NoRoots);
    }
    Ok(Arc::clone(ROOTS.get_or_init(|| Arc::new(roots))))
}
