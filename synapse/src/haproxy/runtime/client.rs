//! Queries to the worker that serves, and the execution of a [`Batch`].

use std::collections::BTreeSet;
use std::io::{Error, ErrorKind};
use std::time::Duration;

use crate::haproxy::runtime::batch::Batch;
use crate::haproxy::runtime::command::{Action, Command, Refusal, Target};
use crate::haproxy::runtime::parse::{self, IdleServers, Info, Statistics, Table};
use crate::haproxy::runtime::poll::Poll;
use crate::haproxy::runtime::socket::Session;
use crate::name::BackendName;

/// Environment variable of the HAProxy process that holds the fingerprint of the structure it has loaded.
pub(crate) const STRUCTURE: &str = "SYNAPSE_STRUCTURE";
/// Time limit for changed addresses to show up in HAProxy.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(1);

/// The worker that answers and the structure it has loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Worker {
    pub(crate) info: Info,
    /// `None` if its file is not one of synapse's.
    pub(crate) structure: Option<String>,
    /// Whether servers can be added and deleted at runtime.
    pub(crate) supports_dynamic_servers: bool,
}

/// The outcome of a batch.
#[derive(Debug, Default)]
pub(crate) struct BatchReport {
    pub(crate) accepted: u64,
    pub(crate) refused: Vec<(Command, Refusal)>,
}

/// Returns the worker that answers.
pub(crate) async fn identify(session: &mut Session) -> Result<Worker, Error> {
    // `add server` without arguments is a capability probe: versions that support it reply with a usage error.
    let lines = [
        "show info".to_owned(),
        format!("show env {STRUCTURE}"),
        "add server".to_owned(),
    ];
    let replies = session.send(&lines).await?;
    let [info, structure, usage] = replies.as_slice() else {
        return Err(unknown_format("show info"));
    };
    let info = parse::info(info).ok_or_else(|| unknown_format("show info"))?;
    Ok(Worker {
        structure: parse::env(structure, STRUCTURE),
        supports_dynamic_servers: parse::supports_dynamic_servers(&info.version, usage),
        info,
    })
}

/// Returns the worker that answers and its servers.
pub(crate) async fn observe(session: &mut Session) -> Result<(Worker, Table), Error> {
    Ok((identify(session).await?, table(session).await?))
}

/// Reads every server.
pub(crate) async fn table(session: &mut Session) -> Result<Table, Error> {
    let mut reader = parse::ServersStateReader::default();
    session
        .send_for_lines("show servers state", |line| reader.line(line))
        .await?;
    reader.finish().ok_or_else(|| unknown_format("show servers state"))
}

/// Reads HAProxy's counters of every server.
pub(crate) async fn statistics(session: &mut Session) -> Result<Statistics, Error> {
    let mut reader = parse::StatisticsReader::default();
    session
        .send_for_lines("show stat -1 4 -1", |line| reader.line(line))
        .await?;
    Ok(reader.finish())
}

/// Reads the servers of some backends again, into `table`.
async fn refresh(session: &mut Session, table: &mut Table, backends: &BTreeSet<BackendName>) -> Result<(), Error> {
    let lines: Vec<String> = backends
        .iter()
        .map(|name| format!("show servers state {name}"))
        .collect();
    for (name, reply) in backends.iter().zip(session.send(&lines).await?) {
        let found = parse::servers_state(&reply).ok_or_else(|| unknown_format("show servers state"))?;
        // The reply does not name a backend without servers.
        if let Some(backend) = table.get_mut(name) {
            backend.servers.clear();
        }
        table.extend(found);
    }
    Ok(())
}

/// Returns the idle servers of the backend with this number.
pub(crate) async fn idle(session: &mut Session, backend: u32) -> Result<IdleServers, Error> {
    let reply = session.send_one(&format!("show stat {backend} 4 -1")).await?;
    Ok(parse::idle_servers(&reply))
}

/// Executes a batch and reads the changed backends back into `table`. A server whose address did not arrive does not
/// become ready; all others do.
pub(crate) async fn execute(session: &mut Session, batch: &Batch, table: &mut Table) -> Result<BatchReport, Error> {
    let mut report = BatchReport::default();
    send(session, &batch.address, &mut report).await?;
    let refused: BTreeSet<&Target> = report.refused.iter().map(|(command, _)| &command.target).collect();
    let mut unmoved = unmoved_targets(batch, table);
    let moved = backends(unmoved.iter().copied());
    let mut poll = Poll::new(ADDRESS_TIMEOUT);
    while !moved.is_empty() {
        refresh(session, table, &moved).await?;
        unmoved = unmoved_targets(batch, table);
        if unmoved.is_subset(&refused) || !poll.wait().await {
            break;
        }
    }
    let activate = batch
        .activate
        .iter()
        .filter(|command| !unmoved.contains(&command.target));
    let rest: Vec<Command> = activate.chain(&batch.retire).cloned().collect();
    send(session, &rest, &mut report).await?;
    refresh(session, table, &backends(batch.targets())).await?;
    Ok(report)
}

fn backends<'t>(targets: impl IntoIterator<Item = &'t Target>) -> BTreeSet<BackendName> {
    targets.into_iter().map(|target| target.backend.clone()).collect()
}

/// The servers of a batch that do not yet have the address they are moved to.
fn unmoved_targets<'b>(batch: &'b Batch, table: &Table) -> BTreeSet<&'b Target> {
    let is_unmoved = |command: &&Command| {
        let address = match &command.action {
            Action::Addr(address) => *address,
            Action::Add(new) => new.address,
            _ => return false,
        };
        let Target { backend, server } = &command.target;
        let live = table.get(backend).and_then(|backend| backend.servers.get(server));
        live.is_none_or(|live| live.address != Some(address))
    };
    let unmoved = batch.address.iter().filter(is_unmoved);
    unmoved.map(|command| &command.target).collect()
}

async fn send(session: &mut Session, commands: &[Command], report: &mut BatchReport) -> Result<(), Error> {
    let lines: Vec<String> = commands.iter().map(ToString::to_string).collect();
    for (command, reply) in commands.iter().zip(session.send(&lines).await?) {
        match command.check_reply(&reply) {
            Ok(()) => report.accepted += 1,
            Err(refusal) => report.refused.push((command.clone(), refusal)),
        }
    }
    Ok(())
}

fn unknown_format(command: &str) -> Error {
    Error::new(
        ErrorKind::InvalidData,
        format!("`{command}` was not answered in a known format"),
    )
}
