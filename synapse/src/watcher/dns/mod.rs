//! `type: dns`: the addresses of names, or the targets of SRV records.

mod cache;
mod query;

use std::net::SocketAddr;

use common::zk::reflector::Snapshot;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::reader;
use crate::config::DnsConfig;
use cache::{Answer, DnsCache};

/// The task that queries.
#[derive(Debug)]
#[must_use = "nothing is queried until the task runs"]
pub(super) struct DnsTask {
    config: DnsConfig,
    out: watch::Sender<Snapshot>,
}

/// The servers of `config`.
pub(super) fn dns(config: DnsConfig) -> (watch::Receiver<Snapshot>, DnsTask) {
    let (out, snapshots) = watch::channel(reader::unread());
    (snapshots, DnsTask { config, out })
}

impl DnsTask {
    /// Queries until `stop`.
    pub(super) async fn run(self, stop: CancellationToken) {
        let nameserver = self.config.nameserver;
        let mut cache = DnsCache::new(&self.config, Instant::now());
        let mut asked = JoinSet::new();
        loop {
            for (number, question) in cache.due(Instant::now()) {
                asked.spawn(query(number, question, nameserver));
            }
            let next = cache.next();
            tokio::select! {
                () = stop.cancelled() => return,
                Some(Ok((number, answer))) = asked.join_next() => {
                    let now = Instant::now();
                    cache.on_answer(number, answer, now);
                    self.out.send_if_modified(|snapshot| reader::take_in(snapshot, cache.look(), now));
                }
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
            }
        }
    }
}

async fn query(
    number: usize,
    question: crate::config::Question,
    nameserver: Option<SocketAddr>,
) -> (usize, Result<Answer, String>) {
    (number, query::query(question, nameserver).await)
}

#[cfg(test)]
mod tests;
