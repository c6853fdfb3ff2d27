//! The Compose bench: everything that happens to a site is done to the containers of `deploy/compose.yaml`, under a
//! constant load in each client pod, and what it cost is measured there.
//!
//! `deploy/bench test` builds and starts the site and this. It exits 0 only when each scenario kept its budget: no
//! request lost while an instance can be reached and the client's own HAProxy is alive, and no sidecar holds more memory
//! than it is meant to.
#![expect(clippy::print_stdout, reason = "a bench talks to whoever started it")]

mod budget;
mod docker;
mod faults;
mod load;
mod memory;
mod report;
mod scenarios;
mod site;

use std::process::ExitCode;

use clap::Parser;

use report::Report;
use site::Site;

/// Does to the site of `deploy/compose.yaml`, which has to be up, what happens to sites.
#[derive(Debug, Parser)]
struct Arguments {
    /// Only what takes no longer than some seconds each.
    #[arg(long)]
    quick: bool,
    /// Only the scenarios whose name holds this; `memory` measures that alone.
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(broken) => {
            println!("The bench can't go on: {broken}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<bool, String> {
    let mut report = Report::new();
    report.say("waiting until every client finds every application");
    let site = Site::find().await?;
    for scenario in scenarios::all() {
        if (arguments.quick && !scenario.quick) || !scenario.name.contains(&arguments.only) {
            continue;
        }
        scenario.play(&site, &mut report).await?;
    }
    let memory = if "memory".contains(&arguments.only) {
        memory::measure(&site).await?
    } else {
        Vec::new()
    };
    println!("\n{report}\n");
    for line in &memory {
        println!("{line}");
    }
    let tried = !memory.is_empty() || report.has_rows();
    Ok(tried && report.is_good() && memory.iter().all(memory::Line::is_small))
}
