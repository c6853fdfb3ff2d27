use std::os::unix::fs::PermissionsExt;

use common::ready::Readiness;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::config::{Guard, SelectionConfig, ServiceHaproxy, WatcherConfig};
use crate::desired::{Server, Service};

const TEMPLATE: &str = "{{range .}}{{.Service.Name}}:{{range .Reports}} {{.Host}}:{{.Port}}{{end}}{{end}}";

/// A router in a directory of its own. Its command appends the file to `record`, once there is a file `allow`.
struct Rig {
    directory: TempDir,
    config: TemplateConfig,
    pace: PaceConfig,
    desired: watch::Sender<Arc<Desired>>,
    readiness: Readiness,
    running: Option<(Applier, CancellationToken, JoinSet<()>)>,
}

fn wanted(ports: Option<&[u16]>) -> Arc<Desired> {
    let server = |port: &u16| Server {
        node: format!("n_{port}").into(),
        name: format!("name {port}"),
        address: std::net::SocketAddr::from(([10, 0, 0, 1], *port)),
        weight: None,
        options: String::new(),
        labels: BTreeMap::new(),
        created: 0,
        backup: false,
    };
    Arc::new(Desired {
        services: vec![Service {
            id: "web_1".to_owned(),
            servers: ports.map(|ports| ports.iter().map(server).collect()),
            remembered: false,
        }],
    })
}

fn services() -> Vec<ServiceConfig> {
    vec![ServiceConfig {
        id: "web_1".to_owned(),
        name: "web".to_owned(),
        watcher: WatcherConfig::Static(Vec::new()),
        selection: SelectionConfig::default(),
        server_options: String::new(),
        frontend: Vec::new(),
        backend: Vec::new(),
        haproxy: ServiceHaproxy::default(),
        guard: Guard::default(),
    }]
}

impl Rig {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name).display().to_string();
        let script = format!(
            "test -e {} && cat {} >> {} || {{ echo not yet; exit 3; }}",
            at("allow"),
            at("out/file"),
            at("record")
        );
        let config = TemplateConfig {
            source: TemplateSource::Text(TEMPLATE.to_owned()),
            destination: directory.path().join("out/file"),
            mode: 0o640,
            command: ["sh", "-c", &script].map(str::to_owned).to_vec(),
            command_timeout: Duration::from_secs(20),
            reconcile_interval: Duration::from_hours(1),
        };
        let pace = PaceConfig {
            buffer: Duration::from_millis(20),
            max_buffer: Duration::from_millis(80),
            budget: None,
            jitter: Duration::ZERO,
        };
        let rig = Self {
            directory,
            config,
            pace,
            desired: watch::Sender::new(wanted(None)),
            readiness: Readiness::default(),
            running: None,
        };
        rig.put("allow", "");
        rig
    }

    fn build(&self) -> Result<(Applier, ApplierTask<TemplateFile>), Fatal> {
        let latch = self.readiness.latch("first apply");
        let desired = self.desired.subscribe();
        build(
            self.config.clone(),
            &services(),
            self.pace,
            desired,
            latch,
            &mut Locks::default(),
        )
    }

    fn start(&mut self) {
        let (applier, task) = self.build().map_err(|fatal| fatal.message).expect("it is right");
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(task.run(stop.clone()));
        self.running = Some((applier, stop, tasks));
    }

    async fn stop(&mut self) {
        let (_, stop, mut tasks) = self.running.take().expect("it runs");
        stop.cancel();
        let ended = timeout(Duration::from_secs(10), tasks.join_next()).await;
        ended.expect("in time").expect("a task").expect("no panic");
    }

    fn want(&self, ports: &[u16]) {
        self.desired.send_replace(wanted(Some(ports)));
    }

    fn status(&self) -> Arc<crate::router::RouterStatus> {
        self.running.as_ref().expect("it runs").0.status()
    }

    async fn eventually(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let looked = async {
            while !holds(self) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        let in_time = timeout(Duration::from_secs(30), looked).await;
        in_time.unwrap_or_else(|_| panic!("{what}: {:?}, file {:?}", self.status(), self.file()));
    }

    /// Until these ports are in the file, and the command has taken it over.
    async fn applied(&self, ports: &[u16]) {
        self.want(ports);
        let text = text(ports);
        let done = |rig: &Self| rig.status().in_sync && rig.file() == text;
        self.eventually("it is applied", done).await;
    }

    fn put(&self, name: &str, text: &str) {
        let path = self.directory.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        std::fs::write(path, text).expect("it is written");
    }

    fn remove(&self, name: &str) {
        std::fs::remove_file(self.directory.path().join(name)).expect("it is removed");
    }

    fn file(&self) -> String {
        self.read("out/file")
    }

    fn record(&self) -> String {
        self.read("record")
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.directory.path().join(name)).unwrap_or_default()
    }
}

fn text(ports: &[u16]) -> String {
    let servers: Vec<String> = ports.iter().map(|port| format!("10.0.0.1:{port}")).collect();
    format!("web: {}\n", servers.join(" "))
}

#[tokio::test]
async fn the_command_runs_once_for_each_change_of_the_file() {
    let mut rig = Rig::new();
    rig.start();
    rig.applied(&[1]).await;
    assert!(rig.readiness.waiting_for().is_empty());
    let mode = std::fs::metadata(&rig.config.destination)
        .expect("a file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o640);
    rig.applied(&[1, 2]).await;
    // Another state that makes the same file.
    rig.desired.send_modify(|desired| {
        let mut other = Desired::clone(desired);
        let servers = other.services[0].servers.as_mut().expect("known");
        Arc::make_mut(servers)[0].weight = Some(7);
        *desired = Arc::new(other);
    });
    rig.applied(&[2]).await;
    assert_eq!(rig.record(), [text(&[1]), text(&[1, 2]), text(&[2])].concat());
    rig.stop().await;
    rig.start();
    rig.eventually("the next start finds all right", |rig| rig.status().in_sync)
        .await;
    assert_eq!(rig.status().applies, 0);
    assert_eq!(rig.record(), [text(&[1]), text(&[1, 2]), text(&[2])].concat());
}

#[tokio::test]
async fn a_command_that_fails_is_tried_until_it_works_and_holds_up_no_write() {
    let mut rig = Rig::new();
    rig.remove("allow");
    rig.start();
    rig.want(&[1]);
    rig.eventually("it has failed", |rig| rig.status().failures > 0).await;
    let error = rig.status().last_error.clone();
    assert!(error.contains("failed (exit code 3): not yet"), "{error}");
    assert!(!rig.readiness.waiting_for().is_empty());
    rig.want(&[2]);
    rig.eventually("the file is new", |rig| rig.file() == text(&[2])).await;
    assert!(!rig.status().in_sync);
    rig.put("allow", "");
    rig.eventually("it has worked", |rig| rig.status().in_sync).await;
    assert_eq!((rig.record(), rig.status().last_error.as_str()), (text(&[2]), ""));
    assert!(rig.readiness.waiting_for().is_empty());
}

#[tokio::test]
async fn a_command_that_a_crash_forgot_is_run_at_the_next_start() {
    let mut rig = Rig::new();
    rig.remove("allow");
    rig.start();
    rig.want(&[1]);
    rig.eventually("it has failed", |rig| rig.status().failures > 0).await;
    rig.stop().await;
    rig.put("allow", "");
    rig.start();
    rig.eventually("it is applied", |rig| rig.status().in_sync).await;
    assert_eq!(rig.record(), text(&[1]));
    assert!(!rig.directory.path().join("out/.file.pending").exists());
}

#[tokio::test]
async fn a_command_that_hangs_is_killed_with_all_it_started() {
    let mut rig = Rig::new();
    let child = rig.directory.path().join("child");
    let script = format!("sleep 1000 & echo $! > {}; wait", child.display());
    rig.config.command = ["sh", "-c", &script].map(str::to_owned).to_vec();
    rig.config.command_timeout = Duration::from_millis(500);
    rig.start();
    rig.want(&[1]);
    let given_up = |rig: &Rig| rig.status().failures > 0 && child.exists();
    rig.eventually("it was given up", given_up).await;
    assert!(
        rig.status().last_error.contains("no answer within 500ms"),
        "{:?}",
        rig.status()
    );
    rig.stop().await;
    let pid = rig.read("child");
    // The kernel takes its time on a busy machine.
    let is_gone = |_: &Rig| {
        let state = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        state.is_empty() || state.contains(") Z ")
    };
    rig.eventually("what it started is gone", is_gone).await;
}

#[tokio::test]
async fn jitter_puts_off_the_command_and_not_the_file_nor_the_first_one() {
    let mut rig = Rig::new();
    rig.pace.jitter = Duration::from_hours(24);
    rig.start();
    rig.applied(&[1]).await;
    rig.want(&[1, 2]);
    let waits = |rig: &Rig| rig.file() == text(&[1, 2]) && rig.status().pending == WAITS_FOR_COMMAND;
    rig.eventually("the command waits", waits).await;
    rig.want(&[3]);
    let waits = |rig: &Rig| rig.file() == text(&[3]) && rig.status().pending == WAITS_FOR_COMMAND;
    rig.eventually("the command still waits", waits).await;
    assert_eq!(rig.record(), text(&[1]));
}

#[tokio::test]
async fn an_unknown_service_is_not_written_as_empty() {
    let mut rig = Rig::new();
    rig.put("out/file", "web: what the last synapse knew\n");
    rig.start();
    let waits = |rig: &Rig| rig.status().pending == "the first word of web_1";
    rig.eventually("it waits", waits).await;
    assert_eq!(rig.file(), "web: what the last synapse knew\n");
    rig.applied(&[1]).await;
}

#[tokio::test]
async fn a_changed_file_is_repaired() {
    let mut rig = Rig::new();
    rig.config.reconcile_interval = Duration::from_millis(50);
    rig.start();
    rig.applied(&[1]).await;
    rig.put("out/file", "by hand\n");
    rig.eventually("it is put right", |rig| rig.record() == text(&[1]).repeat(2))
        .await;
    std::fs::remove_dir_all(rig.directory.path().join("out")).expect("it is removed");
    rig.eventually("it is there again", |rig| rig.record() == text(&[1]).repeat(3))
        .await;
}

#[tokio::test]
async fn an_error_of_the_template_leaves_the_file_as_it_is() {
    let mut rig = Rig::new();
    rig.config.source = TemplateSource::Text("{{range .}}{{(index .Reports 1).Port}}{{end}}".to_owned());
    rig.start();
    rig.want(&[1, 2]);
    rig.eventually("it is written", |rig| rig.file() == "2\n").await;
    rig.want(&[1]);
    rig.eventually("it fails", |rig| rig.status().last_error.contains("index out of range"))
        .await;
    assert_eq!(rig.file(), "2\n");
    rig.want(&[1, 3]);
    rig.eventually("it goes on", |rig| rig.file() == "3\n").await;
}

#[tokio::test]
async fn a_missing_part_is_reported_before_anything_starts() {
    let mut rig = Rig::new();
    let refused = |rig: &Rig| rig.build().expect_err("refused").message;
    let first = rig.build().map_err(|fatal| fatal.message).expect("it is right");
    assert!(refused(&rig).contains("another synapse writes"), "{}", refused(&rig));
    drop(first);
    rig.put("plain", "");
    rig.config.destination = rig.directory.path().join("plain/file");
    assert!(
        refused(&rig).starts_with("destinationFile: cannot create"),
        "{}",
        refused(&rig)
    );
    rig.config.source = TemplateSource::File(rig.directory.path().join("gone.tmpl"));
    assert!(
        refused(&rig).starts_with("templateFile: cannot read"),
        "{}",
        refused(&rig)
    );
    rig.put("bad.tmpl", "a\n{{range .}}{{.Hots}}{{end}}\n");
    rig.config.source = TemplateSource::File(rig.directory.path().join("bad.tmpl"));
    let message = refused(&rig);
    assert!(message.contains("bad.tmpl:2: there is no field `Hots`"), "{message}");
}

#[test]
fn a_dry_render_writes_nothing() {
    let rig = Rig::new();
    let rendered = render(&rig.config, &services(), &wanted(Some(&[1, 2])));
    assert_eq!(rendered, Ok(text(&[1, 2])));
    assert!(!rig.directory.path().join("out").exists());
}
