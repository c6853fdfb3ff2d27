//! Whether HAProxy follows a registry that never rests: instances join and leave for a minute under a load of new and kept
//! connections; then a service grows; then servers are changed by hand through HAProxy's socket.
//!
//! An instance that leaves ends a second after its node is gone, as a crash. Ends with 1 when a request failed, when a
//! change that the spare servers had room for reloaded HAProxy, when growth took more than a reload for each doubling,
//! or when HAProxy was not as registered at the end of a phase, its weights included.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark that can't run must stop, and say why"
)]

use std::collections::VecDeque;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use e2e::haproxy::Haproxy;
use e2e::load::Load;
use e2e::town::Town;
use tokio::time::{Instant, sleep, sleep_until};

/// From the end of an instance's node to its own.
const GRACE: Duration = Duration::from_secs(1);
/// Instances come and go by so many at once, at most; the spare servers of the smallest service are more.
const BURST: usize = 5;
/// How often a service doubles.
const DOUBLINGS: u32 = 3;
/// How often a server is changed by hand.
const HANDS: usize = 60;
/// synapse's `reconcileInterval`, and what the comparison itself may take on a busy machine.
const RECONCILED: Duration = Duration::from_secs(10 + 2);
/// How servers are checked.
const CHECK: &str = "check inter 2s fastinter 500ms";

/// Changes the registry without a pause and judges HAProxy.
#[derive(Debug, Parser)]
struct Arguments {
    /// Over how many services the changes are spread, one run for each number.
    #[arg(long, value_delimiter = ',', default_value = "1,100")]
    services: Vec<usize>,
    /// The instances of each service at the start.
    #[arg(long, default_value_t = 10)]
    instances: usize,
    /// How many join, and how many leave.
    #[arg(long, default_value_t = 1000)]
    changes: usize,
    /// In how many seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
}

/// What a phase may cost.
struct Allowed {
    reloads: u64,
    /// Whether requests may fail: a manual change lasts until it is found.
    failures: bool,
}

/// Carries out a phase under load, prints its cost, and returns whether that was allowed.
async fn phase(
    town: &mut Town,
    load: &Load,
    name: String,
    allowed: Allowed,
    act: impl AsyncFnOnce(&mut Town) -> Result<String, String>,
) -> bool {
    let reloads = async |haproxy: &Haproxy| haproxy.master().await.unwrap().reloads;
    let before = reloads(&town.haproxy).await;
    load.take();
    let acted = act(town).await;
    // Until each request that it could have hurt has ended.
    sleep(GRACE).await;
    let (tally, reloads) = (load.take(), reloads(&town.haproxy).await - before);
    let failed = tally.failures.len();
    let cheap = reloads <= allowed.reloads && tally.requests > 0 && (failed == 0 || allowed.failures);
    let good = cheap && acted.is_ok();
    let verdict = if good { "good" } else { "NOT GOOD" };
    let said = acted.unwrap_or_else(|why| why);
    println!(
        "{name:<38} {:>9} {failed:>7} {reloads:>8}  {verdict}: {said}",
        tally.requests
    );
    if failed > 0 {
        println!("    failed: {}", tally.failed_kinds());
    }
    if !good {
        println!("--- synapse's log\n{}---", town.synapse.log());
    }
    good
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    println!(
        "{:<34} {:>9} {:>7} {:>8}  verdict",
        "phase", "requests", "failed", "reloads"
    );
    let mut good = true;
    for &services in &arguments.services {
        good &= run(services, &arguments).await;
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn run(services: usize, arguments: &Arguments) -> bool {
    let mut town = Town::new(services, arguments.instances, CHECK).await;
    town.synapse.start_and_wait().await.unwrap();
    town.is_right().await.unwrap();
    let load = Load::over(&town.ports());
    let named = |what: &str| format!("{services} service(s): {what}");
    let runtime = |failures| Allowed { reloads: 0, failures };
    let doubling = Allowed {
        reloads: DOUBLINGS.into(),
        failures: false,
    };
    let churn = async |town: &mut Town| churn(town, arguments).await;
    let come_and_go = named("instances come and go");
    let followed = phase(&mut town, &load, come_and_go, runtime(false), churn).await;
    let grown = phase(&mut town, &load, named("one grows"), doubling, grow).await;
    let repaired = phase(&mut town, &load, named("changed by hand"), runtime(true), meddle).await;
    followed && grown && repaired
}

/// Joins and leaves at a steady pace, in bursts at one service after the other.
async fn churn(town: &mut Town, arguments: &Arguments) -> Result<String, String> {
    let pace = Duration::from_secs(arguments.seconds.into()) / u32::try_from(arguments.changes * 2).unwrap();
    let begun = Instant::now();
    let mut leaving = VecDeque::new();
    let (mut joined, mut next) = (0, begun);
    while joined < arguments.changes {
        let service = fastrand::usize(..town.services());
        let burst = fastrand::usize(1..=BURST).min(arguments.changes - joined);
        for change in 0..burst * 2 {
            next += pace;
            sleep_until(next).await;
            while leaving.front().is_some_and(|(_, due)| *due <= Instant::now()) {
                let (number, _) = leaving.pop_front().unwrap();
                town.close(number);
            }
            if change < burst {
                town.join(service).await;
            } else {
                leaving.push_back((town.leave(service).await, Instant::now() + GRACE));
            }
        }
        joined += burst;
    }
    let (took, settled) = (begun.elapsed(), Instant::now());
    town.is_right().await.map_err(|late| late.to_string())?;
    let settled = settled.elapsed();
    for (number, due) in leaving {
        sleep_until(due).await;
        town.close(number);
    }
    Ok(format!(
        "{joined} joins and {joined} leaves in {:.1} s, as registered {} ms after the last",
        took.as_secs_f64(),
        settled.as_millis()
    ))
}

/// The first service doubles again and again, as fast as the registry takes it.
async fn grow(town: &mut Town) -> Result<String, String> {
    let begun = Instant::now();
    let (from, to) = (town.instances(0), town.instances(0) << DOUBLINGS);
    for _ in from..to {
        town.join(0).await;
    }
    town.is_right().await.map_err(|late| late.to_string())?;
    Ok(format!(
        "from {from} to {to} instances in {:.1} s",
        begun.elapsed().as_secs_f64()
    ))
}

/// Changes servers by chance at the socket.
async fn meddle(town: &mut Town) -> Result<String, String> {
    for _ in 0..HANDS {
        let backend = Town::backend(fastrand::usize(..town.services()));
        let servers = town.haproxy.servers(&backend).await?;
        let server = fastrand::choice(&servers).ok_or("a backend without servers")?.name();
        let words = [
            "state maint",
            "state drain",
            "state ready",
            "weight 0",
            "weight 77",
            "addr 127.2.0.1 port 9",
        ];
        let word = fastrand::choice(words).unwrap();
        town.haproxy
            .ask(&format!("set server {backend}/{server} {word}"))
            .await?;
    }
    let hands_off = Instant::now();
    town.is_right_within(RECONCILED)
        .await
        .map_err(|late| late.to_string())?;
    Ok(format!(
        "{HANDS} changes, repaired {:.1} s after the last",
        hands_off.elapsed().as_secs_f64()
    ))
}
