//! What the demo found: printed line by line as it happens, and as a table at the end.

use std::fmt;
use std::time::Duration;

use e2e::site::Site;
use tokio::time::Instant;

/// What one step showed.
#[derive(Debug, Default)]
pub(crate) struct Row {
    pub(crate) step: &'static str,
    /// How long the change took until traffic showed it.
    pub(crate) took: String,
    pub(crate) requests: u64,
    pub(crate) failed: usize,
    pub(crate) reloads: u64,
    /// Why it is not good; empty when it is.
    pub(crate) problems: Vec<String>,
}

/// All steps.
#[derive(Debug)]
pub(crate) struct Report {
    started: Instant,
    rows: Vec<Row>,
}

impl Report {
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
            rows: Vec::new(),
        }
    }

    /// Prints what happens now.
    pub(crate) fn say(&self, what: impl fmt::Display) {
        println!("[{:7.2} s] {what}", self.started.elapsed().as_secs_f64());
    }

    /// Keeps a finished step.
    pub(crate) fn add(&mut self, row: Row) {
        let Row {
            step,
            took,
            requests,
            failed,
            reloads,
            problems,
        } = &row;
        self.say(format_args!(
            "{step}: {took}; {requests} requests, {failed} failed, {reloads} reloads."
        ));
        for problem in problems {
            self.say(format_args!("  NOT GOOD: {problem}"));
        }
        self.rows.push(row);
    }

    /// Whether every step was.
    pub(crate) fn is_good(&self) -> bool {
        self.rows.iter().all(|row| row.problems.is_empty())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widest = self.rows.iter().map(|row| row.took.chars().count()).max().unwrap_or(0);
        writeln!(
            f,
            "{:<34} {:<widest$} {:>9} {:>7} {:>8}  verdict",
            "step", "took", "requests", "failed", "reloads"
        )?;
        for Row {
            step,
            took,
            requests,
            failed,
            reloads,
            problems,
        } in &self.rows
        {
            let verdict = if problems.is_empty() { "good" } else { "NOT GOOD" };
            writeln!(
                f,
                "{step:<34} {took:<widest$} {requests:>9} {failed:>7} {reloads:>8}  {verdict}"
            )?;
        }
        let (requests, failed) = (
            self.rows.iter().map(|row| row.requests).sum::<u64>(),
            self.rows.iter().map(|row| row.failed).sum::<usize>(),
        );
        let verdict = if self.is_good() { "everything held" } else { "NOT GOOD" };
        write!(
            f,
            "{requests} requests in {:.0} s, {failed} failed: {verdict}.",
            self.started.elapsed().as_secs_f64()
        )
    }
}

/// Where everything is, for `--keep`.
pub(crate) fn addresses(site: &Site) -> String {
    let mut lines = vec![
        format!("service    http://127.0.0.1:{}/", site.port()),
        format!("synapse    http://127.0.0.1:{}/status", site.synapse.api_port()),
    ];
    for (name, member) in &site.members {
        let (nerve, address) = (member.nerve.api_port(), member.address());
        lines.push(format!(
            "nerve      http://127.0.0.1:{nerve}/status   (instance {name}, http://{address}/)"
        ));
    }
    lines.push(format!("ZooKeeper  {}", site.zookeeper.address()));
    lines.push(format!("files      {}", site.directory().display()));
    lines.join("\n")
}

/// `12 ms` or `3.4 s`.
pub(crate) fn short(span: Duration) -> String {
    if span < Duration::from_secs(1) {
        format!("{} ms", span.as_millis())
    } else {
        format!("{:.1} s", span.as_secs_f64())
    }
}
