//! How long may ZooKeeper be away? A small site with clients at work loses it for minutes: the same servers, no failed
//! request, no reload, synapse ready and no larger; only the age of the data grows. Then ZooKeeper comes back, and an
//! instance that comes after it gets requests too. Ends with 1 when anything of this is not so.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark that can't run must stop, and say why"
)]

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use e2e::load::Load;
use e2e::outage::Outage;
use e2e::site::Site;

/// Takes ZooKeeper away from a working site.
#[derive(Debug, Parser)]
struct Arguments {
    /// How long.
    #[arg(long, default_value_t = 10)]
    minutes: u32,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut site = Site::start(&["one", "two", "three"]).await;
    let outage = Outage::of(&mut site, Duration::from_secs(60 * u64::from(arguments.minutes)))
        .await
        .unwrap();
    println!("{outage}");
    let mut problems = outage.problems();
    let load = Load::start(site.port());
    site.zookeeper.restart().await;
    site.add("four").await;
    problems.extend(site.serves_all().await.err().map(|late| late.to_string()));
    let after = load.take();
    println!(
        "after its return: {} requests, {} failed",
        after.requests,
        after.failures.len()
    );
    if !after.failures.is_empty() {
        problems.push(format!("requests failed after its return: {}", after.failed_kinds()));
    }
    for problem in &problems {
        println!("WRONG: {problem}");
    }
    if problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
