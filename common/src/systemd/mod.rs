//! What a service manager is told: that the daemon is up, reads its configuration again, stops, and is alive.
//!
//! systemd's protocol: a datagram of `KEY=VALUE` lines to the socket that `NOTIFY_SOCKET` names. Without one nothing is
//! said and nothing costs anything. The sign of life comes from a task of the daemon's own runtime, so it says that tasks
//! get their turn, and nothing of ZooKeeper or HAProxy: a restart would mend neither.

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

/// How often the daemon's state is looked at when no watchdog wants to hear more often.
const LOOK: Duration = Duration::from_secs(5);

/// How often it is looked at until the daemon is up: others wait for it.
const STARTUP_POLL_INTERVAL: Duration = Duration::from_millis(50);

/// More than the deadline of a stop, so that the daemon says itself what did not end in time.
const MARGIN: Duration = Duration::from_secs(5);

/// The line to the service manager; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Notifier(Option<Arc<Line>>);

#[derive(Debug)]
struct Line {
    socket: UnixDatagram,
    /// Within what time it wants a sign of life; `None`: it does not wait for any.
    watchdog: Option<Duration>,
    /// A reload or a status must not say `READY=1` before the daemon is up.
    ready: AtomicBool,
    status: Mutex<String>,
}

/// How the daemon is, in a look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Whether it is up. Once it was, this is not asked any more.
    pub ready: bool,
    /// One line for people: `systemctl status` shows it.
    pub status: String,
}

impl Notifier {
    /// The one that the environment names. A socket that can't be used is told in the log: the service manager will take
    /// the daemon for one that does not start.
    pub fn from_environment() -> Self {
        let Some(path) = std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty()) else {
            return Self::default();
        };
        let text = |name| std::env::var(name).ok();
        let watchdog = watchdog(text("WATCHDOG_USEC"), text("WATCHDOG_PID"), std::process::id());
        Self::at(&path, watchdog).unwrap_or_else(|error| {
            tracing::warn!(
                socket = %path.display(), %error,
                "The service manager can't be told that this daemon is up; it may end it for that."
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
        Ok(Self(Some(Arc::new(Line {
            socket,
            watchdog,
            ready: AtomicBool::new(false),
            status: Mutex::default(),
        }))))
    }

    /// Tells how the daemon is, and that it is alive, until `stop`.
    pub async fn run(self, look: impl Fn() -> State, stop: CancellationToken) {
        let Some(line) = self.0 else {
            return stop.cancelled().await;
        };
        loop {
            line.tell(&look());
            let pause = match line.watchdog {
                _ if !line.ready.load(Ordering::Relaxed) => STARTUP_POLL_INTERVAL,
                // One late sign is none too few.
                Some(watchdog) => (watchdog / 3).min(LOOK),
                None => LOOK,
            };
            if stop.run_until_cancelled(sleep(pause)).await.is_none() {
                return;
            }
        }
    }

    /// The configuration is being read again.
    pub fn reloading(&self) {
        if let Some(line) = self.up() {
            let now = clock_gettime(ClockId::Monotonic);
            let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1_000;
            line.send(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
        }
    }

    /// It was, or was refused: the daemon runs either way.
    pub fn reloaded(&self) {
        if let Some(line) = self.up() {
            line.send("READY=1");
        }
    }

    /// The daemon stops, and may take `grace` for it.
    pub fn stopping(&self, grace: Duration) {
        if let Some(line) = &self.0 {
            let micros = grace.saturating_add(MARGIN).as_micros();
            line.send(&format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={micros}"));
        }
    }

    fn up(&self) -> Option<&Line> {
        self.0.as_deref().filter(|line| line.ready.load(Ordering::Relaxed))
    }
}

impl Line {
    fn tell(&self, state: &State) {
        let mut message = Vec::new();
        if state.ready && !self.ready.swap(true, Ordering::Relaxed) {
            message.push("READY=1".to_owned());
        }
        let mut told = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        if *told != state.status {
            told.clone_from(&state.status);
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
            tracing::debug!(%error, message, "The service manager was not told.");
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
