use std::sync::Mutex;

use common::exit::ExitCode;
use tokio::time::timeout;

use super::*;

type Said = Arc<Mutex<Vec<&'static str>>>;

/// A daemon with one task that would withdraw nodes, and one that ends when `breaks` says so.
fn daemon(said: &Said, breaks: CancellationToken) -> Daemon {
    let mut supervisor = Supervisor::new();
    let asked = CancellationToken::new();
    let log = Arc::clone(said);
    let node = Bond::under(&asked).hold(|stop: CancellationToken| async move {
        stop.cancelled().await;
        log.lock().expect("not poisoned").push("withdrawn");
    });
    supervisor.start(Stage::Reporters, "node", node);
    supervisor.start(Stage::Api, "api", |stop| async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = breaks.cancelled() => {}
        }
    });
    Daemon {
        supervisor,
        asked,
        readiness: Readiness::default(),
        reloads: reloads().0,
        notifier: Notifier::default(),
        grace: watch::Sender::new(PATIENCE).subscribe(),
    }
}

const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_signal_withdraws() {
    let said = Said::default();
    let daemon = daemon(&said, CancellationToken::new());
    let (sender, receiver) = mpsc::channel(1);
    sender.send(Signal::Stop).await.expect("there is room");
    let ended = timeout(PATIENCE, daemon.run(Signals::fed_by(receiver))).await;
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
    let ended = timeout(PATIENCE, daemon.run(Signals::fed_by(receiver))).await;
    let fatal = ended.expect("in time").expect_err("it broke");
    assert_eq!(fatal.code, ExitCode::Runtime);
    assert!(said.lock().expect("not poisoned").is_empty());
}
