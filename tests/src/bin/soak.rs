//! Does nerve leak? Services flap, ZooKeeper is killed and restarted every 30 s, the configuration is read again and
//! again; in the end nerve holds the memory, descriptors and tasks that it held at the start.
//!
//! Both measurements are taken at rest: every service up and registered, the least of a few seconds, for a probe under
//! way is no leak. Ends with 1 when something grew beyond its tolerance.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark that can't run must stop, and say why"
)]

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use e2e::daemon::Daemon;
use e2e::eventually::{ensure, eventually};
use e2e::ports::free_port;
use e2e::target::Target;
use e2e::zookeeper::ZooKeeper;
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

/// How often ZooKeeper is killed, and how long it stays away.
const OUTAGE_EVERY: Duration = Duration::from_secs(30);
const OUTAGE: Duration = Duration::from_secs(3);
/// The allocator and the client libraries keep what they once needed: the start is measured after as much as this.
const SETTLING: Duration = Duration::from_mins(1);
/// How long a measurement takes.
const MEASURING: u32 = 15;
/// What counts as no growth: memory in pieces that the allocator can't give back, connections that just open.
const MORE_KIB: u64 = 2048;
const MORE_DESCRIPTORS: usize = 2;
const MORE_TASKS: u64 = 2;

/// Runs nerve among faults and compares its end with its start.
#[derive(Debug, Parser)]
struct Arguments {
    /// How long.
    #[arg(long, default_value_t = 10)]
    minutes: u32,
    /// How many services flap.
    #[arg(long, default_value_t = 30)]
    services: usize,
}

/// What nerve holds at rest.
#[derive(Debug, Clone, Copy)]
struct AtRest {
    resident_kib: u64,
    descriptors: usize,
    tasks: u64,
}

struct Scene {
    zookeeper: ZooKeeper,
    targets: Vec<Target>,
    nerve: Daemon,
    directory: TempDir,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut scene = Scene::start(arguments.services).await;
    scene.disturb(SETTLING).await;
    let start = scene.at_rest().await;
    println!("start: {start:?}");
    let (outages, reloads) = scene
        .disturb(Duration::from_secs(60 * u64::from(arguments.minutes)))
        .await;
    let end = scene.at_rest().await;
    println!("end:   {end:?}, after {outages} restarts of ZooKeeper and {reloads} reloads");
    println!("       {}", scene.nerve.usage());
    let ended = scene.nerve.terminate().await;
    let grown = end.resident_kib > start.resident_kib + MORE_KIB
        || end.descriptors > start.descriptors + MORE_DESCRIPTORS
        || end.tasks > start.tasks + MORE_TASKS;
    if grown || !ended.success() {
        println!("nerve has grown, or did not end well: {ended}");
        return ExitCode::FAILURE;
    }
    println!("nerve holds what it held.");
    ExitCode::SUCCESS
}

impl Scene {
    async fn start(services: usize) -> Self {
        let zookeeper = ZooKeeper::start().await;
        let directory = tempfile::tempdir().unwrap();
        let targets: Vec<_> = (0..services).map(|_| Target::start()).collect();
        let port = free_port();
        let configuration = configuration(port, &zookeeper.address(), &targets, directory.path(), 0);
        let mut nerve = Daemon::new("nerve", "nerve", directory.path(), port, &configuration);
        nerve.start_and_wait().await.unwrap();
        Self {
            zookeeper,
            targets,
            nerve,
            directory,
        }
    }

    /// Makes trouble for `span`; returns how often ZooKeeper was restarted and the configuration read.
    async fn disturb(&mut self, span: Duration) -> (u32, u32) {
        let end = Instant::now() + span;
        let mut outage_at = Instant::now() + OUTAGE_EVERY;
        let (mut outages, mut reloads) = (0, 0);
        while Instant::now() < end {
            for (target, number) in self.targets.iter().zip(0_usize..) {
                let up = fastrand::u8(..3) > 0;
                target.set(up);
                let file = flag(self.directory.path(), number);
                if up {
                    std::fs::write(file, "").unwrap();
                } else {
                    std::fs::remove_file(file).ok();
                }
            }
            reloads += 1;
            self.reload(reloads).await;
            if Instant::now() >= outage_at {
                outage_at += OUTAGE_EVERY;
                outages += 1;
                self.zookeeper.kill();
                sleep(OUTAGE).await;
                self.zookeeper.restart().await;
            }
            sleep(Duration::from_secs(2)).await;
        }
        (outages, reloads)
    }

    /// Has nerve read another configuration: a label of each third service changes, and one service comes or goes.
    async fn reload(&self, number: u32) {
        let (port, address) = (self.nerve.api_port(), self.zookeeper.address());
        let text = configuration(port, &address, &self.targets, self.directory.path(), number);
        std::fs::write(self.directory.path().join("nerve.yaml"), text).unwrap();
        let reply = self.nerve.send("POST", "/v1/reload").await.unwrap();
        assert_eq!(reply.status, 200, "{}", reply.body);
    }

    /// Lets everything be well, and measures.
    async fn at_rest(&self) -> AtRest {
        self.reload(0).await;
        for (target, number) in self.targets.iter().zip(0_usize..) {
            target.set(true);
            std::fs::write(flag(self.directory.path(), number), "").unwrap();
        }
        eventually(
            "every service is up and registered",
            Duration::from_mins(1),
            async || {
                let status = self.nerve.status().await?;
                let well = |service: &Value| {
                    service["Available"] == true
                        && service["Reporters"]
                            .as_array()
                            .is_some_and(|reporters| reporters.iter().all(|reporter| reporter["State"] == "reported"))
                };
                let services = status.as_array().ok_or("no services")?;
                ensure(services.iter().all(well), || status.to_string())
            },
        )
        .await;
        let mut least = AtRest {
            resident_kib: u64::MAX,
            descriptors: usize::MAX,
            tasks: u64::MAX,
        };
        // What left at the reload may take a while to be gone.
        sleep(Duration::from_secs(5)).await;
        for _ in 0..MEASURING {
            sleep(Duration::from_secs(1)).await;
            let usage = self.nerve.usage();
            least.resident_kib = least.resident_kib.min(usage.resident_kib);
            least.descriptors = least.descriptors.min(usage.descriptors);
            least.tasks = least.tasks.min(self.tasks().await);
        }
        least
    }

    async fn tasks(&self) -> u64 {
        let metrics = self.nerve.get("/metrics").await.expect("nerve answers").body;
        let tasks = metrics.lines().find_map(|line| line.strip_prefix("nerve_tasks "));
        tasks.expect("it counts its tasks").parse().unwrap()
    }
}

/// What the program of the check looks for.
fn flag(directory: &Path, number: usize) -> std::path::PathBuf {
    directory.join(format!("{number}.up"))
}

fn configuration(port: u16, zookeeper: &str, targets: &[Target], directory: &Path, reload: u32) -> String {
    let mut text = format!("apiPort: {port}\nlogLevel: error\nservices:\n");
    // One service comes and goes.
    let shown = targets.len() - usize::try_from(reload % 2).unwrap();
    for (target, number) in targets.iter().zip(0_usize..).take(shown) {
        let check = match number % 3 {
            0 => "{ type: tcp".to_owned(),
            1 => "{ type: http, path: /".to_owned(),
            _ => format!(
                "{{ type: exec, command: [test, -e, {}]",
                flag(directory, number).display()
            ),
        };
        let label = if number % 3 == 0 { reload } else { 0 };
        writeln!(
            text,
            "  - {{ name: s{number}, host: 127.0.0.1, port: {}, enableWarmupIntervalInMilli: 100, \
             enableWarmupMaxDurationInMilli: 3000, disableMinDurationInMilli: 1, labels: {{ reload: '{label}' }}, \
             checks: [{check}, checkIntervalInMilli: 250, timeoutInMilli: 200, rise: 1, fall: 1 }}], \
             reporters: [{{ type: zookeeper, hosts: ['{zookeeper}'], path: /soak, sessionTimeout: 6s }}, \
             {{ type: file, path: {}/{number}.report }}] }}",
            target.port(),
            directory.display()
        )
        .unwrap();
    }
    text
}
