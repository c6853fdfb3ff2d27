//! What one synapse costs by the size of its town: from its start to the first answered request, from a change in the
//! registry to HAProxy having it, and its memory, threads and processor time while nothing changes.
//!
//! The first size is the baseline that the others are compared with. Build the binaries for release first:
//! `cargo build --release --workspace --bins`.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark that can't run must stop, and say why"
)]

use std::str::FromStr;
use std::time::Duration;

use clap::Parser;
use e2e::eventually::{ensure, eventually};
use e2e::http;
use e2e::town::Town;
use e2e::usage::Usage;
use tokio::time::{Instant, sleep};

/// How servers are checked.
const CHECK: &str = "check inter 10s";
/// How often a change is measured.
const ROUNDS: u8 = 15;
/// How long anything may take.
const TIMEOUT: Duration = Duration::from_mins(2);
/// After which a start and its checks are over.
const SETTLING: Duration = Duration::from_secs(15);

/// Measures synapse with towns of several sizes.
#[derive(Debug, Parser)]
struct Arguments {
    /// The towns: services x instances of each.
    #[arg(long, value_delimiter = ',', default_value = "1x10,200x10,1x1000,1x5000")]
    sizes: Vec<Size>,
    /// For how many seconds the processor time is measured.
    #[arg(long, default_value_t = 30)]
    seconds: u32,
}

#[derive(Debug, Clone, Copy)]
struct Size {
    services: usize,
    instances: usize,
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text.split_once('x').and_then(|(services, instances)| {
            Some(Self {
                services: services.parse().ok().filter(|number| *number > 0)?,
                instances: instances.parse().ok().filter(|number| *number > 0)?,
            })
        });
        numbers.ok_or_else(|| format!("`{text}` is not like 200x10"))
    }
}

/// What a town of one size showed.
struct Measured {
    /// From the start of synapse to an answer, of the last service in the file.
    answer: Duration,
    /// From the start to HAProxy having every instance.
    all: Duration,
    weight: Changes,
    join: Changes,
    /// Share of one processor.
    cpu: f64,
    usage: Usage,
    haproxy_kib: u64,
}

/// How long one kind of change took.
struct Changes(Vec<Duration>);

impl Changes {
    /// The median and the longest, in milliseconds.
    fn shown(&mut self) -> String {
        self.0.sort_unstable();
        let median = self.0.get(self.0.len() / 2).expect("changes were measured");
        let longest = self.0.last().expect("changes were measured");
        format!("{} / {}", median.as_millis(), longest.as_millis())
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let arguments = Arguments::parse();
    println!(
        "{:>10}  {:>12}  {:>9}  {:>15}  {:>15}  {:>10}  {:>8}  {:>11}  {:>20}  {:>12}",
        "town",
        "first answer",
        "all there",
        "weight (median",
        "join / longest)",
        "processor",
        "threads",
        "memory KiB",
        "(a further instance)",
        "HAProxy KiB"
    );
    let mut baseline: Option<(usize, u64)> = None;
    for size in arguments.sizes {
        let mut measured = measure(size, Duration::from_secs(arguments.seconds.into())).await;
        let (count, resident) = (size.services * size.instances, measured.usage.resident_kib);
        let (fewer, less) = *baseline.get_or_insert((count, resident));
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let further = (resident as f64 - less as f64) / count.saturating_sub(fewer).max(1) as f64;
        println!(
            "{:>10}  {:>9} ms  {:>6} ms  {:>12} ms  {:>12} ms  {:>8.2} %  {:>8}  {resident:>11}  {:>16.2} KiB  {:>12}",
            format!("{} x {}", size.services, size.instances),
            measured.answer.as_millis(),
            measured.all.as_millis(),
            measured.weight.shown(),
            measured.join.shown(),
            measured.cpu * 100.0,
            measured.usage.threads,
            further,
            measured.haproxy_kib,
        );
    }
}

async fn measure(size: Size, span: Duration) -> Measured {
    let mut town = Town::new(size.services, size.instances, CHECK).await;
    let last = *town.ports().last().expect("a town has a service");
    let started = Instant::now();
    town.synapse.start();
    eventually("somebody answers", TIMEOUT, async || {
        let reply = http::Connection::open(last)
            .await
            .map_err(|error| error.to_string())?
            .send("GET", "/")
            .await;
        let status = reply.map_err(|error| error.to_string())?.status;
        ensure(status == 200, || format!("status {status}"))
    })
    .await;
    let answer = started.elapsed();
    town.is_right().await.unwrap();
    let all = started.elapsed();
    sleep(SETTLING).await;
    let before = town.synapse.usage();
    sleep(span).await;
    let usage = town.synapse.usage();
    Measured {
        answer,
        all,
        cpu: (usage.cpu - before.cpu) / span.as_secs_f64(),
        usage,
        haproxy_kib: town.haproxy.resident_kib(),
        weight: weights(&mut town).await,
        join: joins(&mut town).await,
    }
}

/// From a weight's way to the registry to HAProxy naming it.
async fn weights(town: &mut Town) -> Changes {
    let backend = Town::backend(0);
    let address = town.weigh(0, 1).await;
    town.is_right().await.unwrap();
    let servers = town.haproxy.servers(&backend).await.unwrap();
    let server = servers.iter().find(|server| server.address() == address);
    let name = server.expect("HAProxy has the instance").name().to_owned();
    let mut took = Vec::new();
    for weight in 2..2 + ROUNDS {
        let begun = Instant::now();
        town.weigh(0, weight).await;
        until(async || {
            let answer = town.haproxy.ask(&format!("get weight {backend}/{name}")).await.unwrap();
            answer.starts_with(&format!("{weight} "))
        })
        .await;
        took.push(begun.elapsed());
    }
    Changes(took)
}

/// From an instance's registration to HAProxy sending it requests; with thousands, detecting that takes a while too.
async fn joins(town: &mut Town) -> Changes {
    let backend = Town::backend(0);
    let mut took = Vec::new();
    for _ in 0..ROUNDS {
        // One that joins needs no reload.
        let left = town.leave(0).await;
        town.is_right().await.unwrap();
        town.close(left);
        let begun = Instant::now();
        let address = town.join(0).await.to_string();
        until(async || town.haproxy.active(&backend).await.unwrap().contains(&address)).await;
        took.push(begun.elapsed());
    }
    Changes(took)
}

/// Polls without a pause, because what is measured takes milliseconds.
async fn until(mut condition: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !condition().await {
        assert!(begun.elapsed() < TIMEOUT, "the change does not arrive");
    }
}
