//! The load of the Compose bench: it runs beside a client's synapse, in the same network namespace, sends requests to the
//! service's port of localhost, and prints each second a line of JSON with the results of the requests that ended in it.
#![expect(clippy::print_stdout, reason = "what it says is what it is for")]

use std::net::Ipv4Addr;
use std::time::Duration;

use clap::Parser;
use common::clock::unix_millis;
use e2e::load::{Load, Tally};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

/// A constant load on a port of 127.0.0.1.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where the service is.
    #[arg(long)]
    port: u16,
    /// How long each of the six clients pauses between two requests, in milliseconds.
    #[arg(long, default_value_t = 40)]
    pause: u64,
}

/// Maximum number of failures in a line; the number of all is beside them.
const TOLD: usize = 20;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    let mut stop = signal(SignalKind::terminate())?;
    let load = Load::start_at(
        (Ipv4Addr::LOCALHOST, arguments.port).into(),
        Duration::from_millis(arguments.pause),
    );
    let mut second = interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = stop.recv() => return Ok(()),
            _ = second.tick() => {}
        }
        let Tally {
            requests,
            failures,
            answered,
            took,
        } = load.take();
        let told: Vec<_> = failures.iter().take(TOLD).map(ToString::to_string).collect();
        let failed: Vec<u64> = failures.iter().map(|failure| failure.at).collect();
        let line = json!({
            "at": unix_millis(), "requests": requests, "failed": failed, "failures": told,
            "answered": answered, "took": took,
        });
        println!("{line}");
    }
}
