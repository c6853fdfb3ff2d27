//! The daemons under a fake service manager: their notifications, and how they are replaced in place.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use e2e::daemon::Daemon;
use e2e::eventually::{ensure, eventually};
use e2e::load::Load;
use e2e::ports::free_port;
use e2e::program::binary;
use e2e::site::{Site, TIMEOUT};
use rustix::process::Signal;
use tempfile::TempDir;

/// The socket that a service manager listens on.
struct Manager {
    socket: UnixDatagram,
    /// The lines of the messages so far.
    heard: Vec<String>,
}

impl Manager {
    fn listen(directory: &Path) -> (Self, PathBuf) {
        let path = directory.join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        let heard = Vec::new();
        (Self { socket, heard }, path)
    }

    /// Waits for a line that begins so and forgets all before it.
    async fn hears(&mut self, line: &str) {
        eventually(&format!("it says {line}"), TIMEOUT, async || {
            let mut buffer = [0; 1024];
            while let Ok(length) = self.socket.recv(&mut buffer) {
                let message = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default());
                self.heard.extend(message.lines().map(str::to_owned));
            }
            let found = self.heard.iter().position(|said| said.starts_with(line));
            let found = found.ok_or_else(|| format!("{:?}", self.heard))?;
            self.heard.drain(..=found);
            Ok(())
        })
        .await;
    }
}

/// A start, a reload and a stop.
async fn life(program: &str, configuration: &str, status: &str) {
    let directory = tempfile::tempdir().unwrap();
    let api_port = free_port();
    let (mut manager, socket) = Manager::listen(directory.path());
    let configuration = format!("apiPort: {api_port}\n{configuration}");
    let mut daemon = Daemon::new(program, program, directory.path(), api_port, &configuration)
        .with_variable("NOTIFY_SOCKET", socket.to_str().unwrap())
        .with_variable("WATCHDOG_USEC", "300000");
    daemon.start();
    manager.hears("READY=1").await;
    manager.hears(status).await;
    manager.hears("WATCHDOG=1").await;
    daemon.signal(Signal::HUP);
    manager.hears("RELOADING=1").await;
    manager.hears("READY=1").await;
    manager.hears("WATCHDOG=1").await;
    daemon.signal(Signal::TERM);
    manager.hears("STOPPING=1").await;
    assert!(daemon.wait().await.success());
}

#[tokio::test]
async fn nerve_tells_of_its_life() {
    let service = "{ name: web, port: 1, checks: [{ type: noop }], disableMinDurationInMilli: 1 }";
    life(
        "nerve",
        &format!("services: [{service}]\n"),
        "STATUS=1 of 1 services are available",
    )
    .await;
}

#[tokio::test]
async fn synapse_tells_of_its_life() {
    let service = "{name: web, watcher: {type: static, servers: [{host: 127.0.0.1, port: 1}]}}";
    let configuration = format!("routers: [{{type: console, services: [{service}]}}]\n");
    life("synapse", &configuration, "STATUS=1 services are routed").await;
}

/// What a package does to a program's file, which may be running.
fn install(program: &str, bin: &TempDir) -> PathBuf {
    let (path, new) = (bin.path().join(program), bin.path().join("new"));
    std::fs::copy(binary(program), &new).unwrap();
    std::fs::rename(new, &path).unwrap();
    path
}

#[tokio::test]
async fn an_upgrade_in_place_loses_no_request_of_the_only_instance() {
    let bin = tempfile::tempdir().unwrap();
    let mut site = Site::start(&["only"]).await;
    let nerve = install("nerve", &bin);
    let synapse = install("synapse", &bin);
    site.member_mut("only").nerve.installed_at(&nerve);
    site.synapse.installed_at(&synapse);
    let haproxy = site.haproxy.master().await.unwrap();
    let load = Load::start(site.port());
    let address = site.member("only").address();
    for _ in 0..3 {
        // As the packages' maintainer scripts have systemd do it.
        install("nerve", &bin);
        let nerve = &mut site.member_mut("only").nerve;
        nerve.signal(Signal::USR2);
        assert!(nerve.wait().await.success());
        nerve.start_and_wait().await.unwrap();
        install("synapse", &bin);
        assert!(site.synapse.terminate().await.success());
        site.synapse.start_and_wait().await.unwrap();
        eventually("both are at work again", TIMEOUT, async || {
            let ready = site.synapse.get("/ready").await.map_err(|error| error.to_string())?;
            ensure(ready.status == 200, || ready.body)?;
            let status = site.member("only").nerve.status().await?;
            let state = status[0]["Reporters"][0]["State"].clone();
            ensure(state == "reported", || status.to_string())?;
            let active = site.haproxy.active(e2e::site::BACKEND).await?;
            ensure(active == [address.clone()], || format!("{active:?}"))
        })
        .await;
    }
    // Longer than the session of the first nerve: the node was not deleted behind the last one's back.
    e2e::eventually::throughout("it stays registered", e2e::site::SESSION_TIMEOUT * 2, async || {
        let active = site.haproxy.active(e2e::site::BACKEND).await?;
        ensure(active == [address.clone()], || format!("{active:?}"))
    })
    .await;
    assert_eq!(
        site.haproxy.master().await.unwrap(),
        haproxy,
        "neither reloaded nor started anew"
    );
    let tally = load.take();
    eprintln!("{} requests over three upgrades of both", tally.requests);
    tally.assert_flawless();
}

#[tokio::test]
async fn a_stop_delay_keeps_all_at_work_and_a_second_signal_ends_it() {
    let directory = tempfile::tempdir().unwrap();
    let api_port = free_port();
    let configuration = format!(
        "apiPort: {api_port}
stopDelay: 10m
routers: [{{type: console, services: [{{name: web, watcher: {{type: static, servers: [{{host: 127.0.0.1, port: 1}}]}}}}]}}]
"
    );
    let mut synapse = Daemon::new("synapse", "synapse", directory.path(), api_port, &configuration);
    synapse.start_and_wait().await.unwrap();
    let ready = async |wanted: u16| {
        eventually("it says whether it is ready", TIMEOUT, async || {
            let reply = synapse.get("/ready").await.map_err(|error| error.to_string())?;
            ensure(reply.status == wanted, || format!("{reply:?}"))
        })
        .await;
    };
    ready(200).await;
    synapse.signal(Signal::TERM);
    ready(503).await;
    // It would take ten minutes.
    synapse.signal(Signal::TERM);
    assert!(synapse.wait().await.success());
}

#[test]
fn the_units_are_confined() {
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/systemd");
    for (unit, most) in [("nerve.service", 19), ("synapse.service", 19)] {
        #[expect(clippy::disallowed_methods, reason = "reads a file and ends")]
        let output = std::process::Command::new("systemd-analyze")
            .args(["security", "--offline=true", "--no-pager"])
            .arg(format!("--threshold={most}"))
            .arg(units.join(unit))
            .output()
            .expect("systemd-analyze, of Debian's systemd");
        let said = String::from_utf8_lossy(&output.stdout);
        let overall = said.lines().find(|line| line.contains("Overall exposure level"));
        assert!(output.status.success(), "{unit}: {overall:?}");
        eprintln!("{}", overall.unwrap_or_default());
    }
}
