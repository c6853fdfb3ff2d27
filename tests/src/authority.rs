//! An authority of a test's own, and what it has signed: PEM files in a directory that goes with it.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;

/// Signs for 127.0.0.1 and `localhost`, servers and clients alike.
#[derive(Debug)]
pub struct Authority {
    directory: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// A new one, which no client trusts yet.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // OpenSSL takes a certificate with its issuer's name for a self-signed one.
        params
            .distinguished_name
            .push(DnType::CommonName, "the tests' authority");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let authority = Self { directory, issuer };
        std::fs::write(authority.ca(), authority.issuer.pem()).unwrap();
        authority
    }

    /// Its own certificate.
    pub fn ca(&self) -> PathBuf {
        self.file("ca.pem")
    }

    /// Makes a certificate and its key.
    pub fn sign(&self, name: &str) -> Signed {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        let signed = Signed {
            cert: self.file(&format!("{name}.pem")),
            key: self.file(&format!("{name}.key")),
            both: self.file(&format!("{name}.both")),
        };
        std::fs::write(&signed.cert, &certificate).unwrap();
        std::fs::write(&signed.key, key.serialize_pem()).unwrap();
        std::fs::write(&signed.both, format!("{}{certificate}", key.serialize_pem())).unwrap();
        signed
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

/// A certificate and its key: the paths of PEM files.
#[derive(Debug)]
pub struct Signed {
    /// The certificate.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The key, then the certificate, as ZooKeeper wants them.
    pub both: PathBuf,
}
