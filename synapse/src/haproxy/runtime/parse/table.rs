//! `show servers state`: every server as it is now. Pure; bytes never panic it.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::servers::{LiveServer, PausedChecks, Servers};
use crate::haproxy::runtime::interner::Interner;
use crate::health::Check;

/// Forced, inherited or resolver's maintenance in `srv_admin_state`. A server that was `disabled` in the file keeps
/// another bit for ever, so "not zero" would be wrong.
pub(crate) const MAINT_BITS: u32 = 0x23;
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
pub(crate) type Table = BTreeMap<Arc<str>, LiveBackend>;

/// One backend's servers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct LiveBackend {
    /// HAProxy's number for it; our frontends and backends share names, numbers are unique.
    pub(crate) id: u32,
    pub(crate) servers: Servers,
}

/// `show servers state [backend]`; `None` when it is not in the one format there is.
pub(crate) fn servers_state(text: &str) -> Option<Table> {
    let mut read = ServersStateReader::default();
    text.lines().for_each(|line| read.line(line));
    read.finish()
}

/// The same, line by line as it comes.
#[derive(Debug, Default)]
pub(crate) struct ServersStateReader {
    at: At,
    words: Interner,
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

impl ServersStateReader {
    /// Takes the next line.
    pub(crate) fn line(&mut self, line: &str) {
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
    pub(crate) fn finish(self) -> Option<Table> {
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
            paused: PausedChecks {
                check: is_off(number(columns.check)),
                agent: is_off(number(columns.agent)),
            },
        };
        let (backend, name) = (field(columns.backend)?, field(columns.name)?);
        let id = field(columns.backend_id)?.parse().ok()?;
        let backend = self.found.entry(self.words.intern(backend)).or_insert_with(|| Found {
            id,
            servers: Vec::new(),
        });
        backend.servers.push((self.words.intern(name), server));
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
