//! Prints what changes, one line per server, to standard output.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::ready::Latch;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::desired::{Desired, Server};

/// Changes are gathered for at most this many times the quiet spell that ends them.
const MOST_SPELLS: u32 = 10;

/// How long after a failed write the next is tried.
const RETRY: Duration = Duration::from_secs(5);

/// The router's task.
#[derive(Debug)]
#[must_use = "nothing is printed until the task runs"]
pub struct ConsoleTask {
    desired: watch::Receiver<Arc<Desired>>,
    quiet: Duration,
    first_print: Option<Latch>,
    failures: Arc<AtomicU64>,
}

/// Prints `desired` as it changes, once nothing has changed for `quiet`. Also returns the count of failed writes.
pub fn console(
    desired: watch::Receiver<Arc<Desired>>,
    quiet: Duration,
    first_print: Latch,
) -> (Arc<AtomicU64>, ConsoleTask) {
    let failures = Arc::default();
    let task = ConsoleTask {
        desired,
        quiet,
        first_print: Some(first_print),
        failures: Arc::clone(&failures),
    };
    (failures, task)
}

impl ConsoleTask {
    /// Prints until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        // It stays as it is when the sources end first, which only happens when the daemon stops.
        stop.run_until_cancelled(self.print_changes()).await;
        stop.cancelled().await;
    }

    async fn print_changes(&mut self) -> Option<()> {
        let mut printed = Arc::new(Desired::default());
        loop {
            let desired = Arc::clone(&self.desired.borrow_and_update());
            let text = changes(&printed, &desired).concat();
            match write(text).await {
                Ok(()) => {
                    if desired.is_complete() {
                        self.first_print = None;
                    }
                    printed = desired;
                    self.desired.changed().await.ok()?;
                    self.gather().await?;
                }
                Err(error) => {
                    self.failures.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(%error, "Changes could not be printed.");
                    sleep_until(Instant::now() + RETRY).await;
                }
            }
        }
    }

    /// Waits until nothing has changed for a while, but not for ever.
    async fn gather(&mut self) -> Option<()> {
        let first = Instant::now();
        loop {
            tokio::select! {
                changed = self.desired.changed() => changed.ok()?,
                () = sleep_until(due(first, Instant::now(), self.quiet)) => return Some(()),
            }
        }
    }
}

/// When changes that began at `first` and came last at `last` are printed.
fn due(first: Instant, last: Instant, quiet: Duration) -> Instant {
    (last + quiet).min(first + quiet * MOST_SPELLS)
}

/// Standard output may be a pipe that nobody reads: only this router waits for it.
async fn write(text: String) -> std::io::Result<()> {
    if text.is_empty() {
        return Ok(());
    }
    let write = move || {
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    };
    spawn_blocking(write)
        .await
        .unwrap_or_else(|error| Err(std::io::Error::other(error)))
}

/// One line for each server that came, changed or went.
fn changes(before: &Desired, after: &Desired) -> Vec<String> {
    let mut lines = Vec::new();
    let before: BTreeMap<&str, _> = before
        .services
        .iter()
        .map(|service| (service.id.as_str(), &service.servers))
        .collect();
    for service in &after.services {
        let Some(now) = &service.servers else {
            continue;
        };
        let now = by_node(now);
        let was = before.get(service.id.as_str()).and_then(|servers| servers.as_deref());
        let was = by_node(was.unwrap_or_default());
        for (node, server) in &now {
            match was.get(node) {
                None => lines.push(line("added", &service.id, server)),
                Some(old) if old != server => lines.push(line("changed", &service.id, server)),
                Some(_) => {}
            }
        }
        let gone = was.iter().filter(|(node, _)| !now.contains_key(*node));
        lines.extend(gone.map(|(_, server)| line("removed", &service.id, server)));
    }
    lines
}

fn by_node(servers: &[Server]) -> BTreeMap<&str, &Server> {
    servers.iter().map(|server| (&*server.node, server)).collect()
}

fn line(what: &str, service: &str, server: &Server) -> String {
    let weight = server.weight.map_or("-".to_owned(), |weight| weight.to_string());
    format!(
        "{what} service={service} server={:?} address={} weight={weight}\n",
        server.name, server.address
    )
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::desired::Service;

    fn server(node: &str, port: u16, weight: Option<u16>) -> Server {
        Server {
            node: Arc::from(node),
            name: format!("name of {node}"),
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            weight,
            options: String::new(),
            labels: BTreeMap::new(),
            created: 0,
            backup: false,
        }
    }

    fn desired(servers: Option<Vec<Server>>) -> Desired {
        Desired {
            services: vec![Service {
                id: "web_1".to_owned(),
                servers,
                ..Service::default()
            }],
        }
    }

    #[test]
    fn each_change_is_a_line() {
        let before = desired(Some(vec![
            server("a", 1, Some(1)),
            server("b", 2, None),
            server("c", 3, None),
        ]));
        let after = desired(Some(vec![
            server("d", 4, None),
            server("a", 1, Some(5)),
            server("b", 2, None),
        ]));
        assert_eq!(
            changes(&before, &after).concat(),
            "changed service=web_1 server=\"name of a\" address=127.0.0.1:1 weight=5\n\
             added service=web_1 server=\"name of d\" address=127.0.0.1:4 weight=-\n\
             removed service=web_1 server=\"name of c\" address=127.0.0.1:3 weight=-\n"
        );
        assert!(changes(&after, &after).is_empty());
    }

    #[test]
    fn what_is_unknown_is_not_gone() {
        assert!(changes(&desired(Some(vec![server("a", 1, None)])), &desired(None)).is_empty());
    }

    #[test]
    fn constant_change_is_printed_in_the_end() {
        let (first, quiet) = (Instant::now(), Duration::from_millis(500));
        assert_eq!(due(first, first, quiet), first + quiet);
        let late = first + Duration::from_mins(1);
        assert_eq!(due(first, late, quiet), first + quiet * MOST_SPELLS);
    }
}
