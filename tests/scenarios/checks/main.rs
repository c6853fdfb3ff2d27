//! nerve's checks against the real servers: healthy, unhealthy, hanging, half-dead and absent; and no reported failure
//! has a password in it.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper that fails is a test that fails"
)]

mod amqp;
mod caches;
mod push;
mod sql;
mod zookeeper;

use std::sync::Arc;
use std::time::Duration;

use common::config::{Document, UnknownKeys};
use e2e::authority::Authority;
use e2e::eventually::eventually;
use e2e::servers::{PASSWORD, Server};
use nerve::check::Check;
use nerve::health::verdict::{Failure, FailureKind};

/// How long a server may take to start on a busy machine.
const TIMEOUT: Duration = Duration::from_mins(2);

/// Probes once with the keys of a check, for a service at `port`.
async fn probe(port: u16, keys: &str) -> Result<String, Failure> {
    let text = format!("services: [{{ port: {port}, checks: [{{ {keys} }}] }}]");
    let document = Document::parse("checks.yaml", text).unwrap();
    let loaded = document.resolve(UnknownKeys::Refuse, nerve::config::resolve);
    let config = loaded.unwrap_or_else(|problems| panic!("{problems}")).value;
    let check = Check::new(Arc::clone(&config.services[0].checks[0])).unwrap();
    let outcome = check.probe().await;
    if let Err(failure) = &outcome {
        assert!(!failure.detail.contains(PASSWORD), "{failure:?}");
    }
    outcome
}

/// Waits until it passes.
async fn passes(port: u16, keys: &str) {
    eventually(&format!("{keys} passes"), TIMEOUT, async || {
        probe(port, keys).await.map(drop).map_err(|failure| failure.detail)
    })
    .await;
}

/// Probes, which must fail in this way and with this text.
async fn fails(port: u16, keys: &str, kind: FailureKind, word: &str) {
    let failure = probe(port, keys).await.expect_err(keys);
    assert_eq!(failure.kind, kind, "{keys}: {failure:?}");
    assert!(failure.detail.contains(word), "{keys}: {failure:?}");
}

/// A check that passes fails while the server hangs, passes again after that, and fails when it is gone.
async fn follows(server: &mut Server, keys: &str) {
    passes(server.port, keys).await;
    server.freeze();
    let hurried = format!("{keys}, timeoutInMilli: 300");
    fails(server.port, &hurried, FailureKind::Timeout, "300ms").await;
    server.thaw();
    passes(server.port, keys).await;
    server.kill();
    fails(server.port, keys, FailureKind::Connection, "refused").await;
}

/// The key `tls` of a check that trusts `authority` and has a certificate of it.
fn identity(authority: &Authority) -> String {
    tls(authority, Some(authority))
}

fn tls(trusted: &Authority, ours: Option<&Authority>) -> String {
    let signed = ours.map(|authority| authority.sign("nerve"));
    let signed = signed.map(|us| format!(", cert: {}, key: {}", us.cert.display(), us.key.display()));
    format!(
        "tls: {{ ca: {}{} }}",
        trusted.ca().display(),
        signed.unwrap_or_default()
    )
}

/// A server of `authority` that wants clients of it: it is trusted for its authority's sake alone, and so are we.
async fn verifies(port: u16, keys: &str, authority: &Authority) {
    passes(port, &format!("{keys}, {}", identity(authority))).await;
    let stranger = Authority::new();
    let untrusted = format!("{keys}, {}", tls(&stranger, Some(authority)));
    fails(port, &untrusted, FailureKind::Connection, "certificate").await;
    let unknown = format!("{keys}, {}", tls(authority, Some(&stranger)));
    fails(port, &unknown, FailureKind::Connection, "").await;
}
