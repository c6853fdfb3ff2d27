//! What the bench found: line by line as it happens, and as a table at the end.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use crate::budget::Cost;

/// What one scenario showed.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) scenario: &'static str,
    /// How long it took until all was as it should be, where anything had to become so.
    pub(crate) converged: Duration,
    pub(crate) reloads: u64,
    pub(crate) cost: Cost,
}

/// All scenarios.
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
        println!("[{:7.1} s] {what}", self.started.elapsed().as_secs_f64());
    }

    /// Keeps a finished scenario.
    pub(crate) fn add(&mut self, row: Row) {
        self.say(&row);
        for problem in &row.cost.problems {
            self.say(format_args!("  NOT GOOD: {problem}"));
        }
        self.rows.push(row);
    }

    /// Whether anything was played.
    pub(crate) fn has_rows(&self) -> bool {
        !self.rows.is_empty()
    }

    /// Whether every scenario kept its budget.
    pub(crate) fn is_good(&self) -> bool {
        self.rows.iter().all(|row| row.cost.problems.is_empty())
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cost {
            requests,
            failed,
            p99,
            outage,
            problems,
        } = &self.cost;
        let p99 = p99.map_or_else(|| "-".to_owned(), |p99| format!("{p99} ms"));
        let outage = if *outage > 0 {
            format!("{outage} ms")
        } else {
            "-".to_owned()
        };
        let converged = format!("{:.1} s", self.converged.as_secs_f64());
        let verdict = if problems.is_empty() { "kept" } else { "NOT GOOD" };
        write!(
            f,
            "{:<42} {converged:>9} {requests:>9} {failed:>7} {outage:>8} {p99:>8} {:>8}  {verdict}",
            self.scenario, self.reloads
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<42} {:>9} {:>9} {:>7} {:>8} {:>8} {:>8}  budget",
            "scenario", "converged", "requests", "failed", "outage", "p99", "reloads"
        )?;
        for row in &self.rows {
            writeln!(f, "{row}")?;
        }
        let requests: u64 = self.rows.iter().map(|row| row.cost.requests).sum();
        let failed: usize = self.rows.iter().map(|row| row.cost.failed).sum();
        let verdict = if self.is_good() {
            "every budget was kept"
        } else {
            "NOT GOOD"
        };
        write!(
            f,
            "{requests} requests in {:.0} s, {failed} failed: {verdict}.",
            self.started.elapsed().as_secs_f64()
        )
    }
}
