//! Keeps the instance's node: translates reports into what a [`Registration`] should hold.
//!
//! Nothing is asked for before the first report, so a predecessor's node stays while the checks start. At the end the
//! node is withdrawn, whatever the last report said.

use bytes::Bytes;
use common::zk::registration::{Registration, RegistrationState, RegistrationTask};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{ReporterState, Reports, Status};
use crate::announce::node_content;

#[derive(Debug)]
pub(super) struct Node {
    registration: Registration,
    task: RegistrationTask,
    expose_on_unavailable: bool,
}

impl Node {
    pub(super) fn new((registration, task): (Registration, RegistrationTask), expose_on_unavailable: bool) -> Self {
        Self {
            registration,
            task,
            expose_on_unavailable,
        }
    }

    pub(super) async fn run(self, reports: Reports, status: Status, stop: CancellationToken) {
        let Self {
            registration,
            task,
            expose_on_unavailable,
        } = self;
        let withdrawn = CancellationToken::new();
        let follow = async {
            let state = registration.state();
            stop.run_until_cancelled(follow(&registration, reports, state, &status, expose_on_unavailable))
                .await;
            registration.want(None);
            withdrawn.cancel();
        };
        tokio::join!(task.run(withdrawn.clone()), follow);
        status.set(view(&registration.state().borrow()));
    }
}

async fn follow(
    registration: &Registration,
    mut reports: Reports,
    mut state: watch::Receiver<RegistrationState>,
    status: &Status,
    expose_on_unavailable: bool,
) {
    let mut silent = false;
    let mut asked = false;
    loop {
        let report = reports.borrow_and_update().clone();
        if let Some(report) = report {
            registration.want(node_content(&report, expose_on_unavailable).map(Bytes::from));
            asked = true;
        }
        if asked {
            status.set(view(&state.borrow_and_update()));
        }
        tokio::select! {
            changed = reports.changed(), if !silent => silent = changed.is_err(),
            changed = state.changed() => if changed.is_err() {
                return;
            },
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
