use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

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

/// A file reporter at work.
struct Scene {
    _directory: TempDir,
    path: PathBuf,
    reports: watch::Sender<Option<Arc<Report>>>,
    handle: ReporterHandle,
    failures: Counter,
    stop: CancellationToken,
}

impl Scene {
    fn new(append: bool) -> (Self, impl Future<Output = ()>) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("sub/nerve.report");
        prepare_file(&path).expect("it can be made");
        let failures = Counter::default();
        let (handle, reporter) = Reporter::file(&path, append, REPLAY, failures.clone());
        let (reports, receiver) = watch::channel(None);
        let stop = CancellationToken::new();
        let running = Box::pin(reporter.run(receiver, stop.clone()));
        let scene = Self {
            _directory: directory,
            path,
            reports,
            handle,
            failures,
            stop,
        };
        (scene, running)
    }

    async fn tell(&mut self, available: bool) {
        self.handle.state.mark_unchanged();
        self.reports.send_replace(Some(report(available)));
        self.handle.state.changed().await.expect("the reporter lives");
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.path).expect("it is there")
    }
}

async fn play(running: impl Future<Output = ()>, scenes: impl Future<Output = ()>) {
    timeout(TIMEOUT, async { tokio::join!(running, scenes) })
        .await
        .expect("it ends");
}

#[tokio::test]
async fn a_file_holds_the_last_report_and_is_empty_when_the_service_is_down() {
    let (mut scene, running) = Scene::new(false);
    play(running, async {
        assert_eq!(scene.text(), "", "it is made at start");
        assert_eq!(*scene.handle.state.borrow(), ReporterState::Idle);
        for (available, text) in [(true, UP), (false, ""), (true, UP)] {
            scene.tell(available).await;
            assert_eq!(scene.text(), text);
        }
        let mode = std::fs::metadata(&scene.path)
            .expect("it is there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o644);
        assert_eq!(*scene.handle.state.borrow(), ReporterState::Reported);
        scene.stop.cancel();
    })
    .await;
}

#[tokio::test]
async fn an_appended_file_holds_every_report() {
    let (mut scene, running) = Scene::new(true);
    play(running, async {
        for available in [true, false, true] {
            scene.tell(available).await;
        }
        assert_eq!(scene.text(), [UP, DOWN, UP].concat());
        scene.stop.cancel();
    })
    .await;
}

#[tokio::test]
async fn a_failed_write_is_counted_told_and_tried_again() {
    let (mut scene, running) = Scene::new(false);
    play(running, async {
        // A directory in its place can't be written.
        std::fs::remove_file(&scene.path).expect("it is there");
        std::fs::create_dir(&scene.path).expect("it can be made");
        scene.tell(true).await;
        let detail = scene.handle.state.borrow().detail().to_owned();
        assert!(!detail.is_empty());
        std::fs::remove_dir(&scene.path).expect("it is empty");
        let delivered = scene.handle.state.wait_for(|state| *state == ReporterState::Reported);
        delivered.await.expect("the reporter lives");
        assert_eq!(scene.text(), UP);
        assert!(scene.failures.get() >= 1);
        scene.stop.cancel();
    })
    .await;
}

#[tokio::test]
async fn the_last_report_is_written_at_the_stop() {
    let (scene, running) = Scene::new(false);
    scene.reports.send_replace(Some(report(true)));
    scene.stop.cancel();
    timeout(TIMEOUT, running).await.expect("it ends");
    assert_eq!(scene.text(), UP);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_hangs_is_followed_by_one_other_not_by_many() {
    let (scene, running) = Scene::new(true);
    // Whoever writes to a pipe waits until somebody reads it.
    std::fs::remove_file(&scene.path).expect("it is there");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &scene.path, rustix::fs::FileType::Fifo, mode, 0).expect("a pipe");
    scene.reports.send_replace(Some(report(true)));
    let scenes = async {
        while scene.failures.get() < 5 {
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let pipe = File::options().read(true).write(true).open(&scene.path).expect("open");
        let mut state = scene.handle.state.clone();
        state
            .wait_for(|state| *state == ReporterState::Reported)
            .await
            .expect("the reporter lives");
        let written = rustix::io::ioctl_fionread(&pipe).expect("a length");
        assert_eq!(written, 2 * UP.len() as u64, "what hung, and the next");
        scene.stop.cancel();
    };
    play(running, scenes).await;
}
