//! The task with its machine, its reports and its clients; time is paused, so whole lifecycles take milliseconds.

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
use crate::delivery::{ReporterKind, ReporterState, Reports};
use crate::health::verdict::{Failure, FailureKind, Verdict};
use crate::metrics::Metrics;
use crate::overrides::{Intent, Source};

fn context() -> Context {
    Context::new(Metrics::register(&mut Registry::default()))
}

/// A service whose checks and reporter are simulated by the test.
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
            kind: ReporterKind::Console,
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
        let action = Action::Disable { shutdown: false };
        let (accepted, disabled) = self.handle.command(action, Metadata::default()).await;
        accepted.await.expect("it is accepted");
        disabled
    }

    async fn enable(&self) {
        self.command(Action::Enable).await;
    }

    /// Runs a command; returns the overrides that keep the service down.
    async fn command(&self, action: Action) -> Vec<Override> {
        let (accepted, _) = self.handle.command(action, Metadata::default()).await;
        accepted.await.expect("it is accepted")
    }

    async fn ended(&mut self) {
        self.stop.cancel();
        let ended = timeout(Duration::from_mins(10), self.tasks.join_next()).await;
        ended.expect("in time").expect("one task").expect("no panic");
    }
}

#[test]
fn an_unknown_service_has_no_report() {
    let config = testing::service("{ port: 80 }");
    let machine = crate::lifecycle::machine::Machine::new(Arc::new(config.lifecycle.clone()), 255, None);
    assert_eq!(report::report_for(&config, &machine.status()), None);
}

#[tokio::test(start_paused = true)]
async fn a_service_is_reported_once_all_checks_pass_and_warms_up() {
    let mut fixture = Fixture::new("checks: [{ type: tcp }, { type: tcp, port: 81 }]");
    fixture.verdict(0, true).await;
    assert_eq!(fixture.readiness.waiting_for(), ["web"]);
    assert_eq!(*fixture.reports.borrow(), None);
    fixture.verdict(1, true).await;
    let started = Instant::now();
    assert_eq!(fixture.report(|report| report.available).await.weight, Some(1));
    assert_eq!(fixture.readiness.waiting_for(), Vec::<String>::new());
    fixture.report(|report| report.weight == Some(255)).await;
    assert_eq!(started.elapsed().as_secs(), 24);
}

#[tokio::test(start_paused = true)]
async fn a_service_goes_down_after_fall_failures_with_the_reason() {
    let mut fixture = Fixture::new("enableWarmup: false");
    fixture.verdict(0, true).await;
    fixture.report(|report| report.weight == Some(255)).await;
    fixture.verdict(0, false).await;
    fixture.verdict(0, true).await;
    fixture.verdict(0, false).await;
    fixture.verdict(0, false).await;
    let report = fixture.report(|report| !report.available).await;
    assert_eq!(report.unavailable_reason, "tcp 127.0.0.1:80: refused");
    assert_eq!(report.weight, Some(0));
    assert_eq!(fixture.handle.state().checks[0].up, Some(false));
}

#[tokio::test(start_paused = true)]
async fn a_status_is_reported_once_and_again_only_when_it_changes() {
    let mut fixture = Fixture::new("enableWarmup: false, checks: [{ type: tcp, fall: 1, rise: 1 }]");
    // The first result is reported, also when it is a failure.
    for (passes, repeats) in [(false, 3), (true, 5), (false, 2)] {
        fixture.verdict(0, passes).await;
        fixture.report(|report| report.available == passes).await;
        for _ in 0..repeats {
            fixture.verdict(0, passes).await;
        }
        tokio::time::sleep(Duration::from_mins(5)).await;
        assert!(
            !fixture.reports.has_changed().expect("the service runs"),
            "nothing changed"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_disable_answers_when_it_is_safe_to_stop() {
    let mut fixture = Fixture::new("disableMinDurationInMilli: 5000");
    fixture.verdict(0, true).await;
    fixture.report(|report| report.available).await;
    let started = Instant::now();
    let disabled = fixture.disable().await;
    let also = fixture.disable().await;
    fixture
        .report(|report| report.unavailable_reason == "Service is disabled")
        .await;
    assert_eq!(started.elapsed(), Duration::ZERO, "it is withdrawn at once");
    assert_eq!(disabled.await, Ok(Disabled::Settled(Settled::Minimum)));
    assert_eq!(also.await, Ok(Disabled::Settled(Settled::Minimum)));
    assert_eq!(started.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn an_enable_cancels_a_running_disable() {
    let mut fixture = Fixture::new("enableWarmup: false");
    fixture.verdict(0, true).await;
    let disabled = fixture.disable().await;
    fixture.enable().await;
    assert_eq!(disabled.await, Ok(Disabled::Cancelled));
    fixture.report(|report| report.available).await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_disables_first_and_accepts_commands_meanwhile() {
    let mut fixture = Fixture::new("disableMinDurationInMilli: 5000");
    fixture.verdict(0, true).await;
    fixture.report(|report| report.available).await;
    let started = Instant::now();
    fixture.stop.cancel();
    fixture.report(|report| !report.available).await;
    let disabled = fixture.disable().await;
    fixture.ended().await;
    assert_eq!(started.elapsed().as_secs(), 5);
    assert_eq!(disabled.await, Ok(Disabled::Settled(Settled::Minimum)));
    let (accepted, _) = fixture.handle.command(Action::Enable, Metadata::default()).await;
    assert!(accepted.await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_stop_disables_no_service_configured_otherwise() {
    let mut fixture = Fixture::new("setServiceAsDownOnShutdown: false");
    fixture.verdict(0, true).await;
    fixture.report(|report| report.available).await;
    let started = Instant::now();
    fixture.ended().await;
    assert_eq!(started.elapsed(), Duration::ZERO);
    assert!(fixture.reports.borrow().as_ref().is_some_and(|report| report.available));
}

#[tokio::test]
async fn a_command_is_killed_when_it_is_no_longer_desired() {
    let directory = tempfile::tempdir().expect("a directory");
    let (started, lived) = (directory.path().join("started"), directory.path().join("lived"));
    let script = format!("touch {}; sleep 30; touch {}", started.display(), lived.display());
    let keys = format!(
        "preAvailableCommand: [sh, -c, '{script}'], preAvailableMaxDurationInMilli: 60000, disableMinDurationInMilli: 1,
         disableGracefullyDoneCommand: ['false'], disableGracefullyDoneIntervalInMilli: 10, disableMaxDurationInMilli: 50"
    );
    let mut fixture = Fixture::new(&keys);
    fixture.verdict(0, true).await;
    let deadline = Instant::now() + Duration::from_secs(20);
    while !started.exists() {
        assert!(Instant::now() < deadline, "the command starts");
        tokio::task::yield_now().await;
    }
    assert_eq!(fixture.handle.state().status.phase.as_str(), "preparing");
    let disabled = fixture.disable().await;
    assert_eq!(disabled.await, Ok(Disabled::Settled(Settled::Maximum)));
    fixture.enable().await;
    fixture.ended().await;
    assert!(!lived.exists());
}

#[tokio::test(start_paused = true)]
async fn an_enable_does_not_undo_a_stop() {
    let mut fixture = Fixture::new("disableMinDurationInMilli: 5000");
    fixture.verdict(0, true).await;
    fixture.report(|report| report.available).await;
    let started = Instant::now();
    fixture.stop.cancel();
    fixture.report(|report| !report.available).await;
    let down = fixture.command(Action::Force).await;
    assert_eq!(down.len(), 1);
    assert_eq!(down[0].source, Source::Stop);
    fixture.ended().await;
    assert_eq!(started.elapsed().as_secs(), 5);
    assert!(
        fixture
            .reports
            .borrow()
            .as_ref()
            .is_some_and(|report| !report.available)
    );
}

#[tokio::test]
async fn an_override_expires_without_a_command() {
    let mut fixture = Fixture::new("enableWarmup: false");
    fixture.verdict(0, true).await;
    fixture.report(|report| report.available).await;
    let now = common::clock::unix_millis();
    let metadata = Metadata::new("deploy", "ann", now, Some(now + 300));
    let disable = Action::Disable { shutdown: false };
    let (_, disabled) = fixture.handle.command(disable, metadata.clone()).await;
    let report = fixture.report(|report| !report.available).await;
    assert_eq!(report.unavailable_reason, "Service is disabled: deploy");
    let overrides = fixture.handle.state().overrides.clone();
    assert_eq!(
        overrides.iter().map(|entry| &entry.metadata).collect::<Vec<_>>(),
        [&metadata]
    );
    fixture.report(|report| report.available).await;
    assert!(common::clock::unix_millis() >= now + 300);
    assert_eq!(disabled.await, Ok(Disabled::Cancelled));
    assert_eq!(fixture.handle.state().overrides, []);
}

#[tokio::test(start_paused = true)]
async fn no_command_overrules_hacheck() {
    let (spool, spools) = watch::channel(Arc::default());
    let context = Context {
        spool: spools,
        ..context()
    };
    let mut fixture = Fixture::within(&context, "enableWarmup: false");
    fixture.verdict(0, true).await;
    fixture.report(|report| report.available).await;
    spool.send_replace(Arc::new(
        [("all".to_owned(), Metadata::new("kernel", "", 0, None))].into(),
    ));
    let report = fixture.report(|report| !report.available).await;
    assert_eq!(report.unavailable_reason, "Service is disabled: kernel");
    let down = fixture.command(Action::Force).await;
    assert_eq!(down[0].source, Source::Hacheck("all".to_owned()));
    spool.send_replace(Arc::default());
    fixture.report(|report| report.available).await;
    assert_eq!(fixture.handle.state().status.intent, Intent::Forced);
}

#[tokio::test(start_paused = true)]
async fn overrides_and_warm_up_outlive_the_task() {
    let context = context();
    let mut first = Fixture::within(&context, "disableMinDurationInMilli: 1");
    first.verdict(0, true).await;
    first.command(Action::Weight(Some(100))).await;
    let weight = first.report(|report| report.weight > Some(3)).await.weight;
    first.ended().await;

    let mut second = Fixture::within(&context, "");
    second.verdict(0, true).await;
    assert_eq!(second.report(|report| report.available).await.weight, weight);
    second.command(Action::Weight(None)).await;
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
async fn every_change_is_published_once() {
    let context = context();
    let mut changes = context.changes.subscribe();
    let mut fixture = Fixture::within(&context, "enableWarmup: false");
    fixture.verdict(0, true).await;
    fixture.verdict(0, true).await;
    fixture.report(|report| report.available).await;
    let _disabled = fixture.disable().await;
    for phase in ["up", "disabling", "disabled"] {
        let change = timeout(Duration::from_mins(1), changes.recv())
            .await
            .expect("in time")
            .expect("not behind");
        assert_eq!((change.name.as_str(), change.status.phase.as_str()), ("web", phase));
    }
    assert!(changes.is_empty());
}
