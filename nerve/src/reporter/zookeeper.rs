//! Keeps the instance's node: translates reports into what a [`Registration`] should hold.
//!
//! Nothing is asked for before the first report, so a predecessor's node stays while the checks start. At the end the
//! node is withdrawn, whatever the last report said.

use std::time::Duration;

use bytes::Bytes;
use common::zk::registration::{Registration, RegistrationState, RegistrationTask};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{ReporterState, Reports, Status};
use crate::announce::PayloadEncoder;

/// A report that is not delivered by then counts as a failure; a write of its own takes milliseconds.
const OVERDUE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Node {
    registration: Registration,
    task: RegistrationTask,
    wording: PayloadEncoder,
}

impl Node {
    pub(super) fn new((registration, task): (Registration, RegistrationTask), wording: PayloadEncoder) -> Self {
        Self {
            registration,
            task,
            wording,
        }
    }

    pub(super) async fn run(self, reports: Reports, status: Status, stop: CancellationToken) {
        let registration = &self.registration;
        let withdrawn = CancellationToken::new();
        let follow = async {
            stop.run_until_cancelled(follow(registration, reports, &status, &self.wording))
                .await;
            registration.want(None);
            withdrawn.cancel();
        };
        tokio::join!(self.task.run(withdrawn.clone()), follow);
        status.sender.send_replace(view(&registration.state().borrow()));
    }
}

async fn follow(registration: &Registration, mut reports: Reports, status: &Status, wording: &PayloadEncoder) {
    let mut node = registration.state();
    // Reports end when the service does; before the first the node is nobody's business.
    let mut open = true;
    let mut asked = false;
    let mut overdue_at = None;
    loop {
        let report = reports.borrow_and_update().clone();
        if let Some(report) = report {
            registration.want(wording.content(&report).map(Bytes::from));
            asked = true;
        }
        if asked {
            let state = view(&node.borrow_and_update());
            if state.detail().is_empty() {
                overdue_at = None;
            } else if status.sender.borrow().detail().is_empty() {
                overdue_at = Some(Instant::now() + OVERDUE);
            }
            status.sender.send_replace(state);
        }
        tokio::select! {
            changed = reports.changed(), if open => open = changed.is_ok(),
            Ok(()) = node.changed() => {}
            () = sleep_until(overdue_at.unwrap_or_else(Instant::now)), if overdue_at.is_some() => {
                overdue_at = None;
                // The registration says in the log why.
                status.failures.inc();
            }
            else => std::future::pending().await,
        }
    }
}

fn view(state: &RegistrationState) -> ReporterState {
    match state {
        RegistrationState::Pending(why) => ReporterState::Pending(why.clone()),
        RegistrationState::Registered { .. } => ReporterState::Reported,
        RegistrationState::Withdrawn => ReporterState::Withdrawn,
        RegistrationState::Withdrawing(why) => ReporterState::Withdrawing(why.clone()),
    }
}
