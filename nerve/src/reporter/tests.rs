use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use common::report::{Dialect, Report};
use tempfile::TempDir;
use tokio::time::timeout;

use super::*;

const TIMEOUT: Duration = Duration::from_secs(20);
const REPLAY: Duration = Duration::from_millis(20);

fn report(available: bool) -> Arc<Report> {
    Arc::new(Report {
        available,
        unavailable_reason: if available {
            String::new()
        } else {
            "tcp: refused".to_owned()
        },
        host: "10.0.0.4".to_owned(),
        port: 80,
        name: "web".to_owned(),
        haproxy_server_options: String::new(),
        weight: Some(if available { 255 } else { 0 }),
        labels: BTreeMap::new(),
    })
}

const UP: &str = "{\"available\":true,\"host\":\"10.0.0.4\",\"port\":80,\"name\":\"web\",\"weight\":255}\n";
const DOWN: &str = "{\"available\":false,\"unavailable_reason\":\"tcp: refused\",\"host\":\"10.0.0.4\",\"port\":80,\"name\":\"web\",\"weight\":0}\n";

/// A running file reporter.
struct Fixture {
    _directory: TempDir,
    path: PathBuf,
    reports: watch::Sender<Option<Arc<Report>>>,
    handle: ReporterHandle,
    failures: Counter,
    stop: CancellationToken,
}

impl Fixture {
    fn new(append: bool) -> (Self, impl Future<Output = ()>) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("sub/nerve.report");
        prepare_file(&path).expect("it can be made");
        let failures = Counter::default();
        let (handle, reporter) = Reporter::file(&path, append, REPLAY, failures.clone());
        let (reports, receiver) = watch::channel(None);
        let stop = CancellationToken::new();
        let running = Box::pin(reporter.run(receiver, stop.clone()));
        let fixture = Self {
            _directory: directory,
            path,
            reports,
            handle,
            failures,
            stop,
        };
        (fixture, running)
    }

    async fn publish(&mut self, available: bool) {
        self.handle.state.mark_unchanged();
        self.reports.send_replace(Some(report(available)));
        self.handle.state.changed().await.expect("the reporter lives");
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.path).expect("it is there")
    }
}

async fn run_both(running: impl Future<Output = ()>, steps: impl Future<Output = ()>) {
    timeout(TIMEOUT, async { tokio::join!(running, steps) })
        .await
        .expect("it ends");
}

#[tokio::test]
async fn a_file_holds_the_last_report_and_is_empty_when_down() {
    let (mut fixture, running) = Fixture::new(false);
    run_both(running, async {
        assert_eq!(fixture.text(), "", "it is made at start");
        assert_eq!(*fixture.handle.state.borrow(), ReporterState::Idle);
        for (available, text) in [(true, UP), (false, ""), (true, UP)] {
            fixture.publish(available).await;
            assert_eq!(fixture.text(), text);
        }
        let mode = std::fs::metadata(&fixture.path)
            .expect("it is there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o644);
        assert_eq!(*fixture.handle.state.borrow(), ReporterState::Reported);
        fixture.stop.cancel();
    })
    .await;
}

#[tokio::test]
async fn an_appended_file_holds_every_report() {
    let (mut fixture, running) = Fixture::new(true);
    run_both(running, async {
        for available in [true, false, true] {
            fixture.publish(available).await;
        }
        assert_eq!(fixture.text(), [UP, DOWN, UP].concat());
        fixture.stop.cancel();
    })
    .await;
}

#[tokio::test]
async fn a_failed_write_is_counted_published_and_retried() {
    let (mut fixture, running) = Fixture::new(false);
    run_both(running, async {
        // A directory in its place can't be written.
        std::fs::remove_file(&fixture.path).expect("it is there");
        std::fs::create_dir(&fixture.path).expect("it can be made");
        fixture.publish(true).await;
        let detail = fixture.handle.state.borrow().detail().to_owned();
        assert!(!detail.is_empty());
        std::fs::remove_dir(&fixture.path).expect("it is empty");
        let delivered = fixture.handle.state.wait_for(|state| *state == ReporterState::Reported);
        delivered.await.expect("the reporter lives");
        assert_eq!(fixture.text(), UP);
        assert!(fixture.failures.get() >= 1);
        fixture.stop.cancel();
    })
    .await;
}

#[tokio::test]
async fn the_last_report_is_written_at_the_stop() {
    let (fixture, running) = Fixture::new(false);
    fixture.reports.send_replace(Some(report(true)));
    fixture.stop.cancel();
    timeout(TIMEOUT, running).await.expect("it ends");
    assert_eq!(fixture.text(), UP);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_hangs_is_followed_by_only_one_other() {
    let (fixture, running) = Fixture::new(true);
    // A write to a pipe waits for its reader.
    std::fs::remove_file(&fixture.path).expect("it is there");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &fixture.path, rustix::fs::FileType::Fifo, mode, 0).expect("a pipe");
    fixture.reports.send_replace(Some(report(true)));
    let steps = async {
        while fixture.failures.get() < 5 {
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let pipe = File::options()
            .read(true)
            .write(true)
            .open(&fixture.path)
            .expect("open");
        let mut state = fixture.handle.state.clone();
        state
            .wait_for(|state| *state == ReporterState::Reported)
            .await
            .expect("the reporter lives");
        let written = rustix::io::ioctl_fionread(&pipe).expect("a length");
        assert_eq!(written, 2 * UP.len() as u64, "the write that hung, and the next");
        fixture.stop.cancel();
    };
    run_both(running, steps).await;
}

fn node_content(report: &Report, expose_on_unavailable: bool) -> Option<Vec<u8>> {
    PayloadEncoder::new(Dialect::Go, expose_on_unavailable).content(report)
}

#[test]
fn an_available_service_has_a_node() {
    assert_eq!(
        node_content(&report(true), false).as_deref(),
        Some(UP.trim_end().as_bytes())
    );
}

#[test]
fn an_unavailable_service_has_a_node_only_when_exposed() {
    let report = report(false);
    assert_eq!(node_content(&report, false), None);
    assert_eq!(node_content(&report, true).as_deref(), Some(DOWN.trim_end().as_bytes()));
}
