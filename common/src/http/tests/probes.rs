//! The requests of the kubelet.

use super::routes::common;
use super::*;
use crate::config::{Document, UnknownKeys};

#[tokio::test]
async fn probes_read_and_do_nothing_else() {
    let common = common();
    let latch = common.readiness.latch("web");
    let server = Server::start(any_port(), Limits::default(), probes(common)).await;
    let status_of = async |method: &str, path: &str| {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
        server.request(request).await.0
    };
    assert_eq!(status_of("GET", "/live").await, 200);
    assert_eq!(status_of("GET", "//live").await, 200);
    assert_eq!(status_of("GET", "/metrics").await, 200);
    assert_eq!(status_of("GET", "/ready").await, 503);
    drop(latch);
    assert_eq!(status_of("GET", "/ready").await, 200);
    assert_eq!(status_of("PUT", "/live").await, 405);
    for path in ["/", "/log-level", "/version", "/status", "/live/x"] {
        assert_eq!(status_of("GET", path).await, 404, "{path}");
        assert_eq!(status_of("PUT", path).await, 404, "{path}");
    }
}

#[tokio::test]
async fn probes_listen_at_the_configured_address() {
    let read = |text: &str| {
        let document = Document::parse("test", text.to_owned()).expect("it parses");
        let mut probes = None;
        let loaded = document.resolve(UnknownKeys::Refuse, |root| {
            probes = ProbesConfig::read(root, 7).ok()?;
            Some(())
        });
        loaded.map(|_| probes).map_err(|problems| problems.to_string())
    };
    assert_eq!(read("{}"), Ok(None));
    let config = |host: &str, port| ProbesConfig {
        host: host.to_owned(),
        port,
    };
    assert_eq!(read("probes: {host: 10.0.0.1}"), Ok(Some(config("10.0.0.1", 7))));
    for bad in ["probes: {port: 8}", "probes: {host: ''}", "probes: true"] {
        assert!(read(bad).is_err(), "{bad}");
    }
    let bound = config("127.0.0.1", 0).bind().await.expect("free");
    assert!(bound.address().starts_with("127.0.0.1:"));
    let absent = config("env:NO_SUCH_VARIABLE", 1)
        .bind()
        .await
        .expect_err("it is not set");
    assert!(absent.contains("NO_SUCH_VARIABLE"), "{absent}");
}
