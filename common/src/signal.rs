//! Operating system signals as values.

use tokio::sync::mpsc;

/// What the operator asked of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM, SIGINT or SIGQUIT: stop in order; a second one stops at once.
    Stop,
    /// SIGHUP: read the configuration again.
    Reload,
}

/// The stream of signals; a test feeds its own through [`Signals::fed_by`].
#[derive(Debug)]
pub struct Signals {
    receiver: mpsc::Receiver<Signal>,
}

impl Signals {
    /// Listens to the process's signals from now on. Must be called inside the runtime.
    pub fn of_process() -> std::io::Result<Self> {
        todo!()
    }

    /// Signals that a test sends.
    pub fn fed_by(receiver: mpsc::Receiver<Signal>) -> Self {
        Self { receiver }
    }

    /// The next signal; pends for ever when there can be none any more.
    pub async fn next(&mut self) -> Signal {
        match self.receiver.recv().await {
            Some(signal) => signal,
            None => std::future::pending().await,
        }
    }
}
