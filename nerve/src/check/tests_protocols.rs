//! Checks that speak protocols, before servers that are strange, silent or malicious.

use std::time::Duration;

use super::push::Heartbeat;
use super::tests::{free_port, kind, probe, server};
use super::*;
use crate::config::testing::service;

#[tokio::test]
async fn a_silent_server_is_late() {
    let mut tasks = tokio::task::JoinSet::new();
    let silent = server(&mut tasks, "").await;
    for check in [
        "amqp",
        "memcached",
        "redis",
        "sql, port: PORT",
        "sql, driver: postgres, port: PORT",
        "zookeeper",
    ] {
        let check = check.replace("PORT", &silent.to_string());
        let keys = |millis| format!("{{ type: {check}, timeoutInMilli: {millis} }}");
        assert_eq!(kind(probe(silent, &keys(100)).await), FailureKind::Timeout, "{check}");
        let nobody = free_port().await;
        let absent = keys(1000).replace(&silent.to_string(), &nobody.to_string());
        assert_eq!(kind(probe(nobody, &absent).await), FailureKind::Connection, "{check}");
    }
}

#[tokio::test]
async fn a_password_that_a_server_repeats_is_not_shown() {
    let mut tasks = tokio::task::JoinSet::new();
    let repeating = server(
        &mut tasks,
        "-ERR unknown command 'AUTH' with args beginning with: 'hunter2'\r\n",
    )
    .await;
    let denied = server(&mut tasks, "CLIENT_ERROR hunter2 is unknown\r\n").await;
    for (port, check) in [(repeating, "redis"), (denied, "memcached")] {
        let keys = format!("{{ type: {check}, username: me, password: hunter2 }}");
        let failure = probe(port, &keys).await.expect_err("refused");
        assert_eq!(failure.kind, FailureKind::Answer, "{failure:?}");
        assert!(!failure.detail.contains("hunter2"), "{failure:?}");
    }
}

#[tokio::test]
async fn other_protocols_are_distinguished() {
    let mut tasks = tokio::task::JoinSet::new();
    let web = server(&mut tasks, "HTTP/1.1 400 Bad Request\r\n\r\n").await;
    for check in ["amqp", "memcached", "redis"] {
        assert_eq!(
            kind(probe(web, &format!("{{ type: {check} }}")).await),
            FailureKind::Answer,
            "{check}"
        );
    }
}

#[tokio::test]
async fn a_secret_that_is_not_there_is_named() {
    let port = free_port().await;
    let failure = probe(port, "{ type: redis, password: \"env:NO_SUCH_PASSWORD\" }").await;
    let failure = failure.expect_err("no password");
    assert_eq!(failure.kind, FailureKind::Secret);
    assert!(failure.detail.contains("NO_SUCH_PASSWORD"), "{failure:?}");
}

#[tokio::test]
async fn a_file_passes_while_it_is_there_and_fresh() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("alive");
    let keys = |age| format!("{{ type: file, path: {}, maxAge: {age} }}", path.display());
    assert_eq!(kind(probe(1, &keys("1h")).await), FailureKind::Answer);
    std::fs::write(&path, "").expect("written");
    probe(1, &keys("1h")).await.expect("fresh");
    let old = std::fs::File::options().write(true).open(&path).expect("there");
    old.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1))
        .expect("an old time");
    assert_eq!(kind(probe(1, &keys("1h")).await), FailureKind::Answer);
    let any_age = format!("{{ type: file, path: {} }}", path.display());
    probe(1, &any_age).await.expect("of any age");
}

#[tokio::test]
async fn exec_has_its_environment_and_nerves_own() {
    let keys = "{ type: exec, environment: { GREETING: hello }, command: [sh, -c, \"echo $GREETING ${PATH:+path}\"] }";
    assert_eq!(probe(1, keys).await, Ok("hello path".to_owned()));
}

#[tokio::test]
async fn noop_passes_and_push_takes_heartbeats() {
    probe(1, "{ type: noop }").await.expect("always");
    let service = service("{ port: 1, checks: [{ type: push, name: beat, ttl: 20s }] }");
    let check = Check::new(Arc::clone(&service.checks[0])).expect("a check");
    let mailbox = check.mailbox().expect("it is a push").clone();
    assert_eq!(mailbox.name, "beat");
    for passing in [true, false] {
        let note = "words".to_owned();
        mailbox.push(Heartbeat {
            passing,
            note,
            ttl: mailbox.ttl,
        });
        assert_eq!(check.probe().await.is_ok(), passing);
    }
}
