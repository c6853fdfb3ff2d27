//! What HAProxy says of itself, read by the names in its own headers. Pure; bytes never panic it.

mod servers;
mod statistics;
mod table;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

#[cfg(any(test, fuzzing))]
pub(crate) use servers::PausedChecks;
pub(crate) use servers::{LiveServer, Servers};
pub use statistics::ServerStatistics;
#[cfg(any(test, fuzzing))]
pub(crate) use statistics::statistics;
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
    /// A worker that a reload has replaced and that only finishes its connections.
    pub(crate) stopping: bool,
}

/// A process's id and start: in a container, who comes after a restart may have the number of who was before.
pub(crate) type Process = (u32, u64);

impl Info {
    /// Which process it is.
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

/// `show env NAME`: its value, `None` when it is not set.
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
            [_, "worker", ..] if old => found.old_workers = found.old_workers.saturating_add(1),
            [pid, "worker", ..] => found.workers.push(pid.parse().ok()?),
            _ => {}
        }
    }
    (found.master != 0).then_some(found)
}

/// `show stat ID 4 -1`: the servers that no request, no queue and no connection is bound to any more. A server whose
/// numbers are not all there is not idle.
pub(crate) fn idle_servers(text: &str) -> BTreeSet<Arc<str>> {
    servers_without(text, &["scur", "qcur", "used_conn_cur", "idle_conn_cur"])
}

/// The same, but for connections that are only kept for the next request: HAProxy closes them when it deletes a server.
pub(crate) fn unused_servers(text: &str) -> BTreeSet<Arc<str>> {
    servers_without(text, &["scur", "qcur", "used_conn_cur"])
}

/// The servers for which all of these numbers are 0.
fn servers_without(text: &str, numbers: &[&str]) -> BTreeSet<Arc<str>> {
    let mut lines = text.lines();
    let Some(header) = lines.next().and_then(|line| line.strip_prefix("# ")) else {
        return BTreeSet::new();
    };
    let columns: Vec<usize> = numbers
        .iter()
        .filter_map(|name| header.split(',').position(|known| known == *name))
        .collect();
    let name = header.split(',').position(|known| known == "svname");
    let Some(name) = name.filter(|_| columns.len() == numbers.len()) else {
        return BTreeSet::new();
    };
    lines
        .filter_map(|line| {
            let fields: Vec<&str> = line.split(',').collect();
            let idle = columns.iter().all(|column| fields.get(*column) == Some(&"0"));
            idle.then(|| fields.get(name).map(|name| Arc::from(*name))).flatten()
        })
        .collect()
}

/// The first release that makes and deletes servers as it should.
pub(crate) const MIN_DYNAMIC_RELEASE: (u32, u32) = (3, 0);

/// Whether a worker of this version, which answered `reply` to a mere `add server`, makes and deletes servers as it
/// should: those of before 3.0 never use a connection to such a server twice, and may crash when they delete one.
pub(crate) fn supports_dynamic_servers(version: &str, reply: &str) -> bool {
    release(version) >= MIN_DYNAMIC_RELEASE && reply.contains("Require 'backend/server'")
}

/// The first two numbers of a version; 0 for what is none.
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
