//! The runtime of a daemon: one thread for all tasks, and a few for calls that may hang.

use std::io;

use tokio::runtime::{Builder, Runtime};

/// How many calls may hang at a time, to a resolver or a file system, before others wait for them. Each has a thread,
/// and the allocator keeps memory for every thread that there was.
pub const BLOCKING_THREADS: usize = 64;

/// Builds it.
pub fn build() -> io::Result<Runtime> {
    Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
}
