//! The reports of the load in a client pod: its lines are read from the container's log as they come.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::docker::container;

/// One second of the load.
#[derive(Debug, Clone, Default)]
pub(crate) struct Second {
    pub(crate) at: u64,
    pub(crate) requests: u64,
    /// When each that failed did, in milliseconds of the Unix era.
    pub(crate) failed: Vec<u64>,
    pub(crate) failures: Vec<String>,
    /// Milliseconds, how many.
    pub(crate) took: BTreeMap<u64, u64>,
}

/// The load of one client.
#[derive(Debug)]
pub(crate) struct Load {
    seconds: Arc<Mutex<Vec<Second>>>,
    _reader: JoinSet<()>,
}

impl Load {
    /// Reads the reports of the load of `client` from now on, also after it was started again.
    pub(crate) fn of(client: &str) -> Self {
        let seconds = Arc::<Mutex<Vec<Second>>>::default();
        let name = container(&format!("{client}-load"));
        let sink = Arc::clone(&seconds);
        let reader = async move {
            loop {
                read(&name, &sink).await;
                sleep(Duration::from_millis(500)).await;
            }
        };
        Self {
            seconds,
            _reader: JoinSet::from_iter([reader]),
        }
    }

    /// The seconds that ended after `from`.
    pub(crate) fn since(&self, from: u64) -> Vec<Second> {
        let seconds = self.seconds.lock().unwrap_or_else(PoisonError::into_inner);
        seconds.iter().filter(|second| second.at > from).cloned().collect()
    }
}

/// Follows the log until the container ends. A repeated line counts once.
#[expect(
    clippy::disallowed_methods,
    reason = "its output is followed for as long as the load runs"
)]
async fn read(name: &str, sink: &Mutex<Vec<Second>>) {
    let mut command = Command::new("docker");
    command.args(["logs", "-f", "--tail", "30", name]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let Ok(mut child) = command.spawn() else { return };
    let Some(output) = child.stdout.take() else { return };
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let mut seconds = sink.lock().unwrap_or_else(PoisonError::into_inner);
        let last = seconds.last().map_or(0, |second| second.at);
        seconds.extend(second(&line).filter(|second| second.at > last));
    }
    child.wait().await.ok();
}

/// A line as the load writes it.
fn second(line: &str) -> Option<Second> {
    let line: Value = serde_json::from_str(line).ok()?;
    let took = line.get("took")?.as_object()?;
    Some(Second {
        at: line.get("at")?.as_u64()?,
        requests: line.get("requests")?.as_u64()?,
        failed: line
            .get("failed")?
            .as_array()?
            .iter()
            .filter_map(Value::as_u64)
            .collect(),
        failures: line
            .get("failures")?
            .as_array()?
            .iter()
            .filter_map(|failure| failure.as_str().map(str::to_owned))
            .collect(),
        took: took
            .iter()
            .filter_map(|(millis, count)| Some((millis.parse().ok()?, count.as_u64()?)))
            .collect(),
    })
}
