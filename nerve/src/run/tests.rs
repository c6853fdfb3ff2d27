use std::sync::Mutex;

use common::exit::ExitCode;
use tokio::time::timeout;

use super::*;

type Log = Arc<Mutex<Vec<&'static str>>>;

const TIMEOUT: Duration = Duration::from_secs(20);

/// A daemon with one task that would withdraw nodes, and one that ends when `fail` is cancelled.
fn daemon(log: &Log, fail: CancellationToken) -> Daemon {
    let mut supervisor = Supervisor::new();
    let withdraw = CancellationToken::new();
    let withdrawn = Arc::clone(log);
    let node = WithdrawGuard::new(&withdraw).wrap(|stop: CancellationToken| async move {
        stop.cancelled().await;
        withdrawn.lock().expect("not poisoned").push("withdrawn");
    });
    supervisor.start(Stage::Reporters, "node", node);
    supervisor.start(Stage::Api, "api", |stop| async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = fail.cancelled() => {}
        }
    });
    Daemon {
        supervisor,
        withdraw,
        readiness: Readiness::default(),
        reloads: reloads(Notifier::default()).0,
        notifier: Notifier::default(),
        shutdown_timeout: watch::Sender::new(TIMEOUT).subscribe(),
    }
}

#[tokio::test]
async fn a_signal_withdraws() {
    let log = Log::default();
    let daemon = daemon(&log, CancellationToken::new());
    let (sender, receiver) = mpsc::channel(1);
    sender.send(Signal::Stop).await.expect("there is room");
    let ended = timeout(TIMEOUT, daemon.run(Signals::fed_by(receiver))).await;
    ended.expect("in time").expect("a clean end");
    assert_eq!(*log.lock().expect("not poisoned"), ["withdrawn"]);
}

#[tokio::test]
async fn a_failed_task_withdraws_nothing() {
    let log = Log::default();
    let fail = CancellationToken::new();
    let daemon = daemon(&log, fail.clone());
    let (_sender, receiver) = mpsc::channel(1);
    fail.cancel();
    let ended = timeout(TIMEOUT, daemon.run(Signals::fed_by(receiver))).await;
    let fatal = ended.expect("in time").expect_err("it failed");
    assert_eq!(fatal.code, ExitCode::Runtime);
    assert!(log.lock().expect("not poisoned").is_empty());
}
