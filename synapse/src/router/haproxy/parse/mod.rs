//! What HAProxy says of itself, read by the names in its own headers. Pure; bytes never panic it.

mod servers;
mod statistics;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::words::Words;
use crate::health::Check;

pub(super) use servers::Servers;
pub use statistics::ServerStatistics;
#[cfg(any(test, fuzzing))]
pub(super) use statistics::statistics;
pub(super) use statistics::{Statistics, StatisticsReader};

/// Forced, inherited or resolver's maintenance in `srv_admin_state`. A server that was `disabled` in the file keeps
/// another bit for ever, so "not zero" would be wrong.
pub(super) const MAINT_BITS: u32 = 0x23;
/// Forced or inherited drain.
const DRAIN_BITS: u32 = 0x18;
/// `srv_op_state` of a server that gets nothing.
const STOPPED: u32 = 0;
/// In `srv_check_state`: the server has a check.
const CHECK_CONFIGURED: u32 = 0x02;
/// There and in `srv_agent_state`: it runs, though perhaps not in maintenance.
const CHECK_ENABLED: u32 = 0x04;
/// `srv_check_result` before the first check, whose outcome the state then only assumes.
const NOT_CHECKED: u32 = 0;

/// All servers HAProxy has, by backend.
pub(super) type Table = BTreeMap<Arc<str>, LiveBackend>;

/// One backend's servers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct LiveBackend {
    /// HAProxy's number for it; our frontends and backends share names, numbers are unique.
    pub(super) id: u32,
    pub(super) servers: Servers,
}

/// One server as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct LiveServer {
    /// 0 when HAProxy does not say.
    pub(super) id: u32,
    /// `None` when it has none (unresolved, or a Unix socket).
    pub(super) address: Option<SocketAddr>,
    pub(super) weight: u32,
    pub(super) maint: bool,
    pub(super) drain: bool,
    /// What its check says; `None` before it was checked, and in maintenance, where it is not.
    pub(super) check: Option<Check>,
    pub(super) off: Off,
}

/// Which of these a server has and HAProxy does not ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Off {
    pub(super) check: bool,
    pub(super) agent: bool,
}

/// The process that answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Info {
    pub(super) pid: u32,
    pub(super) version: String,
    pub(super) uptime_secs: u64,
    /// A worker that a reload has replaced and that only finishes its connections.
    pub(super) stopping: bool,
}

/// The master's processes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Processes {
    pub(super) master: u32,
    pub(super) reloads: u32,
    /// Failed reloads since the last that worked.
    pub(super) failed: u32,
    /// Workers of the last reload that worked.
    pub(super) workers: Vec<u32>,
    pub(super) old_workers: usize,
}

/// `show servers state [backend]`; `None` when it is not in the one format there is.
pub(super) fn servers_state(text: &str) -> Option<Table> {
    let mut read = ServersState::default();
    text.lines().for_each(|line| read.line(line));
    read.finish()
}

/// The same, line by line as it comes.
#[derive(Debug, Default)]
pub(super) struct ServersState {
    at: At,
    words: Words,
    /// By backend.
    found: BTreeMap<Arc<str>, Found>,
}

/// A backend's number, and its servers as they come.
#[derive(Debug)]
struct Found {
    id: u32,
    servers: Vec<(Arc<str>, LiveServer)>,
}

/// Where in the reply of `show servers state` its reader is.
#[derive(Debug, Default)]
enum At {
    #[default]
    Version,
    Header,
    Servers(Columns),
    /// It is not in the one format there is.
    Lost,
}

/// Where what stands in a line of `show servers state`.
#[derive(Debug, Clone, Copy)]
struct Columns {
    backend_id: usize,
    backend: usize,
    name: usize,
    address: usize,
    port: usize,
    admin: usize,
    weight: usize,
    id: Option<usize>,
    state: Option<usize>,
    check: Option<usize>,
    result: Option<usize>,
    agent: Option<usize>,
}

impl ServersState {
    /// Takes the next line.
    pub(super) fn line(&mut self, line: &str) {
        let line = line.trim();
        if line.is_empty() {
            return;
        }
        self.at = match std::mem::replace(&mut self.at, At::Lost) {
            At::Version if line == "1" => At::Header,
            At::Header => Columns::read(line).map_or(At::Lost, At::Servers),
            At::Servers(columns) => match self.server(columns, line) {
                Some(()) => At::Servers(columns),
                None => At::Lost,
            },
            At::Version | At::Lost => At::Lost,
        };
    }

    /// All of it; `None` when it was not in the one format there is.
    pub(super) fn finish(self) -> Option<Table> {
        let backends = self.found.into_iter().map(|(name, Found { id, servers })| {
            let servers = servers.into_iter().collect();
            (name, LiveBackend { id, servers })
        });
        matches!(self.at, At::Servers(_)).then(|| backends.collect())
    }

    fn server(&mut self, columns: Columns, line: &str) -> Option<()> {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let field = |index: usize| fields.get(index).copied();
        let admin: u32 = field(columns.admin)?.parse().ok()?;
        let ip = field(columns.address)?.parse::<IpAddr>().ok();
        let port = field(columns.port)?.parse::<u16>().ok();
        let number = |column: Option<usize>| column.and_then(field)?.parse::<u32>().ok();
        let maint = admin & MAINT_BITS != 0;
        let checked = number(columns.state)
            .zip(number(columns.check))
            .zip(number(columns.result));
        let checked = checked.filter(|_| !maint);
        let is_off =
            |state: Option<u32>| state.is_some_and(|state| state & CHECK_CONFIGURED != 0 && state & CHECK_ENABLED == 0);
        let server = LiveServer {
            id: number(columns.id).unwrap_or(0),
            address: ip.zip(port).map(SocketAddr::from),
            weight: field(columns.weight)?.parse().ok()?,
            maint,
            drain: admin & DRAIN_BITS != 0,
            check: checked.and_then(|((state, check), result)| verdict(state, check, result)),
            off: Off {
                check: is_off(number(columns.check)),
                agent: is_off(number(columns.agent)),
            },
        };
        let (backend, name) = (field(columns.backend)?, field(columns.name)?);
        let id = field(columns.backend_id)?.parse().ok()?;
        let backend = self.found.entry(self.words.once(backend)).or_insert_with(|| Found {
            id,
            servers: Vec::new(),
        });
        backend.servers.push((self.words.once(name), server));
        Some(())
    }
}

impl Columns {
    fn read(header: &str) -> Option<Self> {
        let names: Vec<&str> = header.strip_prefix('#')?.split_ascii_whitespace().collect();
        let column = |name: &str| names.iter().position(|known| *known == name);
        Some(Self {
            backend_id: column("be_id")?,
            backend: column("be_name")?,
            name: column("srv_name")?,
            address: column("srv_addr")?,
            port: column("srv_port")?,
            admin: column("srv_admin_state")?,
            weight: column("srv_uweight")?,
            id: column("srv_id"),
            state: column("srv_op_state"),
            check: column("srv_check_state"),
            result: column("srv_check_result"),
            agent: column("srv_agent_state"),
        })
    }
}

/// HAProxy's own: a check that failed once does not make a server fail, its `fall` does. A server without a check can be
/// stopped too, by the one it tracks or by hand.
fn verdict(state: u32, check: u32, result: u32) -> Option<Check> {
    if state == STOPPED {
        return Some(Check::Failing);
    }
    if check & CHECK_CONFIGURED == 0 {
        return Some(Check::Unchecked);
    }
    (result != NOT_CHECKED).then_some(Check::Passing)
}

/// `show info`.
pub(super) fn info(text: &str) -> Option<Info> {
    let fields: HashMap<&str, &str> = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(key, value)| (key.trim(), value.trim()))
        .collect();
    Some(Info {
        pid: fields.get("Pid")?.parse().ok()?,
        version: (*fields.get("Version")?).to_owned(),
        uptime_secs: fields
            .get("Uptime_sec")
            .and_then(|value| value.parse().ok())
            .unwrap_or(0),
        stopping: fields.get("Stopping").is_some_and(|value| *value != "0"),
    })
}

/// `show env NAME`: its value, `None` when it is not set.
pub(super) fn env(text: &str, name: &str) -> Option<String> {
    let (key, value) = text.trim().split_once('=')?;
    (key == name).then(|| value.to_owned())
}

/// `show proc` on the master's socket.
pub(super) fn processes(text: &str) -> Option<Processes> {
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
pub(super) fn idle_servers(text: &str) -> BTreeSet<Arc<str>> {
    servers_without(text, &["scur", "qcur", "used_conn_cur", "idle_conn_cur"])
}

/// The same, but for connections that are only kept for the next request: HAProxy closes them when it deletes a server.
pub(super) fn unused_servers(text: &str) -> BTreeSet<Arc<str>> {
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
pub(super) const MAKES_SERVERS: (u32, u32) = (3, 0);

/// Whether a worker of this version, which answered `reply` to a mere `add server`, makes and deletes servers as it
/// should: those of before 3.0 never use a connection to such a server twice, and may crash when they delete one.
pub(super) fn makes_servers(version: &str, reply: &str) -> bool {
    release(version) >= MAKES_SERVERS && reply.contains("Require 'backend/server'")
}

/// The first two numbers of a version; 0 for what is none.
pub(super) fn release(version: &str) -> (u32, u32) {
    let mut numbers = version.split('.').map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// `haproxy -v`: the number in its first line.
pub(super) fn version(text: &str) -> Option<String> {
    let number = text.lines().next()?.split_ascii_whitespace().nth(2)?;
    number
        .starts_with(|c: char| c.is_ascii_digit())
        .then(|| number.to_owned())
}

#[cfg(test)]
mod tests;
