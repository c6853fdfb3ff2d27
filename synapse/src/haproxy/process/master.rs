//! HAProxy's master: started by us, found running, or run by somebody else, and told to reload or stop.
//!
//! In a process group of its own it outlives synapse. A new synapse finds it by its command socket and learns of its end
//! by a pidfd, which unlike a process id can't come to mean another process. One that somebody else runs may be in
//! another container, where the process ids that it speaks of are none of ours.

use std::future::pending;
use std::io::Error;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::process::{Detached, SpawnError};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep};

use crate::haproxy::runtime::parse::{self, Processes};
use crate::haproxy::runtime::socket::{listener, query_master};

/// How long one question may wait: a master that is just beginning can take a connection and never answer it.
const TRY: Duration = Duration::from_millis(500);
/// How long the master may take to answer at all.
pub(crate) const ANSWER: Duration = Duration::from_secs(5);

/// How to start the master and talk to it.
#[derive(Debug, Clone)]
pub(crate) struct Control {
    /// Whether it is ours to start.
    pub(crate) run: bool,
    pub(crate) program: String,
    pub(crate) socket: PathBuf,
    pub(crate) config: PathBuf,
}

/// A running master.
#[derive(Debug)]
pub(crate) enum Master {
    /// Our child.
    Started(Detached),
    /// A synapse before us started it.
    Adopted(AsyncFd<OwnedFd>, u32),
    /// Somebody else runs it. That it has ended is seen when it does not answer.
    Elsewhere,
}

impl Control {
    /// The command line: in the foreground (`-db` outweighs a `daemon` in `global`), as a master with a worker.
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

    /// Starts it.
    pub(crate) fn start(&self) -> Result<Master, SpawnError> {
        Detached::start(&self.argv()).map(Master::Started)
    }

    /// Takes the master that answers, `pid` by its own word, for ours from now on.
    pub(crate) async fn adopt(&self, pid: u32) -> Result<Master, Error> {
        if !self.run {
            return Ok(Master::Elsewhere);
        }
        // In another container the number would be a stranger's here.
        if listener(&self.socket).await? != Some(pid) {
            return Err(Error::other(
                "it runs in another container, so that synapse can't watch over it; say `runHaproxy: false`",
            ));
        }
        Master::adopt(pid)
    }

    /// Asks the master for its processes.
    pub(crate) async fn processes(&self) -> Result<Processes, Error> {
        let reply = query_master(&self.socket, "show proc", TRY).await?;
        parse::processes(&reply).ok_or_else(|| Error::other("`show proc` was not answered in a known format"))
    }

    /// The same, asked again and again: for some milliseconds after a start or a reload the worker serves while the master
    /// does not answer yet.
    pub(crate) async fn processes_within(&self, wait: Duration) -> Result<Processes, Error> {
        let begun = Instant::now();
        loop {
            match self.processes().await {
                Err(_) if begun.elapsed() < wait => sleep(Duration::from_millis(5)).await,
                answer => return answer,
            }
        }
    }

    /// Asks the master to reload. Up to 2.6 it answers nothing, at once; later ones say `Success=0` or `Success=1` and
    /// the log when it is done.
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

    /// Its process id, `None` when it has ended or is not to be known.
    pub(crate) fn id(&self) -> Option<u32> {
        match self {
            Self::Started(child) => child.id(),
            Self::Adopted(_, pid) => Some(*pid),
            Self::Elsewhere => None,
        }
    }

    /// Waits for its end and says how it ended. Cancel-safe.
    pub(crate) async fn ended(&mut self) -> String {
        match self {
            Self::Started(child) => child.ended().await,
            Self::Adopted(fd, _) => match fd.readable().await {
                Ok(_) => "it was not our child, so nobody knows how".to_owned(),
                Err(error) => format!("it can't be watched: {error}"),
            },
            Self::Elsewhere => pending().await,
        }
    }

    /// Asks it to finish its connections and leave.
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

/// The path of a file with_suffix `path`: its name and `suffix`.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}
