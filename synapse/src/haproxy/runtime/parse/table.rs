//! `show servers state`: every server and its current state. Pure; no bytes panic it.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use super::columns::Columns;
use super::servers::{LiveServer, PausedChecks, Servers};
use crate::haproxy::runtime::interner::Interner;
use crate::health::Check;
use crate::name::BackendName;

/// Forced, inherited or resolver's maintenance in `srv_admin_state`. A server that was `disabled` in the file keeps another
/// bit as long as it lives, so "not zero" would be wrong.
pub(crate) const MAINT_BITS: u32 = 0x23;
/// Forced or inherited drain.
const DRAIN_BITS: u32 = 0x18;
/// `srv_op_state` of a server that gets no traffic.
const STOPPED: u32 = 0;
/// In `srv_check_state`: the server has a check.
const CHECK_CONFIGURED: u32 = 0x02;
/// There and in `srv_agent_state`: it runs, though perhaps not in maintenance.
const CHECK_ENABLED: u32 = 0x04;
/// `srv_check_result` before the first check, whose result the state then only assumes.
const NOT_CHECKED: u32 = 0;
/// The columns without which a reply is not in the known format.
const REQUIRED: [&str; 7] = [
    "be_id",
    "be_name",
    "srv_name",
    "srv_addr",
    "srv_port",
    "srv_admin_state",
    "srv_uweight",
];

/// All servers of HAProxy by backend.
pub(crate) type Table = BTreeMap<BackendName, LiveBackend>;

/// The servers of one backend.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct LiveBackend {
    /// HAProxy's number of the backend. A frontend and a backend of ours share a name; numbers are unique.
    pub(crate) id: u32,
    pub(crate) servers: Servers,
}

/// `show servers state [backend]`; `None` if it is not in the known format.
pub(crate) fn servers_state(text: &str) -> Option<Table> {
    let mut reader = ServersStateReader::default();
    text.lines().for_each(|line| reader.line(line));
    reader.finish()
}

/// Reads `show servers state` line by line.
#[derive(Debug, Default)]
pub(crate) struct ServersStateReader {
    expected: Expected,
    interner: Interner,
    table: Table,
}

/// What the next line has to be.
#[derive(Debug, Default)]
enum Expected {
    #[default]
    Version,
    Header,
    Server(Columns),
    /// The reply is not in the known format.
    Nothing,
}

impl ServersStateReader {
    /// Takes the next line.
    pub(crate) fn line(&mut self, line: &str) {
        let line = line.trim();
        if line.is_empty() {
            return;
        }
        self.expected = match std::mem::take(&mut self.expected) {
            Expected::Version if line == "1" => Expected::Header,
            Expected::Header => header(line).map_or(Expected::Nothing, Expected::Server),
            Expected::Server(columns) if self.server(&columns, line).is_some() => Expected::Server(columns),
            Expected::Version | Expected::Server(_) | Expected::Nothing => Expected::Nothing,
        };
    }

    /// Returns all servers; `None` if the reply was not in the known format.
    pub(crate) fn finish(mut self) -> Option<Table> {
        self.table.values_mut().for_each(|backend| backend.servers.sort());
        matches!(self.expected, Expected::Server(_)).then_some(self.table)
    }

    fn server(&mut self, columns: &Columns, line: &str) -> Option<()> {
        let row = columns.row(line.split_ascii_whitespace());
        let (ip, port) = (row.get("srv_addr")?.parse::<IpAddr>(), row.get("srv_port")?.parse());
        let admin: u32 = row.parse("srv_admin_state")?;
        let maint = admin & MAINT_BITS != 0;
        let check: Option<u32> = row.parse("srv_check_state");
        let is_paused =
            |state: Option<u32>| state.is_some_and(|state| state & CHECK_CONFIGURED != 0 && state & CHECK_ENABLED == 0);
        let checked = row.parse("srv_op_state").zip(check).zip(row.parse("srv_check_result"));
        let server = LiveServer {
            id: row.parse("srv_id").unwrap_or(0),
            address: ip.ok().zip(port.ok()).map(|(ip, port)| SocketAddr::new(ip, port)),
            weight: row.parse("srv_uweight")?,
            maint,
            drain: admin & DRAIN_BITS != 0,
            check: checked
                .filter(|_| !maint)
                .and_then(|((state, check), result)| verdict(state, check, result)),
            paused: PausedChecks {
                check: is_paused(check),
                agent: is_paused(row.parse("srv_agent_state")),
            },
        };
        let id = row.parse("be_id")?;
        let backend = self.interner.intern(row.get("be_name")?).into();
        let backend = self.table.entry(backend).or_insert_with(|| LiveBackend {
            id,
            servers: Servers::default(),
        });
        backend
            .servers
            .push(self.interner.intern(row.get("srv_name")?).into(), server);
        Some(())
    }
}

fn header(line: &str) -> Option<Columns> {
    let columns = Columns::new(line.strip_prefix('#')?.split_ascii_whitespace());
    REQUIRED.iter().all(|name| columns.contains(name)).then_some(columns)
}

/// HAProxy's own verdict: `fall` failed checks make a server fail, not one. A server without a check can be stopped too,
/// by the one it tracks or by hand.
fn verdict(state: u32, check: u32, result: u32) -> Option<Check> {
    if state == STOPPED {
        return Some(Check::Failing);
    }
    if check & CHECK_CONFIGURED == 0 {
        return Some(Check::Unchecked);
    }
    (result != NOT_CHECKED).then_some(Check::Passing)
}
