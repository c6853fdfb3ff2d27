//! The demo: the pair does its job for real, under a constant load, while everything that can happen to it happens.
//!
//! `deploy/demo` builds and starts it. It exits 0 only when no request failed, nothing was reloaded that needed no
//! reload, and every target held. Whichever way it ends, it takes its processes and its directory with it.
#![expect(clippy::print_stdout, reason = "a demo talks to whoever started it")]

mod report;
mod stage;
mod steps;

use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use report::Report;

/// Runs nerve and synapse against a real ZooKeeper and a real HAProxy on loopback, and shows what changes cost.
#[derive(Debug, Parser)]
struct Arguments {
    /// Leave everything running at the end, print the URLs, and clean up at Ctrl-C.
    #[arg(long)]
    keep: bool,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> std::io::Result<ExitCode> {
    let arguments = Arguments::parse();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let code = tokio::select! {
        code = run(&arguments) => code,
        _ = interrupt.recv() => ExitCode::from(128 + 2),
        _ = terminate.recv() => ExitCode::from(128 + 15),
        _ = hangup.recv() => ExitCode::from(128 + 1),
    };
    Ok(code)
}

async fn run(arguments: &Arguments) -> ExitCode {
    let mut report = Report::new();
    let site = steps::run(&mut report).await;
    println!("\n{report}");
    if arguments.keep {
        println!("{}\nEverything keeps running until Ctrl-C.", report::addresses(&site));
        std::future::pending::<()>().await;
    }
    if report.is_good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
