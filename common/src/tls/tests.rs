use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::config::{Document, UnknownKeys};

/// An authority with a server's and a client's certificate, in files.
struct Authority {
    directory: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("an authority");
        let authority = Self {
            directory: tempfile::tempdir().expect("a directory"),
            issuer,
        };
        std::fs::write(authority.path("ca"), authority.issuer.pem()).expect("written");
        authority
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn issue(&self, name: &str) -> Identity {
        let params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        let identity = Identity {
            cert: self.path(&format!("{name}.crt")),
            key: self.path(&format!("{name}.key")),
        };
        std::fs::write(&identity.cert, certificate.pem()).expect("written");
        std::fs::write(&identity.key, key.serialize_pem()).expect("written");
        identity
    }

    /// A server named `localhost`; it wants clients of this authority when `strict`.
    fn server(&self, strict: bool) -> TlsAcceptor {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("versions");
        let builder = if strict {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(self.issuer.der().clone()).expect("a root");
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
                .build()
                .expect("a verifier");
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let config = builder
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("a server");
        TlsAcceptor::from(Arc::new(config))
    }
}

/// Returns one reply from a server to a client with these options that connects to `host`.
async fn reply_over(server: TlsAcceptor, client: &TlsClient, host: &str) -> std::io::Result<String> {
    let (near, far) = tokio::io::duplex(1 << 16);
    let serve = async move {
        let far: DuplexStream = far;
        if let Ok(mut stream) = server.accept(far).await {
            stream.write_all(b"hello").await.ok();
            stream.shutdown().await.ok();
        }
    };
    let ask = async {
        let mut text = String::new();
        client.connect(host, near).await?.read_to_string(&mut text).await?;
        Ok(text)
    };
    tokio::join!(serve, ask).1
}

fn client(options: TlsOptions) -> TlsClient {
    TlsClient::new(options, &[]).expect("a client")
}

fn trusting(ca: &Path) -> TlsOptions {
    TlsOptions {
        ca: Some(ca.to_owned()),
        ..TlsOptions::default()
    }
}

#[tokio::test]
async fn a_server_is_verified_by_authority_and_name() {
    let authority = Authority::new();
    let trusting = trusting(&authority.path("ca"));
    let heard = reply_over(authority.server(false), &client(trusting.clone()), "localhost").await;
    assert_eq!(heard.expect("trusted"), "hello");
    let elsewhere = reply_over(authority.server(false), &client(trusting.clone()), "127.0.0.1").await;
    assert!(elsewhere.expect_err("not its name").to_string().contains("certificate"));
    let named = TlsOptions {
        server_name: Some("localhost".to_owned()),
        ..trusting
    };
    reply_over(authority.server(false), &client(named), "127.0.0.1")
        .await
        .expect("its name");
    let stranger = Authority::new();
    let strange = reply_over(
        stranger.server(false),
        &client(self::trusting(&authority.path("ca"))),
        "localhost",
    )
    .await;
    assert!(strange.expect_err("a stranger").to_string().contains("certificate"));
    let anybody = TlsOptions {
        insecure_skip_verify: true,
        ..TlsOptions::default()
    };
    reply_over(stranger.server(false), &client(anybody), "anywhere")
        .await
        .expect("any certificate is accepted");
}

#[tokio::test]
async fn a_client_shows_its_certificate() {
    let authority = Authority::new();
    let anonymous = client(trusting(&authority.path("ca")));
    reply_over(authority.server(true), &anonymous, "localhost")
        .await
        .expect_err("the name differs");
    let known = client(TlsOptions {
        identity: Some(authority.issue("me")),
        ..trusting(&authority.path("ca"))
    });
    assert_eq!(
        reply_over(authority.server(true), &known, "localhost")
            .await
            .expect("known"),
        "hello"
    );
}

#[tokio::test]
async fn replaced_files_are_read_again_and_bad_ones_passed_by() {
    let (old, new) = (Authority::new(), Authority::new());
    let ca = old.path("ca");
    let client = client(trusting(&ca));
    reply_over(old.server(false), &client, "localhost")
        .await
        .expect("the old authority");
    std::fs::write(&ca, "no certificate").expect("written");
    reply_over(old.server(false), &client, "localhost")
        .await
        .expect("still the old one");
    std::fs::copy(new.path("ca"), &ca).expect("copied");
    reply_over(new.server(false), &client, "localhost")
        .await
        .expect("the new one");
    reply_over(old.server(false), &client, "localhost")
        .await
        .expect_err("no longer");
}

#[test]
fn unusable_files_are_named() {
    let authority = Authority::new();
    let refused = |options: TlsOptions| TlsClient::new(options, &[]).expect_err("refused").to_string();
    assert!(refused(trusting(Path::new("/no/such/ca"))).contains("/no/such/ca"));
    std::fs::write(authority.path("empty"), "").expect("written");
    assert!(refused(trusting(&authority.path("empty"))).contains("no certificate in PEM"));
    let (one, other) = (authority.issue("one"), authority.issue("other"));
    let mixed = TlsOptions {
        identity: Some(Identity {
            cert: one.cert,
            key: other.key,
        }),
        ..trusting(&authority.path("ca"))
    };
    assert!(refused(mixed).contains("one.crt"));
}

#[test]
fn the_section_has_its_keys() {
    let read = |text: &str| {
        Document::parse("x.yaml", text.to_owned())
            .and_then(|document| document.resolve(UnknownKeys::Refuse, |root| Some(TlsOptions::of(root, "tls"))))
            .map(|loaded| loaded.value)
            .map_err(|problems| problems.to_string())
    };
    assert_eq!(read("{}"), Ok(None));
    assert_eq!(read("tls: {}"), Ok(Some(TlsOptions::default())));
    let whole = TlsOptions {
        ca: Some(PathBuf::from("/a")),
        identity: Some(Identity {
            cert: PathBuf::from("/b"),
            key: PathBuf::from("/c"),
        }),
        server_name: Some("d".to_owned()),
        insecure_skip_verify: false,
    };
    assert_eq!(
        read("tls: { ca: /a, cert: /b, key: /c, serverName: d }"),
        Ok(Some(whole))
    );
    for (keys, key) in [
        ("cert: /b", "tls.key"),
        ("key: /b", "tls.cert"),
        ("serverName: a b", "tls.serverName"),
    ] {
        let problems = read(&format!("tls: {{ {keys} }}")).expect_err("a problem");
        assert!(problems.contains(key), "{problems}");
    }
}
