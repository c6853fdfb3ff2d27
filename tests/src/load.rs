//! A constant load that never forgives: every request has a deadline, none is tried twice, every failure is kept.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::clock::unix_millis;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::http::{Connection, Failure, Reply};

/// After this a request has failed.
pub const DEADLINE: Duration = Duration::from_secs(5);

/// How the workers treat connections: most keep one for a while, as pooled clients do; the rest open one per request.
const REQUESTS_PER_CONNECTION: [u32; 6] = [1_000, 500, 100, 20, 1, 1];

/// How long a client pauses between requests.
pub const PAUSE: Duration = Duration::from_micros(3_500);

/// The load; it ends when dropped.
#[derive(Debug)]
pub struct Load {
    tally: Arc<Mutex<Tally>>,
    _workers: JoinSet<()>,
}

/// What became of the requests.
#[derive(Debug, Default, Clone)]
pub struct Tally {
    /// Finished, well or not.
    pub requests: u64,
    /// Those that got no `200`.
    pub failures: Vec<FailedRequest>,
    /// The instances that answered, and how often.
    pub answered: BTreeMap<String, u64>,
    /// How long the answered ones took: by milliseconds, rounded up, how many.
    pub took: BTreeMap<u64, u64>,
}

/// A request that was lost.
#[derive(Debug, Clone)]
pub struct FailedRequest {
    /// When it was known, in milliseconds of the Unix era.
    pub at: u64,
    /// What the client saw, e.g. `status 503`.
    pub what: String,
}

impl fmt::Display for FailedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {}: {}", self.at, self.what)
    }
}

impl Load {
    /// Starts requests to `port` of 127.0.0.1.
    pub fn start(port: u16) -> Self {
        Self::over(&[port])
    }

    /// As [`Load::start`], to all of these ports: each new connection goes to one by chance.
    pub fn over(ports: &[u16]) -> Self {
        let addresses = ports.iter().map(|port| (Ipv4Addr::LOCALHOST, *port).into());
        Self::among(addresses.collect(), PAUSE)
    }

    /// The same to another address of loopback, each of the six clients pausing about this long between its requests.
    pub fn start_at(address: SocketAddr, pause: Duration) -> Self {
        Self::among(vec![address], pause)
    }

    fn among(addresses: Vec<SocketAddr>, pause: Duration) -> Self {
        let (tally, addresses) = (Arc::<Mutex<Tally>>::default(), Arc::new(addresses));
        let workers =
            REQUESTS_PER_CONNECTION.map(|requests| worker(Arc::clone(&addresses), requests, pause, Arc::clone(&tally)));
        Self {
            tally,
            _workers: JoinSet::from_iter(workers),
        }
    }

    /// What finished since the start or the last call.
    pub fn take(&self) -> Tally {
        std::mem::take(&mut self.tally.lock().unwrap())
    }

    /// How many of them failed.
    pub fn failures(&self) -> usize {
        self.tally.lock().unwrap().failures.len()
    }

    /// How many requests finished since the last [`Load::take`].
    pub fn requests(&self) -> u64 {
        self.tally.lock().unwrap().requests
    }
}

impl Tally {
    /// Panics when a request was lost, or when there were none to lose.
    pub fn assert_flawless(&self) {
        assert!(self.requests > 0, "the load sent nothing");
        let failed = self.failures.len();
        assert_eq!(
            failed,
            0,
            "{failed} of {} requests failed: {}",
            self.requests,
            self.failed_kinds()
        );
    }

    /// The kinds of failure with their numbers, and the first of all.
    pub fn failed_kinds(&self) -> String {
        let mut kinds = BTreeMap::<&str, u64>::new();
        for failure in &self.failures {
            *kinds.entry(&failure.what).or_default() += 1;
        }
        let first = self
            .failures
            .first()
            .map_or_else(String::new, |first| format!(", the first {first}"));
        format!("{kinds:?}{first}")
    }
}

fn any(addresses: &[SocketAddr]) -> SocketAddr {
    *fastrand::choice(addresses).expect("the load has an address")
}

async fn worker(
    addresses: Arc<Vec<SocketAddr>>,
    requests_per_connection: u32,
    pause: Duration,
    tally: Arc<Mutex<Tally>>,
) {
    let pause = u64::try_from(pause.as_micros()).unwrap_or(u64::MAX);
    let mut open: Option<(Connection, u32)> = None;
    loop {
        let request = async {
            let mut kept = open.take();
            if let Some((connection, _)) = &mut kept
                && !connection.reusable().await
            {
                kept = None;
            }
            let (mut connection, used) = match kept {
                Some(kept) => kept,
                None => (Connection::open_at(any(&addresses)).await?, 0),
            };
            let reply = connection.send("GET", "/").await?;
            Ok((reply, connection, used + 1))
        };
        let begun = Instant::now();
        let outcome = match timeout(DEADLINE, request)
            .await
            .unwrap_or(Err(Failure::Timeout(DEADLINE)))
        {
            Ok((Reply { status: 200, body }, connection, used)) => {
                open = (used < requests_per_connection).then_some((connection, used));
                Ok(body)
            }
            Ok((Reply { status, .. }, ..)) => Err(format!("status {status}")),
            Err(failure) => Err(failure.to_string()),
        };
        tally.lock().unwrap().count(outcome, begun.elapsed());
        sleep(Duration::from_micros(fastrand::u64(pause / 2..=pause / 2 * 3))).await;
    }
}

impl Tally {
    fn count(&mut self, outcome: Result<String, String>, took: Duration) {
        self.requests += 1;
        match outcome {
            Ok(name) => {
                *self.answered.entry(name).or_default() += 1;
                let millis = u64::try_from(took.as_micros().div_ceil(1000)).unwrap_or(u64::MAX);
                *self.took.entry(millis).or_default() += 1;
            }
            Err(what) => self.failures.push(FailedRequest {
                at: unix_millis(),
                what,
            }),
        }
    }
}
