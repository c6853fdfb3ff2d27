//! What one nerve costs with 1, 100 and 1,000 services: how late its checks start, its processor time, its memory.
//!
//! Each service has one check every second, of a type by turns, and reports by turns to ZooKeeper and to a file. Ends with
//! 1 when a check in a hundred starts later than a tenth of its interval. Build the binaries for release first: `cargo build --release --workspace --bins`.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark that can't run must stop, and say why"
)]

mod peers;

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use e2e::daemon::Daemon;
use e2e::eventually::{ensure, eventually};
use e2e::ports::free_port;
use e2e::zookeeper::ZooKeeper;
use peers::Peers;
use tokio::time::sleep;

/// A tenth of the interval of the checks.
const LATEST: f64 = 0.1;

/// The types of the checks, and the keys that each needs.
const CHECKS: [(&str, &str); 9] = [
    ("tcp", ""),
    ("http", "path: /"),
    ("exec", "command: [/bin/true]"),
    ("grpc", "port: GRPC"),
    ("redis", ""),
    ("memcached", ""),
    ("zookeeper", ""),
    ("push", "ttl: 1h"),
    ("file", "path: FILE"),
];

/// Measures nerve with a growing number of services.
#[derive(Debug, Parser)]
struct Arguments {
    /// The numbers of services.
    #[arg(long, value_delimiter = ',', default_value = "1,100,1000")]
    services: Vec<usize>,
    /// How long each is measured, in seconds, once all services are registered.
    #[arg(long, default_value_t = 30)]
    seconds: u32,
}

/// One measured nerve.
struct Measured {
    services: usize,
    probes: f64,
    /// The bucket that holds the 99th centile, in seconds.
    lateness: f64,
    /// Share of one processor, of nerve and of the programs that it ran.
    cpu: f64,
    programs: f64,
    resident_kib: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let zookeeper = ZooKeeper::start().await;
    println!(
        "services  probes/s  p99 late  processor  (per service)  programs  memory KiB  (beyond the first, per service)"
    );
    let mut first: Option<Measured> = None;
    let mut in_time = true;
    for services in arguments.services {
        let measured = measure(services, &zookeeper, Duration::from_secs(arguments.seconds.into())).await;
        in_time &= measured.lateness <= LATEST;
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let count = measured.services as f64;
        let growth = first.as_ref().filter(|first| first.services < services).map(|first| {
            #[expect(clippy::cast_precision_loss, reason = "small numbers")]
            let (more, grown) = (
                (services - first.services) as f64,
                measured.resident_kib as f64 - first.resident_kib as f64,
            );
            grown / more
        });
        println!(
            "{services:8}  {:8.1}  {:>5} ms  {:8.2} %  {:11.4} %  {:6.2} %  {:10}  {}",
            measured.probes,
            format!("<{}", measured.lateness * 1000.0),
            measured.cpu * 100.0,
            measured.cpu * 100.0 / count,
            measured.programs * 100.0,
            measured.resident_kib,
            growth.map_or_else(String::new, |kib| format!("{kib:.1}")),
        );
        first.get_or_insert(measured);
    }
    if in_time {
        ExitCode::SUCCESS
    } else {
        println!("Checks start later than {LATEST} s.");
        ExitCode::FAILURE
    }
}

async fn measure(services: usize, zookeeper: &ZooKeeper, span: Duration) -> Measured {
    let directory = tempfile::tempdir().unwrap();
    let peers = Peers::start().await;
    let port = free_port();
    let configuration = configuration(services, port, zookeeper, &peers, directory.path());
    let mut nerve = Daemon::new("nerve", "nerve", directory.path(), port, &configuration);
    nerve.start_and_wait().await.unwrap();
    for (number, (kind, _)) in (0..services).zip(CHECKS.iter().cycle()) {
        if *kind == "push" {
            let path = format!("/v1/services/s{number}/checks/push/push");
            assert_eq!(nerve.send("PUT", &path).await.unwrap().status, 200, "{path}");
        }
    }
    eventually("every service is up", Duration::from_mins(2), async || {
        let reply = nerve.get("/status").await.map_err(|error| error.to_string())?;
        ensure(reply.status == 200, || format!("status {}", reply.status))
    })
    .await;
    // The start, with its burst of registrations, is not what is measured.
    sleep(Duration::from_secs(5)).await;
    let (before, used) = (Lateness::of(&nerve).await, nerve.usage());
    sleep(span).await;
    let (after, now) = (Lateness::of(&nerve).await, nerve.usage());
    let lateness = after.since(&before);
    let seconds = span.as_secs_f64();
    let measured = Measured {
        services,
        probes: lateness.count() / seconds,
        lateness: lateness.centile(0.99),
        cpu: (now.cpu - used.cpu) / seconds,
        programs: (now.children_cpu - used.children_cpu) / seconds,
        resident_kib: now.resident_kib,
    };
    nerve.terminate().await;
    measured
}

fn configuration(services: usize, port: u16, zookeeper: &ZooKeeper, peers: &Peers, directory: &Path) -> String {
    let (directory, zookeeper) = (directory.display(), zookeeper.address());
    let file = format!("{directory}/nerve.yaml");
    let mut text = format!("apiPort: {port}\nlogLevel: warn\nservices:\n");
    for (number, (kind, keys)) in (0..services).zip(CHECKS.iter().cycle()) {
        let keys = keys.replace("GRPC", &peers.grpc.to_string()).replace("FILE", &file);
        let reporter = if number % 2 == 0 {
            format!("{{ type: zookeeper, hosts: ['{zookeeper}'], path: /scale }}")
        } else {
            format!("{{ type: file, path: {directory}/{number}.report }}")
        };
        writeln!(
            text,
            "  - {{ name: s{number}, host: 127.0.0.1, port: {}, enableWarmup: false, disableMinDurationInMilli: 1, \
             checks: [{{ type: {kind}, checkIntervalInMilli: 1000, timeoutInMilli: 1000, {keys} }}], \
             reporters: [{reporter}] }}",
            peers.words
        )
        .unwrap();
    }
    text
}

/// The histogram of lateness: upper bounds in seconds with the number of probes up to each.
#[derive(Debug)]
struct Lateness(Vec<(f64, f64)>);

impl Lateness {
    async fn of(nerve: &Daemon) -> Self {
        let metrics = nerve.get("/metrics").await.expect("nerve answers").body;
        let buckets = metrics.lines().filter_map(|line| {
            let (bound, count) = line
                .strip_prefix("nerve_check_lateness_seconds_bucket{le=\"")?
                .split_once("\"} ")?;
            Some((bound.parse().unwrap_or(f64::INFINITY), count.parse().ok()?))
        });
        Self(buckets.collect())
    }

    fn since(&self, before: &Self) -> Self {
        let buckets = self.0.iter().zip(&before.0);
        Self(buckets.map(|(now, then)| (now.0, now.1 - then.1)).collect())
    }

    fn count(&self) -> f64 {
        self.0.last().map_or(0.0, |(_, count)| *count)
    }

    /// The bound of the bucket that the centile falls into; infinite when nothing was counted.
    fn centile(&self, centile: f64) -> f64 {
        let wanted = self.count() * centile;
        let bucket = self.0.iter().find(|(_, count)| *count > 0.0 && *count >= wanted);
        bucket.map_or(f64::INFINITY, |(bound, _)| *bound)
    }
}
