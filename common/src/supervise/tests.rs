use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::signal::{Signal, Signals};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Intake,
    Registry,
    Api,
}

type Log = Arc<Mutex<Vec<&'static str>>>;

const GRACE: Duration = Duration::from_secs(12);

/// A task that runs until its stop, then takes `delay` to end and writes its name.
fn delaying(
    name: &'static str,
    delay: Duration,
    log: &Log,
) -> impl FnOnce(CancellationToken) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> + Send + 'static {
    let log = Arc::clone(log);
    move |stop| {
        Box::pin(async move {
            stop.cancelled().await;
            sleep(delay).await;
            log.lock().unwrap().push(name);
        })
    }
}

fn start(supervisor: &mut Supervisor<Stage>, stage: Stage, name: &'static str, delay: Duration, log: &Log) {
    supervisor.start(stage, name, delaying(name, delay, log));
}

/// A group whose tasks are listed in the wrong order.
fn group(names: [&'static str; 2], log: &Log) -> Group<Stage> {
    let mut group = Group::default();
    let second = Duration::from_secs(1);
    group.add(Stage::Registry, names[1], delaying(names[1], second, log));
    group.add(Stage::Intake, names[0], delaying(names[0], second, log));
    group
}

async fn run(supervisor: Supervisor<Stage>, signals: &[Signal]) -> Ended {
    let (sender, receiver) = mpsc::channel(8);
    for signal in signals {
        sender.try_send(*signal).unwrap();
    }
    let mut signals = Signals::fed_by(receiver);
    supervisor.run(&mut signals, || GRACE, |_| {}, || {}).await
}

#[tokio::test(start_paused = true)]
async fn stages_stop_in_order_each_after_the_one_before() {
    let log = Log::default();
    let mut supervisor = Supervisor::new();
    let second = Duration::from_secs(1);
    start(&mut supervisor, Stage::Api, "api", Duration::ZERO, &log);
    start(&mut supervisor, Stage::Registry, "slow node", 3 * second, &log);
    start(&mut supervisor, Stage::Registry, "node", second, &log);
    start(&mut supervisor, Stage::Intake, "check", 2 * second, &log);
    let began = Instant::now();
    assert_eq!(run(supervisor, &[Signal::Stop]).await, Ended::Clean);
    assert_eq!(*log.lock().unwrap(), ["check", "node", "slow node", "api"]);
    assert_eq!(began.elapsed(), 5 * second);
}

#[tokio::test(start_paused = true)]
async fn on_stop_runs_before_any_task_stops_and_a_reload_stops_nothing() {
    let log = Log::default();
    let mut supervisor = Supervisor::new();
    start(&mut supervisor, Stage::Intake, "check", Duration::ZERO, &log);
    let (sender, receiver) = mpsc::channel(8);
    for signal in [Signal::Reload, Signal::Reload, Signal::Stop] {
        sender.try_send(signal).unwrap();
    }
    let mut reloads = 0;
    let ended = supervisor
        .run(
            &mut Signals::fed_by(receiver),
            || GRACE,
            |failed| log.lock().unwrap().push(failed.map_or("on_stop", |_| "failed")),
            || reloads += 1,
        )
        .await;
    assert_eq!(ended, Ended::Clean);
    assert_eq!(*log.lock().unwrap(), ["on_stop", "check"]);
    assert_eq!(reloads, 2);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_ends_on_its_own_stops_the_rest() {
    let log = Log::default();
    let mut supervisor = Supervisor::new();
    start(&mut supervisor, Stage::Api, "api", Duration::ZERO, &log);
    start(&mut supervisor, Stage::Intake, "check", Duration::ZERO, &log);
    supervisor.start(Stage::Registry, "node", |_| async {});
    assert_eq!(
        run(supervisor, &[]).await,
        Ended::TaskFailed {
            task: "node".to_owned(),
            why: "it ended before it was requested to stop".to_owned()
        }
    );
    assert_eq!(*log.lock().unwrap(), ["check", "api"]);
}

/// synapse stopped HAProxy when one of its tasks failed.
#[tokio::test(start_paused = true)]
async fn on_stop_gets_the_failure_that_begins_the_stop() {
    let mut supervisor = Supervisor::new();
    supervisor.start(Stage::Registry, "node", |_| async {});
    let (_sender, receiver) = mpsc::channel(1);
    let mut failure = None;
    let ended = supervisor
        .run(
            &mut Signals::fed_by(receiver),
            || GRACE,
            |failed| failure = failed.cloned(),
            || {},
        )
        .await;
    assert_eq!(failure, Some(ended));
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_failure_with_its_message() {
    let log = Log::default();
    let mut supervisor = Supervisor::new();
    start(&mut supervisor, Stage::Api, "api", Duration::ZERO, &log);
    supervisor.start(Stage::Registry, "node", |_| async { panic!("no node {}", 7) });
    assert_eq!(
        run(supervisor, &[]).await,
        Ended::TaskFailed {
            task: "node".to_owned(),
            why: "it panicked: no node 7".to_owned()
        }
    );
    assert_eq!(*log.lock().unwrap(), ["api"]);
}

#[tokio::test(start_paused = true)]
async fn a_panic_during_the_shutdown_is_a_failure_and_later_stages_still_stop() {
    let log = Log::default();
    let mut supervisor = Supervisor::new();
    start(&mut supervisor, Stage::Api, "api", Duration::ZERO, &log);
    supervisor.start(Stage::Registry, "node", |stop| async move {
        stop.cancelled().await;
        panic!("at the end");
    });
    assert_eq!(
        run(supervisor, &[Signal::Stop]).await,
        Ended::TaskFailed {
            task: "node".to_owned(),
            why: "it panicked: at the end".to_owned()
        }
    );
    assert_eq!(*log.lock().unwrap(), ["api"]);
}

#[tokio::test(start_paused = true)]
async fn the_deadline_is_shared_and_remaining_tasks_are_named() {
    let log = Log::default();
    let mut supervisor = Supervisor::new();
    start(&mut supervisor, Stage::Api, "api", Duration::ZERO, &log);
    start(&mut supervisor, Stage::Intake, "check", GRACE / 2, &log);
    start(&mut supervisor, Stage::Registry, "node", GRACE, &log);
    let began = Instant::now();
    assert_eq!(
        run(supervisor, &[Signal::Stop]).await,
        Ended::StillRunning(vec!["node".to_owned(), "api".to_owned()])
    );
    assert_eq!(began.elapsed(), GRACE);
    assert_eq!(*log.lock().unwrap(), ["check"]);
}

#[tokio::test(start_paused = true)]
async fn a_second_signal_stops_at_once() {
    let log = Log::default();
    let mut supervisor = Supervisor::new();
    start(&mut supervisor, Stage::Intake, "check", GRACE / 2, &log);
    let began = Instant::now();
    assert_eq!(
        run(supervisor, &[Signal::Stop, Signal::Reload, Signal::Stop]).await,
        Ended::StillRunning(vec!["check".to_owned()])
    );
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn the_first_signal_after_a_failure_cuts_nothing_short() {
    let log = Log::default();
    let mut supervisor = Supervisor::new();
    start(&mut supervisor, Stage::Api, "api", GRACE / 2, &log);
    supervisor.start(Stage::Registry, "node", |_| async {});
    let (sender, receiver) = mpsc::channel(1);
    let ended = supervisor
        .run(
            &mut Signals::fed_by(receiver),
            || GRACE,
            |_| sender.try_send(Signal::Stop).unwrap(),
            || {},
        )
        .await;
    assert!(matches!(ended, Ended::TaskFailed { task, .. } if task == "node"));
    assert_eq!(*log.lock().unwrap(), ["api"]);
}

#[tokio::test(start_paused = true)]
async fn the_wait_is_reported_every_five_seconds() {
    let (subscriber, _, text) = crate::telemetry::log::captured("info");
    let _guard = tracing::subscriber::set_default(subscriber);
    let mut supervisor = Supervisor::new();
    start(
        &mut supervisor,
        Stage::Intake,
        "check web",
        GRACE * 11 / 12,
        &Log::default(),
    );
    assert_eq!(run(supervisor, &[Signal::Stop]).await, Ended::Clean);
    let text = text();
    let lines: Vec<_> = text.lines().filter(|line| line.contains("Still stopping.")).collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines[0].contains("check web") && lines[0].contains("left=7s"), "{text}");
}

/// Runs a supervisor beside `act`, which gets its groups and stops the daemon when it ends.
async fn run_beside<Fut: Future<Output = ()>>(
    supervisor: Supervisor<Stage>,
    act: impl FnOnce(Groups<Stage>) -> Fut,
) -> Ended {
    let (sender, receiver) = mpsc::channel(1);
    let act = act(supervisor.groups());
    let mut signals = Signals::fed_by(receiver);
    let ended = supervisor.run(&mut signals, || GRACE, |_| {}, || {});
    let act = async {
        act.await;
        sender.send(Signal::Stop).await.unwrap();
    };
    tokio::join!(ended, act).0
}

#[tokio::test(start_paused = true)]
async fn a_group_stops_stage_by_stage_while_the_rest_runs_on() {
    let log = Log::default();
    let mut supervisor = Supervisor::new();
    start(&mut supervisor, Stage::Intake, "check", Duration::ZERO, &log);
    let first = supervisor.start_group(group(["a", "b"], &log));
    let ended = run_beside(supervisor, async |groups| {
        let second = groups.start(group(["c", "d"], &log)).await.unwrap();
        groups.stop(first).await.unwrap();
        assert_eq!(*log.lock().unwrap(), ["a", "b"]);
        groups.stop(first).await.expect("it has stopped");
        groups.stop(second).await.unwrap();
        assert_eq!(*log.lock().unwrap(), ["a", "b", "c", "d"]);
    })
    .await;
    assert_eq!(ended, Ended::Clean);
    assert_eq!(log.lock().unwrap().last(), Some(&"check"));
}

#[tokio::test(start_paused = true)]
async fn a_group_that_runs_stops_with_the_daemon_in_its_stages() {
    let log = Log::default();
    let mut supervisor = Supervisor::new();
    start(&mut supervisor, Stage::Registry, "node", Duration::ZERO, &log);
    supervisor.start_group(group(["a", "b"], &log));
    assert_eq!(run(supervisor, &[Signal::Stop]).await, Ended::Clean);
    assert_eq!(*log.lock().unwrap(), ["a", "node", "b"]);
}

#[tokio::test(start_paused = true)]
async fn the_shutdown_ends_the_wait_for_a_group_and_starts_no_other() {
    let log = Log::default();
    let mut supervisor = Supervisor::new();
    let slow = supervisor.start_group(group(["a", "b"], &log));
    let groups = supervisor.groups();
    let (sender, receiver) = mpsc::channel(1);
    let mut signals = Signals::fed_by(receiver);
    let ended = supervisor.run(&mut signals, || GRACE, |_| {}, || {});
    let stop = async {
        sleep(Duration::from_millis(500)).await;
        sender.send(Signal::Stop).await.unwrap();
    };
    let (ended, stopped, ()) = tokio::join!(ended, groups.stop(slow), stop);
    assert_eq!((ended, stopped), (Ended::Clean, Err(Stopping)));
    assert_eq!(*log.lock().unwrap(), ["a", "b"], "its stages were kept");
    assert!(groups.start(group(["c", "d"], &log)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_task_of_a_group_that_ends_on_its_own_stops_the_daemon() {
    let log = Log::default();
    let mut supervisor = Supervisor::new();
    let mut broken = group(["a", "b"], &log);
    broken.add(Stage::Api, "c", |_| async {});
    supervisor.start_group(broken);
    let ended = run(supervisor, &[]).await;
    assert!(matches!(ended, Ended::TaskFailed { task, .. } if task == "c"));
    assert_eq!(*log.lock().unwrap(), ["a", "b"]);
}
