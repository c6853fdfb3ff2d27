//! `push`, through the API of a real nerve.

use std::time::Duration;

use e2e::daemon::Daemon;
use e2e::eventually::{ensure, eventually};
use e2e::ports::free_port;

#[tokio::test]
async fn a_service_reports_itself() {
    let directory = tempfile::tempdir().unwrap();
    let port = free_port();
    let configuration = format!(
        "apiPort: {port}\nservices: [{{ name: web, port: 80, enableWarmup: false, disableMinDurationInMilli: 1, checks: [\
         {{ type: push, name: beat, ttl: 1h, rise: 1, fall: 1, checkIntervalInMilli: 50 }}] }}]\n"
    );
    let mut nerve = Daemon::new("nerve", "nerve", directory.path(), port, &configuration);
    nerve.start_and_wait().await.unwrap();
    let push = "/v1/services/web/checks/beat/push";
    for (method, path, status) in [
        ("GET", push, 405),
        ("PUT", "/v1/services/none/checks/beat/push", 404),
        ("PUT", "/v1/services/web/checks/none/push", 404),
        ("PUT", "/v1/services/web/checks/beat/push?status=maybe", 400),
        ("PUT", "/v1/services/web/checks/beat/push?ttl=soon", 400),
    ] {
        assert_eq!(
            nerve.send(method, path).await.unwrap().status,
            status,
            "{method} {path}"
        );
    }
    // No report yet: neither up nor down.
    let lifecycle = async || nerve.status().await.map(|status| status[0]["Lifecycle"].to_string());
    assert_eq!(lifecycle().await, Ok("\"unknown\"".to_owned()));
    // The last one holds, then goes stale by itself.
    for (query, word) in [("", "up"), ("?status=fail", "down"), ("?ttl=2s", "up"), ("-", "down")] {
        if query != "-" {
            let path = format!("{push}{query}");
            assert_eq!(nerve.send("PUT", &path).await.unwrap().status, 200);
        }
        eventually(&format!("{query}: {word}"), Duration::from_secs(20), async || {
            let seen = lifecycle().await?;
            ensure(seen.contains(word), || seen.clone())
        })
        .await;
    }
    nerve.terminate().await;
}
