//! Operating system signals as values.

use std::future::poll_fn;
use std::task::Poll;

use tokio::signal::unix::{self, SignalKind};
use tokio::sync::mpsc;

/// A request of the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM, SIGINT or SIGQUIT: stop in order; a second one stops at once.
    Stop,
    /// SIGHUP: read the configuration again.
    Reload,
}

/// SIGUSR2: exit at once and leave everything in place for a successor.
#[derive(Debug)]
pub struct Handover(unix::Signal);

impl Handover {
    /// Receives from now on. Must be called inside the runtime.
    pub fn of_process() -> std::io::Result<Self> {
        unix::signal(SignalKind::user_defined2()).map(Self)
    }

    /// Returns when it is requested. Cancel-safe.
    pub async fn requested(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

/// The stream of signals; a test feeds its own through [`Signals::fed_by`].
#[derive(Debug)]
pub struct Signals(Source);

#[derive(Debug)]
enum Source {
    Process {
        stop: [unix::Signal; 3],
        reload: unix::Signal,
    },
    Fed(mpsc::Receiver<Signal>),
}

impl Signals {
    /// Receives the process's signals from now on. Must be called inside the runtime.
    pub fn of_process() -> std::io::Result<Self> {
        Ok(Self(Source::Process {
            stop: [
                unix::signal(SignalKind::terminate())?,
                unix::signal(SignalKind::interrupt())?,
                unix::signal(SignalKind::quit())?,
            ],
            reload: unix::signal(SignalKind::hangup())?,
        }))
    }

    /// Signals that a test sends.
    pub fn fed_by(receiver: mpsc::Receiver<Signal>) -> Self {
        Self(Source::Fed(receiver))
    }

    /// Returns the next signal; pends when there can be none any more. Cancel-safe. A stop overtakes a reload.
    pub async fn next(&mut self) -> Signal {
        match &mut self.0 {
            Source::Process { stop, reload } => {
                poll_fn(|context| {
                    for stream in stop.iter_mut() {
                        if stream.poll_recv(context).is_ready() {
                            return Poll::Ready(Signal::Stop);
                        }
                    }
                    reload.poll_recv(context).map(|_| Signal::Reload)
                })
                .await
            }
            Source::Fed(receiver) => match receiver.recv().await {
                Some(signal) => signal,
                None => std::future::pending().await,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Signal as Raw, getpid, kill_process};

    #[tokio::test]
    async fn each_signal_of_the_process_is_mapped() {
        let mut signals = Signals::of_process().unwrap();
        for (raw, meaning) in [
            (Raw::TERM, Signal::Stop),
            (Raw::HUP, Signal::Reload),
            (Raw::INT, Signal::Stop),
            (Raw::QUIT, Signal::Stop),
        ] {
            kill_process(getpid(), raw).unwrap();
            assert_eq!(signals.next().await, meaning, "{raw:?}");
        }
    }

    #[tokio::test]
    async fn fed_signals_come_in_order() {
        let (sender, receiver) = mpsc::channel(2);
        let mut signals = Signals::fed_by(receiver);
        sender.send(Signal::Reload).await.unwrap();
        sender.send(Signal::Stop).await.unwrap();
        assert_eq!(signals.next().await, Signal::Reload);
        assert_eq!(signals.next().await, Signal::Stop);
    }
}
