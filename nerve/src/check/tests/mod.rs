use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

mod grpc;
mod http;
mod kubernetes;
mod proxyhttp;
mod tcp;
mod tls;

use super::connect::Stream;
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

/// Lets `serve` answer every connection.
async fn serving<F, Fut>(tasks: &mut JoinSet<()>, serve: F) -> u16
where
    F: Fn(TcpStream) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    tasks.spawn(async move {
        let mut served = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            served.spawn(serve(stream));
        }
    });
    port
}

/// A request up to its body, as it is on the wire.
async fn head(stream: &mut (impl Stream + ?Sized)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).expect("text")
}

fn detail(outcome: Result<String, Failure>) -> String {
    outcome.expect_err("the check fails").detail
}

#[tokio::test]
async fn exec_reports_how_the_program_ended() {
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
