//! Notifications to the service manager: ready, reloading, stopping, watchdog.
//!
//! systemd's protocol: a datagram of `KEY=VALUE` lines to the socket that `NOTIFY_SOCKET` names; without it nothing is
//! sent. The watchdog is served by a task of the daemon's own runtime, so it proves that tasks run, and nothing about
//! ZooKeeper or HAProxy: a restart would repair neither.

#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// How often the daemon's state is checked when no watchdog requires more.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// How often it is checked until the daemon is ready: other units wait for it.
const STARTUP_POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Added to the deadline of a stop, so that the daemon itself reports what did not end in time.
const STOP_MARGIN: Duration = Duration::from_secs(5);

/// Notifies the service manager. Clones share the socket.
#[derive(Debug, Clone, Default)]
pub struct Notifier(Option<Arc<NotifySocket>>);

#[derive(Debug)]
struct NotifySocket {
    socket: UnixDatagram,
    /// The timeout of its watchdog, if it has one.
    watchdog: Option<Duration>,
    /// Whether `READY=1` was sent; the end of a reload must not send it first.
    ready: AtomicBool,
    status: Mutex<String>,
}

/// The state of the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Whether it is ready; ignored once it was.
    pub ready: bool,
    /// One line for `systemctl status`.
    pub status: String,
}

impl Notifier {
    /// The notifier for the socket of the environment. A socket that can't be used is logged: the service manager will
    /// assume that the daemon does not start.
    pub fn from_environment() -> Self {
        let Some(path) = std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty()) else {
            return Self::default();
        };
        let text = |name| std::env::var(name).ok();
        let watchdog = watchdog(text("WATCHDOG_USEC"), text("WATCHDOG_PID"), std::process::id());
        Self::at(&path, watchdog).unwrap_or_else(|error| {
            tracing::warn!(
                socket = %path.display(), %error,
                "The service manager can't be notified of the start; it may kill the daemon for that."
            );
            Self::default()
        })
    }

    fn at(path: &OsStr, watchdog: Option<Duration>) -> io::Result<Self> {
        let address = match path.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            path => SocketAddr::from_pathname(OsStr::from_bytes(path))?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        // A manager that hangs must not hold the daemon.
        socket.set_nonblocking(true)?;
        Ok(Self(Some(Arc::new(NotifySocket {
            socket,
            watchdog,
            ready: AtomicBool::new(false),
            status: Mutex::default(),
        }))))
    }

    /// Sends the state that `observe` returns, and the watchdog's keep-alives, until `stop`.
    pub async fn run(self, observe: impl Fn() -> State, stop: CancellationToken) {
        let Some(socket) = self.0 else {
            return stop.cancelled().await;
        };
        loop {
            socket.notify(&observe());
            let pause = match socket.watchdog {
                _ if !socket.ready.load(Ordering::Relaxed) => STARTUP_POLL_INTERVAL,
                // One may be late.
                Some(watchdog) => (watchdog / 3).min(POLL_INTERVAL),
                None => POLL_INTERVAL,
            };
            if stop.run_until_cancelled(sleep(pause)).await.is_none() {
                return;
            }
        }
    }

    /// Notifies of the begin of a reload.
    pub fn reloading(&self) {
        if let Some(socket) = self.ready() {
            let now = clock_gettime(ClockId::Monotonic);
            let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1_000;
            socket.send(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
        }
    }

    /// Notifies of the end of a reload, applied or refused.
    pub fn reloaded(&self) {
        if let Some(socket) = self.ready() {
            socket.send("READY=1");
        }
    }

    /// Notifies of the stop, which may take `grace`.
    pub fn stopping(&self, grace: Duration) {
        if let Some(socket) = &self.0 {
            let micros = grace.saturating_add(STOP_MARGIN).as_micros();
            socket.send(&format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={micros}"));
        }
    }

    fn ready(&self) -> Option<&NotifySocket> {
        self.0.as_deref().filter(|socket| socket.ready.load(Ordering::Relaxed))
    }
}

impl NotifySocket {
    fn notify(&self, state: &State) {
        let mut message = Vec::new();
        if state.ready && !self.ready.swap(true, Ordering::Relaxed) {
            message.push("READY=1".to_owned());
        }
        let mut sent = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        if *sent != state.status {
            sent.clone_from(&state.status);
            message.push(format!("STATUS={}", state.status.replace('\n', " ")));
        }
        if self.watchdog.is_some() {
            message.push("WATCHDOG=1".to_owned());
        }
        if !message.is_empty() {
            self.send(&message.join("\n"));
        }
    }

    fn send(&self, message: &str) {
        if let Err(error) = self.socket.send(message.as_bytes()) {
            tracing::debug!(%error, message, "A notification to the service manager failed.");
        }
    }
}

/// `WATCHDOG_USEC`, when it is meant for this process.
fn watchdog(micros: Option<String>, process: Option<String>, id: u32) -> Option<Duration> {
    if process.is_some_and(|process| process != id.to_string()) {
        return None;
    }
    let micros: u64 = micros?.parse().ok()?;
    Some(Duration::from_micros(micros)).filter(|time| !time.is_zero())
}
