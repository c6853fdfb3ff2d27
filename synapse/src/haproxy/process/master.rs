//! HAProxy's master: started by synapse, found running, or run by another supervisor; reloads and stops it.
//!
//! In a process group of its own it outlives synapse. A new synapse finds it by its command socket, and its end by a pidfd,
//! which unlike a pid never refers to another process. A master of another supervisor may be in another container, where the
//! pids that it reports are not valid here.

use std::future::pending;
use std::io::Error;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use common::process::{Detached, SpawnError};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::haproxy::runtime::parse::{self, Processes};
use crate::haproxy::runtime::poll::Poll;
use crate::haproxy::runtime::socket::{listener, query_master};

/// Time limit for one query: a starting master can accept a connection and never answer on it.
const QUERY_TIMEOUT: Duration = Duration::from_millis(500);
/// Time limit for any answer of the master.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How to start and to reach the master.
#[derive(Debug, Clone)]
pub(crate) struct Control {
    /// Whether synapse starts it.
    pub(crate) run: bool,
    pub(crate) program: String,
    pub(crate) socket: PathBuf,
    pub(crate) config: PathBuf,
}

/// A running master.
#[derive(Debug)]
pub(crate) enum Master {
    /// A child of synapse.
    Started(Detached),
    /// Started by an earlier synapse.
    Adopted(AsyncFd<OwnedFd>, u32),
    /// Run by another supervisor. Its end shows when it does not answer.
    Elsewhere,
}

impl Control {
    /// Returns the command line: in the foreground (`-db` outweighs a `daemon` in `global`), as a master with a worker.
    pub(crate) fn argv(&self) -> [String; 7] {
        [
            self.program.clone(),
            "-W".into(),
            "-db".into(),
            "-S".into(),
            format!("{},mode,600", self.socket.display()),
            "-f".into(),
            self.config.display().to_string(),
        ]
    }

    /// Starts the master.
    pub(crate) fn start(&self) -> Result<Master, SpawnError> {
        Detached::start(&self.argv()).map(Master::Started)
    }

    /// Adopts the master that answers and reports `pid`.
    pub(crate) async fn adopt(&self, pid: u32) -> Result<Master, Error> {
        if !self.run {
            return Ok(Master::Elsewhere);
        }
        // In another container the pid would be that of another process here.
        if listener(&self.socket).await? != Some(pid) {
            return Err(Error::other(
                "it runs in another container, so that synapse can't watch over it; set `runHaproxy: false`",
            ));
        }
        Master::adopt(pid)
    }

    /// Returns the master's processes.
    pub(crate) async fn processes(&self) -> Result<Processes, Error> {
        let reply = query_master(&self.socket, "show proc", QUERY_TIMEOUT).await?;
        parse::processes(&reply).ok_or_else(|| Error::other("`show proc` was not answered in a known format"))
    }

    /// Retries [`Self::processes`]: for some milliseconds after a start or a reload the worker serves while the master does
    /// not answer yet.
    pub(crate) async fn processes_within(&self, timeout: Duration) -> Result<Processes, Error> {
        let mut poll = Poll::new(timeout);
        loop {
            match self.processes().await {
                Err(_) if poll.wait().await => {}
                answer => return answer,
            }
        }
    }

    /// Makes the master reload. Up to 2.6 it answers at once and with nothing; later ones answer `Success=0` or `Success=1`
    /// and the log when it is done.
    pub(crate) async fn reload(&self, wait: Duration) -> Result<String, Error> {
        query_master(&self.socket, "reload", wait).await
    }
}

impl Master {
    /// Watches the process `pid`.
    #[expect(
        deprecated,
        reason = "its successor is unsafe for types that lie about their descriptor; an OwnedFd does not"
    )]
    fn adopt(pid: u32) -> Result<Self, Error> {
        let fd = pidfd_open(to_pid(pid)?, PidfdFlags::empty())?;
        Ok(Self::Adopted(AsyncFd::with_interest(fd, Interest::READABLE)?, pid))
    }

    /// Its pid; `None` when it has ended or has another supervisor.
    pub(crate) fn id(&self) -> Option<u32> {
        match self {
            Self::Started(child) => child.id(),
            Self::Adopted(_, pid) => Some(*pid),
            Self::Elsewhere => None,
        }
    }

    /// Waits for its end and returns how it ended. Cancel-safe.
    pub(crate) async fn ended(&mut self) -> String {
        match self {
            Self::Started(child) => child.ended().await,
            Self::Adopted(fd, _) => match fd.readable().await {
                Ok(_) => "not a child of synapse, so the reason is unknown".to_owned(),
                Err(error) => format!("it can't be watched: {error}"),
            },
            Self::Elsewhere => pending().await,
        }
    }

    /// Makes it finish its connections and end.
    pub(crate) fn stop_softly(&self) -> Result<(), Error> {
        let Some(pid) = self.id() else { return Ok(()) };
        Ok(kill_process(to_pid(pid)?, Signal::USR1)?)
    }
}

fn to_pid(pid: u32) -> Result<Pid, Error> {
    i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| Error::other(format!("{pid} is no process id")))
}
