use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;
use crate::config::testing::service;

/// Checks a port of this machine with the given keys.
pub(super) async fn probe(port: u16, check: &str) -> Result<String, Failure> {
    let service = service(&format!("{{ port: {port}, checks: [{check}] }}"));
    Check::new(Arc::clone(&service.checks[0]))
        .expect("a client")
        .probe()
        .await
}

/// A server that answers every request with `answer`, or never when it is empty.
pub(super) async fn server(tasks: &mut JoinSet<()>, answer: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    tasks.spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            if !answer.is_empty() {
                let mut request = [0; 1024];
                if stream.read(&mut request).await.is_ok() {
                    stream.write_all(answer.as_bytes()).await.ok();
                }
            }
            held.push(stream);
        }
    });
    port
}

pub(super) async fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    listener.local_addr().expect("an address").port()
}

pub(super) fn kind(outcome: Result<String, Failure>) -> FailureKind {
    outcome.expect_err("the check fails").kind
}

#[tokio::test]
async fn tcp_passes_when_somebody_accepts_and_fails_when_nobody_does() {
    let mut tasks = JoinSet::new();
    let port = server(&mut tasks, "").await;
    probe(port, "{ type: tcp }").await.expect("accepts");
    probe(port, "{ type: tcp, host: localhost }").await.expect("a name");
    assert_eq!(
        kind(probe(free_port().await, "{ type: tcp }").await),
        FailureKind::Connection
    );
    let unresolved = probe(port, "{ type: tcp, host: no-such-host.invalid, timeoutInMilli: 20000 }").await;
    assert_eq!(kind(unresolved), FailureKind::Unresolved);
}

#[tokio::test]
async fn http_passes_on_the_expected_statuses_alone() {
    let mut tasks = JoinSet::new();
    let cases = [
        ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", true),
        (
            "HTTP/1.1 302 Found\r\nlocation: http://192.0.2.1/\r\ncontent-length: 0\r\n\r\n",
            true,
        ),
        ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", false),
        // The body is not waited for.
        ("HTTP/1.1 500 Oh\r\ncontent-length: 100000\r\n\r\npart of it", false),
    ];
    for (answer, passes) in cases {
        let port = server(&mut tasks, answer).await;
        let outcome = probe(port, "{ type: http, path: /ping }").await;
        assert_eq!(outcome.is_ok(), passes, "{answer}: {outcome:?}");
    }
    let port = server(&mut tasks, "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await;
    probe(port, "{ type: http, status: \"200, 404\" }")
        .await
        .expect("404 is expected");
}

#[tokio::test]
async fn http_fails_when_nothing_answers_in_time_or_at_all() {
    let mut tasks = JoinSet::new();
    let silent = server(&mut tasks, "").await;
    assert_eq!(
        kind(probe(silent, "{ type: http, timeoutInMilli: 100 }").await),
        FailureKind::Timeout
    );
    assert_eq!(
        kind(probe(free_port().await, "{ type: http }").await),
        FailureKind::Connection
    );
    let babble = server(&mut tasks, "SSH-2.0-nothing\r\n").await;
    assert_eq!(kind(probe(babble, "{ type: http }").await), FailureKind::Connection);
}

#[tokio::test]
async fn http_asks_for_the_path_and_the_host() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { probe(port, "{ type: http, path: \"ping?full=1\" }").await.map(drop) });
    let (mut stream, _) = listener.accept().await.expect("a connection");
    let mut request = vec![0; 1024];
    let length = stream.read(&mut request).await.expect("a request");
    let request = String::from_utf8_lossy(&request[..length]).to_lowercase();
    assert!(request.starts_with("get /ping?full=1 http/1.1\r\n"), "{request}");
    assert!(request.contains(&format!("host: 127.0.0.1:{port}\r\n")), "{request}");
}

#[tokio::test]
async fn exec_says_how_the_program_ended() {
    assert_eq!(
        probe(1, "{ type: exec, command: [echo, fine] }").await,
        Ok("fine".to_owned())
    );
    let failure = probe(1, "{ type: exec, command: [sh, -c, \"echo broken; exit 3\"] }").await;
    let detail = failure.expect_err("exit 3").detail;
    assert!(detail.contains('3') && detail.contains("broken"), "{detail}");
    let late = probe(1, "{ type: exec, timeoutInMilli: 100, command: [sleep, \"60\"] }").await;
    assert_eq!(kind(late), FailureKind::Answer);
    assert_eq!(
        kind(probe(1, "{ type: exec, command: [/no/such/program] }").await),
        FailureKind::Program
    );
}

#[tokio::test]
async fn a_runner_probes_again_and_again_until_it_is_stopped() {
    let mut tasks = JoinSet::new();
    let port = server(&mut tasks, "").await;
    let service = service(&format!(
        "{{ port: {port}, noMetrics: true, checks: [{{ type: tcp, checkIntervalInMilli: 10 }}] }}"
    ));
    let (verdicts, mut received) = tokio::sync::mpsc::channel(2);
    let metrics = crate::metrics::Metrics::register(&mut prometheus_client::registry::Registry::default());
    let runner = runner::Runner {
        check: Check::new(Arc::clone(&service.checks[0])).expect("no client needed"),
        index: 7,
        delay: Duration::ZERO,
        verdicts,
        metrics: metrics.check(&service, "tcp"),
    };
    let stop = tokio_util::sync::CancellationToken::new();
    tasks.spawn(runner.run(stop.clone()));
    for _ in 0..5 {
        let (index, verdict) = received.recv().await.expect("a verdict");
        assert_eq!(index, 7);
        assert!(verdict.outcome.is_ok());
    }
    stop.cancel();
    while received.recv().await.is_some() {}
}
