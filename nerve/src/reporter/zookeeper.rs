//! Keeps the instance's node: translates reports into the desired content of a [`Registration`].
//!
//! Before the first report nothing is desired, so a predecessor's node stays while the checks start. At the end the node is
//! withdrawn, independent of the last report.

use std::time::Duration;

use bytes::Bytes;
use common::clock::unix_millis;
use common::report::{Dialect, Report};
use common::zk::registration::{Registration, RegistrationState, RegistrationTask};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Status;
use crate::delivery::{ReporterState, Reports};

/// The timeout after which a report that is not delivered counts as a failure; a write takes milliseconds.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(1);

/// Encodes reports as the content of a node.
#[derive(Debug, Clone)]
pub struct PayloadEncoder {
    payload: Dialect,
    expose_on_unavailable: bool,
    /// The registration time, milliseconds since the Unix epoch.
    since: u64,
}

impl PayloadEncoder {
    /// Returns an encoder whose registration time is now.
    pub fn new(payload: Dialect, expose_on_unavailable: bool) -> Self {
        Self {
            payload,
            expose_on_unavailable,
            since: unix_millis(),
        }
    }

    /// Returns the desired content of the node; `None` when no node is desired.
    pub(super) fn content(&self, report: &Report) -> Option<Vec<u8>> {
        (report.available || self.expose_on_unavailable).then(|| self.payload.encode(report, self.since))
    }
}

#[derive(Debug)]
pub(super) struct Node {
    registration: Registration,
    task: RegistrationTask,
    encoder: PayloadEncoder,
}

impl Node {
    pub(super) fn new((registration, task): (Registration, RegistrationTask), encoder: PayloadEncoder) -> Self {
        Self {
            registration,
            task,
            encoder,
        }
    }

    pub(super) async fn run(self, reports: Reports, status: Status, stop: CancellationToken) {
        let registration = &self.registration;
        let withdrawn = CancellationToken::new();
        let follow = async {
            stop.run_until_cancelled(follow(registration, reports, &status, &self.encoder))
                .await;
            registration.want(None);
            withdrawn.cancel();
        };
        tokio::join!(self.task.run(withdrawn.clone()), follow);
        status.sender.send_replace(view(&registration.state().borrow()));
    }
}

async fn follow(registration: &Registration, mut reports: Reports, status: &Status, encoder: &PayloadEncoder) {
    let mut node = registration.state();
    // Reports end with the service; before the first the node is left as it is.
    let mut open = true;
    let mut desired = false;
    let mut overdue_at = None;
    loop {
        let report = reports.borrow_and_update().clone();
        if let Some(report) = report {
            registration.want(encoder.content(&report).map(Bytes::from));
            desired = true;
        }
        if desired {
            let state = view(&node.borrow_and_update());
            if state.detail().is_empty() {
                overdue_at = None;
            } else if status.sender.borrow().detail().is_empty() {
                overdue_at = Some(Instant::now() + DELIVERY_TIMEOUT);
            }
            status.sender.send_replace(state);
        }
        tokio::select! {
            changed = reports.changed(), if open => open = changed.is_ok(),
            Ok(()) = node.changed() => {}
            () = sleep_until(overdue_at.unwrap_or_else(Instant::now)), if overdue_at.is_some() => {
                overdue_at = None;
                // The registration logs the reason.
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
