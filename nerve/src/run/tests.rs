use std::sync::Mutex;

use common::exit::ExitCode;
use prometheus_client::registry::Registry;
use tokio::time::timeout;

use super::*;

type Said = Arc<Mutex<Vec<&'static str>>>;

/// A daemon with one task that would withdraw nodes, and one that ends when `breaks` says so.
fn daemon(said: &Said, breaks: CancellationToken) -> Daemon {
    let mut parts = Parts {
        supervisor: Supervisor::new(),
        asked: CancellationToken::new(),
        readiness: Readiness::default(),
        context: Context::new(Metrics::register(&mut Registry::default())),
        ensembles: Vec::new(),
        checks: 0,
        started: 0,
    };
    let log = Arc::clone(said);
    parts.start(Stage::Reporters, "node".to_owned(), |stop| async move {
        stop.cancelled().await;
        log.lock().expect("not poisoned").push("withdrawn");
    });
    parts.supervisor.start(Stage::Api, "api", |stop| async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = breaks.cancelled() => {}
        }
    });
    let Parts {
        supervisor,
        asked,
        readiness,
        ..
    } = parts;
    Daemon {
        supervisor,
        asked,
        readiness,
    }
}

const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_signal_withdraws() {
    let said = Said::default();
    let daemon = daemon(&said, CancellationToken::new());
    let (sender, receiver) = mpsc::channel(1);
    sender.send(Signal::Stop).await.expect("there is room");
    let ended = timeout(PATIENCE, daemon.run(PATIENCE, Signals::fed_by(receiver))).await;
    ended.expect("in time").expect("a clean end");
    assert_eq!(*said.lock().expect("not poisoned"), ["withdrawn"]);
}

#[tokio::test]
async fn a_task_that_breaks_withdraws_nothing() {
    let said = Said::default();
    let breaks = CancellationToken::new();
    let daemon = daemon(&said, breaks.clone());
    let (_sender, receiver) = mpsc::channel(1);
    breaks.cancel();
    let ended = timeout(PATIENCE, daemon.run(PATIENCE, Signals::fed_by(receiver))).await;
    let fatal = ended.expect("in time").expect_err("it broke");
    assert_eq!(fatal.code, ExitCode::Runtime);
    assert!(said.lock().expect("not poisoned").is_empty());
}
