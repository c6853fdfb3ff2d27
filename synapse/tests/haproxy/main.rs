//! The HAProxy router against a real HAProxy: each test has its own, in its own directory, on free ports.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod bench;
mod directives;
mod dynamic;
mod knowledge;
mod members;
mod panic_threshold;
mod process;
mod refusals;
mod zones;

use bench::{Backend, server};
use synapse::desired::Server;

/// The name of a slot that was laid out for this instance.
fn own(backend: &Backend) -> String {
    format!("{}_{}", backend.name, backend.address)
}

fn weighing(backend: &Backend, weight: u16) -> Server {
    Server {
        weight: Some(weight),
        ..server(backend)
    }
}
