//! Talks with the worker that serves: who it is, what it has, and a [`Batch`] carried out.

use std::collections::BTreeSet;
use std::io::{Error, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::haproxy::runtime::batch::{Batch, IdleServers};
use crate::haproxy::runtime::command::{Action, Command, Refusal, Target};
use crate::haproxy::runtime::parse::{self, Info, Statistics, Table};
use crate::haproxy::runtime::socket::Session;

/// Environment variable of the HAProxy process that holds the fingerprint of the structure it has loaded.
pub(crate) const STRUCTURE: &str = "SYNAPSE_STRUCTURE";
/// The waits between looks at whether addresses have arrived: together a second.
const ARRIVALS: [u64; 10] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512];

/// The worker that answers and the structure it has loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Worker {
    pub(crate) info: Info,
    /// `None` when its file is not ours.
    pub(crate) structure: Option<String>,
    /// Whether servers can be made and deleted while it runs.
    pub(crate) supports_dynamic_servers: bool,
}

/// What became of a batch.
#[derive(Debug, Default)]
pub(crate) struct BatchReport {
    pub(crate) accepted: u64,
    pub(crate) refused: Vec<(Command, Refusal)>,
}

/// Asks who answers.
pub(crate) async fn identify(session: &mut Session) -> Result<Worker, Error> {
    // The last is no whole command: whoever knows it says what is missing.
    let asked = [
        "show info".to_owned(),
        format!("show env {STRUCTURE}"),
        "add server".to_owned(),
    ];
    let mut replies = session.send(&asked).await?.into_iter();
    let info = replies
        .next()
        .as_deref()
        .and_then(parse::info)
        .ok_or_else(|| unknown_format("show info"))?;
    let structure = replies.next().and_then(|reply| parse::env(&reply, STRUCTURE));
    let reply = replies.next().unwrap_or_default();
    let supports_dynamic_servers = parse::supports_dynamic_servers(&info.version, &reply);
    Ok(Worker {
        info,
        structure,
        supports_dynamic_servers,
    })
}

/// Reads every server.
pub(crate) async fn table(session: &mut Session) -> Result<Table, Error> {
    let mut read = parse::ServersStateReader::default();
    session
        .send_for_lines("show servers state", |line| read.line(line))
        .await?;
    read.finish().ok_or_else(|| unknown_format("show servers state"))
}

/// Reads what HAProxy counts of every server.
pub(crate) async fn statistics(session: &mut Session) -> Result<Statistics, Error> {
    let mut read = parse::StatisticsReader::default();
    session
        .send_for_lines("show stat -1 4 -1", |line| read.line(line))
        .await?;
    Ok(read.finish())
}

/// Reads the servers of some backends again, into `table`.
pub(crate) async fn refresh(
    session: &mut Session,
    table: &mut Table,
    backends: &BTreeSet<Arc<str>>,
) -> Result<(), Error> {
    let asked: Vec<String> = backends
        .iter()
        .map(|name| format!("show servers state {name}"))
        .collect();
    for (name, reply) in backends.iter().zip(session.send(&asked).await?) {
        let found = parse::servers_state(&reply).ok_or_else(|| unknown_format("show servers state"))?;
        // One without any server is not named in the reply.
        if let Some(backend) = table.get_mut(name) {
            backend.servers.clear();
        }
        table.extend(found);
    }
    Ok(())
}

/// The servers of the backend with this number that nothing is bound to any more, by how they may be used again.
pub(crate) async fn idle(session: &mut Session, backend: u32) -> Result<IdleServers, Error> {
    let reply = session.send_one(&format!("show stat {backend} 4 -1")).await?;
    Ok(IdleServers {
        reusable: parse::idle_servers(&reply),
        deletable: parse::unused_servers(&reply),
    })
}

/// Carries out a batch and reads the touched backends back into `table`. A server whose address did not arrive does not
/// become ready; the rest goes on.
pub(crate) async fn execute(session: &mut Session, batch: &Batch, table: &mut Table) -> Result<BatchReport, Error> {
    let mut report = BatchReport::default();
    let backends: BTreeSet<Arc<str>> = batch
        .targets()
        .into_iter()
        .map(|target| Arc::clone(&target.backend))
        .collect();
    send(session, &batch.address, &mut report).await?;
    let refused: BTreeSet<Target> = report
        .refused
        .iter()
        .map(|(command, _)| command.target.clone())
        .collect();
    let mut away = away(batch, table);
    if !away.is_empty() {
        let moved: BTreeSet<Arc<str>> = away.iter().map(|target| Arc::clone(&target.backend)).collect();
        for wait in ARRIVALS {
            refresh(session, table, &moved).await?;
            away = self::away(batch, table);
            if away.is_subset(&refused) {
                break;
            }
            sleep(Duration::from_millis(wait)).await;
        }
    }
    let mut rest = batch.activate.clone();
    rest.retain(|command| !away.contains(&command.target));
    rest.extend(batch.retire.iter().cloned());
    send(session, &rest, &mut report).await?;
    refresh(session, table, &backends).await?;
    Ok(report)
}

/// The servers of a batch that are not yet where they are moved to.
fn away(batch: &Batch, table: &Table) -> BTreeSet<Target> {
    let moves = batch.address.iter().filter_map(|command| match &command.act {
        Action::Addr(address) => Some((&command.target, *address)),
        Action::Add(new) => Some((&command.target, new.address)),
        Action::Maint
        | Action::Ready
        | Action::Weight(_)
        | Action::EnableHealth
        | Action::EnableAgent
        | Action::Del => None,
    });
    moves
        .filter(|(target, address)| {
            let server = table
                .get(&target.backend)
                .and_then(|backend| backend.servers.get(&target.server));
            server.is_none_or(|server| server.address != Some(*address))
        })
        .map(|(target, _)| target.clone())
        .collect()
}

async fn send(session: &mut Session, commands: &[Command], report: &mut BatchReport) -> Result<(), Error> {
    let lines: Vec<String> = commands.iter().map(ToString::to_string).collect();
    for (command, reply) in commands.iter().zip(session.send(&lines).await?) {
        match command.check_reply(&reply) {
            Ok(()) => report.accepted = report.accepted.saturating_add(1),
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
