//! One step of the demo, judged: what the load lost and what HAProxy was made to do while it happened.

use std::time::Duration;

use e2e::load::Load;
use e2e::site::Site;
use tokio::time::sleep;

use crate::report::{Report, Row};

/// How long a step's change took, or why it did not come about.
pub(crate) type Outcome = Result<String, String>;

/// After a step, until every request that it could have hurt has ended.
const SETTLE: Duration = Duration::from_millis(500);

/// A site under load, and where to report what became of both.
pub(crate) struct Stage<'a> {
    report: &'a mut Report,
    load: Load,
}

impl<'a> Stage<'a> {
    pub(crate) fn new(report: &'a mut Report, load: Load) -> Self {
        Self { report, load }
    }

    /// Does one thing to the site under load and judges what it cost.
    pub(crate) async fn act(
        &mut self,
        site: &mut Site,
        step: &'static str,
        reloads: u64,
        act: impl AsyncFnOnce(&mut Site, &Report) -> Outcome,
    ) {
        let before = site.haproxy.master().await;
        self.load.take();
        let mut row = Row { step, ..Row::default() };
        match act(site, self.report).await {
            Ok(took) => row.took = took,
            Err(problem) => row.problems.push(problem),
        }
        sleep(SETTLE).await;
        let tally = self.load.take();
        (row.requests, row.failed) = (tally.requests, tally.failures.len());
        if row.failed > 0 || row.requests == 0 {
            row.problems.push(format!(
                "{} of {} requests failed: {}",
                row.failed,
                row.requests,
                tally.failed_kinds()
            ));
        }
        match (before, site.haproxy.master().await) {
            (Ok(before), Ok(after)) if before.id == after.id => {
                row.reloads = after.reloads - before.reloads;
                if row.reloads != reloads {
                    row.problems
                        .push(format!("{} reloads instead of {reloads}", row.reloads));
                }
            }
            (before, after) => row
                .problems
                .push(format!("HAProxy was replaced: {before:?}, then {after:?}")),
        }
        self.report.add(row);
    }
}
