//! The task with its machine, its reports and its callers; time is paused, so whole lives take milliseconds.

use std::time::Duration;

use common::ready::Readiness;
use common::report::Report;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::config::testing;
use crate::health::verdict::{Failure, FailureKind, Verdict};
use crate::lifecycle::machine::Intent;
use crate::metrics::Metrics;
use crate::overrides::Source;
use crate::reporter::{ReporterState, Reports};

fn context() -> Context {
    Context::new(Metrics::register(&mut Registry::default()))
}

/// A service whose checks and reporter are this test.
struct Fixture {
    handle: ServiceHandle,
    reports: Reports,
    verdicts: mpsc::Sender<(usize, Verdict)>,
    readiness: Readiness,
    stop: CancellationToken,
    tasks: JoinSet<()>,
    _reporter: watch::Sender<ReporterState>,
}

impl Fixture {
    fn new(keys: &str) -> Self {
        Self::within(&context(), keys)
    }

    fn within(context: &Context, keys: &str) -> Self {
        let config = testing::service(&format!("{{ name: web, port: 80, {keys} }}"));
        let (reporter, state) = watch::channel(ReporterState::Reported);
        let reporters = vec![ReporterHandle {
            kind: "console",
            target: "stdout".to_owned(),
            state,
        }];
        let readiness = Readiness::default();
        let (handle, reports, verdicts, task) = service(config, reporters, context, readiness.latch("web"));
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(task.run(stop.clone()));
        Self {
            handle,
            reports,
            verdicts,
            readiness,
            stop,
            tasks,
            _reporter: reporter,
        }
    }

    async fn verdict(&self, index: usize, passes: bool) {
        let outcome = if passes {
            Ok(String::new())
        } else {
            Err(Failure::new(FailureKind::Connection, "refused"))
        };
        let verdict = Verdict {
            at: 0,
            latency: Duration::ZERO,
            outcome,
        };
        self.verdicts.send((index, verdict)).await.expect("the service runs");
    }

    /// The next report that fits.
    async fn report(&mut self, fits: impl Fn(&Report) -> bool) -> Arc<Report> {
        let fitting = self.reports.wait_for(|report| report.as_deref().is_some_and(&fits));
        let report = timeout(Duration::from_mins(10), fitting)
            .await
            .expect("in time")
            .expect("the service runs");
        report.clone().expect("fits")
    }

    async fn disable(&self) -> oneshot::Receiver<Disabled> {
        let (done, disabled) = oneshot::channel();
        self.order(Act::Disable { shutdown: false, done }, Metadata::default())
            .await;
        disabled
    }

    async fn enable(&self) {
        self.order(Act::Enable, Metadata::default()).await;
    }

    /// Gives an order; what keeps the service away all the same.
    async fn order(&self, act: Act, note: Metadata) -> Vec<Override> {
        let (taken, answer) = oneshot::channel();
        assert!(self.handle.order(Command { act, note, taken }).await);
        answer.await.expect("it is taken in")
    }

    async fn ended(&mut self) {
        self.stop.cancel();
        let ended = timeout(Duration::from_mins(10), self.tasks.join_next()).await;
        ended.expect("in time").expect("one task").expect("no panic");
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_announced_once_every_check_passes_and_warms_up() {
    let mut bench = Fixture::new("checks: [{ type: tcp }, { type: tcp, port: 81 }]");
    bench.verdict(0, true).await;
    assert_eq!(bench.readiness.waiting_for(), ["web"]);
    assert_eq!(*bench.reports.borrow(), None);
    bench.verdict(1, true).await;
    let started = Instant::now();
    assert_eq!(bench.report(|report| report.available).await.weight, Some(1));
    assert_eq!(bench.readiness.waiting_for(), Vec::<String>::new());
    bench.report(|report| report.weight == Some(255)).await;
    assert_eq!(started.elapsed().as_secs(), 24);
}

#[tokio::test(start_paused = true)]
async fn it_falls_after_fall_failures_and_says_why() {
    let mut bench = Fixture::new("enableWarmup: false");
    bench.verdict(0, true).await;
    bench.report(|report| report.weight == Some(255)).await;
    bench.verdict(0, false).await;
    bench.verdict(0, true).await;
    bench.verdict(0, false).await;
    bench.verdict(0, false).await;
    let report = bench.report(|report| !report.available).await;
    assert_eq!(report.unavailable_reason, "tcp 127.0.0.1:80: refused");
    assert_eq!(report.weight, Some(0));
    assert_eq!(bench.handle.state().checks[0].up, Some(false));
}

#[tokio::test(start_paused = true)]
async fn a_status_is_reported_once_and_again_only_when_it_changes() {
    let mut bench = Fixture::new("enableWarmup: false, checks: [{ type: tcp, fall: 1, rise: 1 }]");
    // The first word is reported, also when it is a bad one.
    for (passes, repeats) in [(false, 3), (true, 5), (false, 2)] {
        bench.verdict(0, passes).await;
        bench.report(|report| report.available == passes).await;
        for _ in 0..repeats {
            bench.verdict(0, passes).await;
        }
        tokio::time::sleep(Duration::from_mins(5)).await;
        assert!(
            !bench.reports.has_changed().expect("the service runs"),
            "nothing is new"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_disable_answers_when_it_is_safe_to_stop() {
    let mut bench = Fixture::new("disableMinDurationInMilli: 5000");
    bench.verdict(0, true).await;
    bench.report(|report| report.available).await;
    let started = Instant::now();
    let disabled = bench.disable().await;
    let also = bench.disable().await;
    bench
        .report(|report| report.unavailable_reason == "Service is disabled")
        .await;
    assert_eq!(started.elapsed(), Duration::ZERO, "it is taken away at once");
    assert_eq!(disabled.await, Ok(Disabled::Settled(Settled::Minimum)));
    assert_eq!(also.await, Ok(Disabled::Settled(Settled::Minimum)));
    assert_eq!(started.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn an_enable_answers_those_who_wait_for_the_disable() {
    let mut bench = Fixture::new("enableWarmup: false");
    bench.verdict(0, true).await;
    let disabled = bench.disable().await;
    bench.enable().await;
    assert_eq!(disabled.await, Ok(Disabled::Cancelled));
    bench.report(|report| report.available).await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_disables_first_and_takes_orders_meanwhile() {
    let mut bench = Fixture::new("disableMinDurationInMilli: 5000");
    bench.verdict(0, true).await;
    bench.report(|report| report.available).await;
    let started = Instant::now();
    bench.stop.cancel();
    bench.report(|report| !report.available).await;
    let disabled = bench.disable().await;
    bench.ended().await;
    assert_eq!(started.elapsed().as_secs(), 5);
    assert_eq!(disabled.await, Ok(Disabled::Settled(Settled::Minimum)));
    let (act, note, (taken, _)) = (Act::Enable, Metadata::default(), oneshot::channel());
    assert!(!bench.handle.order(Command { act, note, taken }).await);
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_disable_what_is_configured_otherwise() {
    let mut bench = Fixture::new("setServiceAsDownOnShutdown: false");
    bench.verdict(0, true).await;
    bench.report(|report| report.available).await;
    let started = Instant::now();
    bench.ended().await;
    assert_eq!(started.elapsed(), Duration::ZERO);
    assert!(bench.reports.borrow().as_ref().is_some_and(|report| report.available));
}

#[tokio::test]
async fn commands_run_and_are_killed_when_nobody_wants_them_any_more() {
    let directory = tempfile::tempdir().expect("a directory");
    let (started, lived) = (directory.path().join("started"), directory.path().join("lived"));
    let script = format!("touch {}; sleep 30; touch {}", started.display(), lived.display());
    let keys = format!(
        "preAvailableCommand: [sh, -c, '{script}'], preAvailableMaxDurationInMilli: 60000, disableMinDurationInMilli: 1,
         disableGracefullyDoneCommand: ['false'], disableGracefullyDoneIntervalInMilli: 10, disableMaxDurationInMilli: 50"
    );
    let mut bench = Fixture::new(&keys);
    bench.verdict(0, true).await;
    let deadline = Instant::now() + Duration::from_secs(20);
    while !started.exists() {
        assert!(Instant::now() < deadline, "the command starts");
        tokio::task::yield_now().await;
    }
    assert_eq!(bench.handle.state().stand.phase, "preparing");
    let disabled = bench.disable().await;
    assert_eq!(disabled.await, Ok(Disabled::Settled(Settled::Maximum)));
    bench.enable().await;
    bench.ended().await;
    assert!(!lived.exists());
}

#[tokio::test(start_paused = true)]
async fn an_enable_does_not_undo_a_stop() {
    let mut bench = Fixture::new("disableMinDurationInMilli: 5000");
    bench.verdict(0, true).await;
    bench.report(|report| report.available).await;
    let started = Instant::now();
    bench.stop.cancel();
    bench.report(|report| !report.available).await;
    let kept_by = bench.order(Act::Force, Metadata::default()).await;
    assert_eq!(kept_by.len(), 1);
    assert_eq!(kept_by[0].source, Source::Stop);
    bench.ended().await;
    assert_eq!(started.elapsed().as_secs(), 5);
    assert!(bench.reports.borrow().as_ref().is_some_and(|report| !report.available));
}

#[tokio::test]
async fn a_word_ends_by_itself() {
    let mut bench = Fixture::new("enableWarmup: false");
    bench.verdict(0, true).await;
    bench.report(|report| report.available).await;
    let now = common::clock::unix_millis();
    let note = Metadata::new("deploy", "ann", now, Some(now + 300));
    let (done, disabled) = oneshot::channel();
    bench.order(Act::Disable { shutdown: false, done }, note.clone()).await;
    let report = bench.report(|report| !report.available).await;
    assert_eq!(report.unavailable_reason, "Service is disabled: deploy");
    let overrides = bench.handle.state().overrides.clone();
    assert_eq!(overrides.iter().map(|entry| &entry.note).collect::<Vec<_>>(), [&note]);
    bench.report(|report| report.available).await;
    assert!(common::clock::unix_millis() >= now + 300);
    assert_eq!(disabled.await, Ok(Disabled::Cancelled));
    assert_eq!(bench.handle.state().overrides, []);
}

#[tokio::test(start_paused = true)]
async fn hacheck_says_down_and_no_order_overrules_it() {
    let (spool, spools) = watch::channel(Arc::default());
    let context = Context {
        spool: spools,
        ..context()
    };
    let mut bench = Fixture::within(&context, "enableWarmup: false");
    bench.verdict(0, true).await;
    bench.report(|report| report.available).await;
    spool.send_replace(Arc::new(
        [("all".to_owned(), Metadata::new("kernel", "", 0, None))].into(),
    ));
    let report = bench.report(|report| !report.available).await;
    assert_eq!(report.unavailable_reason, "Service is disabled: kernel");
    let kept_by = bench.order(Act::Force, Metadata::default()).await;
    assert_eq!(kept_by[0].source, Source::Hacheck("all".to_owned()));
    spool.send_replace(Arc::default());
    bench.report(|report| report.available).await;
    assert_eq!(bench.handle.state().stand.intent, Intent::Forced);
}

#[tokio::test(start_paused = true)]
async fn words_weight_and_warmth_outlive_the_task() {
    let context = context();
    let mut first = Fixture::within(&context, "disableMinDurationInMilli: 1");
    first.verdict(0, true).await;
    first.order(Act::Weight(Some(100)), Metadata::default()).await;
    let weight = first.report(|report| report.weight > Some(3)).await.weight;
    first.ended().await;

    let mut second = Fixture::within(&context, "");
    second.verdict(0, true).await;
    assert_eq!(second.report(|report| report.available).await.weight, weight);
    second.order(Act::Weight(None), Metadata::default()).await;
    second.report(|report| report.weight == Some(255)).await;
    let _disabled = second.disable().await;
    second.tasks.abort_all();

    let mut third = Fixture::within(&context, "");
    third.report(|report| !report.available).await;
    assert_eq!(third.readiness.waiting_for(), Vec::<String>::new());
    third.verdict(0, true).await;
    third.enable().await;
    assert_eq!(
        third.report(|report| report.available).await.weight,
        Some(1),
        "a disable ends the progress"
    );
}

#[tokio::test(start_paused = true)]
async fn every_change_is_told_once() {
    let context = context();
    let mut changes = context.changes.subscribe();
    let mut bench = Fixture::within(&context, "enableWarmup: false");
    bench.verdict(0, true).await;
    bench.verdict(0, true).await;
    bench.report(|report| report.available).await;
    let _disabled = bench.disable().await;
    for phase in ["up", "disabling", "disabled"] {
        let change = timeout(Duration::from_mins(1), changes.recv())
            .await
            .expect("in time")
            .expect("not behind");
        assert_eq!((change.name.as_str(), change.stand.phase), ("web", phase));
    }
    assert!(changes.is_empty());
}
