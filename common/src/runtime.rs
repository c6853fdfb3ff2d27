//! The runtime of a daemon: one thread for all tasks, and a pool for calls that may hang.

use std::future::Future;

use tokio::runtime::Builder;

use crate::exit::Fatal;

/// Blocking calls (to a resolver or a file system) that may hang before others wait for them. Each has a thread, and the
/// allocator keeps memory per thread.
pub const BLOCKING_THREADS: usize = 64;

/// Runs `future` to its end. A blocking call that hangs does not delay the return.
pub fn block_on<T>(future: impl Future<Output = Result<T, Fatal>>) -> Result<T, Fatal> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .map_err(|error| Fatal::runtime(format!("cannot start the runtime: {error}")))?;
    let output = runtime.block_on(future);
    runtime.shutdown_background();
    output
}
