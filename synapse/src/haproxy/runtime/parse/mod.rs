//! HAProxy's replies, read by the names in their headers. Pure; no bytes panic it.

mod columns;
mod servers;
mod statistics;
mod table;

use std::collections::{BTreeSet, HashMap};

use crate::name::ServerName;
use columns::Columns;
#[cfg(any(test, fuzzing))]
pub(crate) use servers::PausedChecks;
pub(crate) use servers::{LiveServer, Servers};
pub use statistics::ServerStatistics;
pub(crate) use statistics::{Statistics, StatisticsReader};
pub(crate) use table::{LiveBackend, MAINT_BITS, ServersStateReader, Table, servers_state};

/// The process that answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Info {
    pub(crate) pid: u32,
    pub(crate) version: String,
    pub(crate) uptime_secs: u64,
    /// In seconds of the Unix era.
    pub(crate) started_secs: u64,
    /// Whether a reload has replaced this worker, which only finishes its connections.
    pub(crate) stopping: bool,
}

/// Pid and start time: in a container a restarted process may get the same pid.
pub(crate) type Process = (u32, u64);

impl Info {
    /// The identity of the process.
    pub(crate) fn process(&self) -> Process {
        (self.pid, self.started_secs)
    }
}

/// The master's processes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Processes {
    pub(crate) master: u32,
    pub(crate) reloads: u32,
    /// Failed reloads since the last that worked.
    pub(crate) failed: u32,
    /// Workers of the last reload that worked.
    pub(crate) workers: Vec<u32>,
    pub(crate) old_workers: usize,
}

/// `show info`.
pub(crate) fn info(text: &str) -> Option<Info> {
    let fields: HashMap<&str, &str> = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(key, value)| (key.trim(), value.trim()))
        .collect();
    let seconds = |key| fields.get(key).and_then(|value| value.parse().ok()).unwrap_or(0);
    Some(Info {
        pid: fields.get("Pid")?.parse().ok()?,
        version: (*fields.get("Version")?).to_owned(),
        uptime_secs: seconds("Uptime_sec"),
        started_secs: seconds("Start_time_sec"),
        stopping: fields.get("Stopping").is_some_and(|value| *value != "0"),
    })
}

/// `show env NAME`: its value; `None` if it is not set.
pub(crate) fn env(text: &str, name: &str) -> Option<String> {
    let (key, value) = text.trim().split_once('=')?;
    (key == name).then(|| value.to_owned())
}

/// `show proc` on the master's socket.
pub(crate) fn processes(text: &str) -> Option<Processes> {
    let mut found = Processes::default();
    let mut old = false;
    for line in text.lines() {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        match fields.as_slice() {
            [heading, ..] if heading.starts_with('#') => old = line.contains("old workers"),
            [pid, "master", reloads, rest @ ..] => {
                found.master = pid.parse().ok()?;
                found.reloads = reloads.parse().ok()?;
                found.failed = match rest {
                    ["[failed:", count, ..] => count.trim_end_matches(']').parse().ok()?,
                    _ => 0,
                };
            }
            [_, "worker", ..] if old => found.old_workers += 1,
            [pid, "worker", ..] => found.workers.push(pid.parse().ok()?),
            _ => {}
        }
    }
    (found.master != 0).then_some(found)
}

/// Servers of one backend without requests, queue and connections in use.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct IdleServers {
    /// Servers without kept connections: another instance may have them.
    pub(crate) reusable: BTreeSet<ServerName>,
    /// All of them: HAProxy closes the kept connections of a server that it deletes.
    pub(crate) deletable: BTreeSet<ServerName>,
}

impl IdleServers {
    /// Keeps the servers of which `keep` is true.
    pub(crate) fn retain(&mut self, keep: impl Fn(&ServerName) -> bool) {
        self.reusable.retain(&keep);
        self.deletable.retain(&keep);
    }

    /// Keeps the servers that are idle in `other` too.
    pub(crate) fn intersect(&mut self, other: &Self) {
        self.reusable.retain(|name| other.reusable.contains(name));
        self.deletable.retain(|name| other.deletable.contains(name));
    }
}

/// `show stat ID 4 -1`: the idle servers. A server of which a counter is missing is not idle.
pub(crate) fn idle_servers(text: &str) -> IdleServers {
    let mut lines = text.lines();
    let header = lines.next().and_then(|line| line.strip_prefix("# "));
    let columns = Columns::new(header.unwrap_or_default().split(','));
    let mut idle = IdleServers::default();
    for line in lines {
        let row = columns.row(line.split(','));
        let is_zero = |column: &&str| row.get(column) == Some("0");
        if let Some(name) = row.get("svname")
            && ["scur", "qcur", "used_conn_cur"].iter().all(is_zero)
        {
            idle.deletable.insert(name.into());
            if is_zero(&"idle_conn_cur") {
                idle.reusable.insert(name.into());
            }
        }
    }
    idle
}

/// The first release whose runtime API adds and deletes servers without defects.
pub(crate) const MIN_DYNAMIC_RELEASE: (u32, u32) = (3, 0);

/// Whether a worker of this version, which replied `reply` to `add server` without arguments, adds and deletes servers at
/// runtime. Releases before 3.0 never reuse a connection to such a server, and may crash when they delete one.
pub(crate) fn supports_dynamic_servers(version: &str, reply: &str) -> bool {
    release(version) >= MIN_DYNAMIC_RELEASE && reply.contains("Require 'backend/server'")
}

/// The first two numbers of a version; 0 for each that is missing.
pub(crate) fn release(version: &str) -> (u32, u32) {
    let mut numbers = version.split('.').map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// `haproxy -v`: the number in its first line.
pub(crate) fn version(text: &str) -> Option<String> {
    let number = text.lines().next()?.split_ascii_whitespace().nth(2)?;
    number
        .starts_with(|c: char| c.is_ascii_digit())
        .then(|| number.to_owned())
}

#[cfg(test)]
mod tests;
