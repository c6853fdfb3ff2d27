//! Prints what changes, one line per server, to standard output.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use common::ready::Latch;
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use crate::config::PaceConfig;
use crate::desired::{Desired, Server};

use super::applier::{Applied, Applier, ApplierTask, Target};

/// Standard output.
#[derive(Debug)]
pub struct Console {
    printed: Arc<Desired>,
}

/// Prints `desired` as it changes.
pub fn console(
    desired: watch::Receiver<Arc<Desired>>,
    pace: PaceConfig,
    first_print: Latch,
) -> (Applier, ApplierTask<Console>) {
    let target = Console {
        printed: Arc::default(),
    };
    Applier::new(target, desired, pace, None, first_print)
}

impl Target for Console {
    async fn apply(&mut self, desired: &Arc<Desired>) -> Result<Applied, String> {
        let text = changes(&self.printed, desired).concat();
        let applied = if text.is_empty() {
            Applied::Unchanged
        } else {
            Applied::Changed
        };
        write(text)
            .await
            .map_err(|error| format!("changes could not be printed: {error}"))?;
        self.printed = Arc::clone(desired);
        Ok(applied)
    }
}

/// Standard output may be a pipe without a reader: only this router waits for it.
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
                servers: servers.map(Arc::from),
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
}
