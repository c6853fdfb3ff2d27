//! Gathers the watchers of one router and publishes what the catalog makes of them.
//!
//! Level-triggered: whatever changed, the whole is looked at again. A source that is lost changes its freshness and
//! nothing else, so the router hears nothing of it.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::catalog::{self, Outcome, Seed};
use crate::config::ServiceConfig;
use crate::desired::Desired;
use crate::health::Health;
use crate::watcher::WatcherState;

/// The task of one router's sources.
#[derive(Debug)]
#[must_use = "nothing is published until the task runs"]
pub struct Gather {
    services: Vec<ServiceConfig>,
    states: Vec<watch::Receiver<Arc<WatcherState>>>,
    seed: Seed,
    bell: watch::Receiver<()>,
    desired: watch::Sender<Arc<Desired>>,
    outcome: watch::Sender<Arc<Outcome>>,
}

/// What the task publishes.
#[derive(Debug, Clone)]
pub struct Gathered {
    /// For the router: changes only when a server does.
    pub desired: watch::Receiver<Arc<Desired>>,
    /// For people: changes with everything.
    pub outcome: watch::Receiver<Arc<Outcome>>,
}

/// Gathers `states`, the sources of `services` in the same order, each time `bell` rings.
pub fn gather(
    services: Vec<ServiceConfig>,
    states: Vec<watch::Receiver<Arc<WatcherState>>>,
    seed: Seed,
    bell: watch::Receiver<()>,
) -> (Gathered, Gather) {
    let first = decide(&services, &states, &Outcome::default(), seed);
    let (desired, desired_receiver) = watch::channel(Arc::clone(&first.desired));
    let (outcome, outcome_receiver) = watch::channel(Arc::new(first));
    let gathered = Gathered {
        desired: desired_receiver,
        outcome: outcome_receiver,
    };
    let task = Gather {
        services,
        states,
        seed,
        bell,
        desired,
        outcome,
    };
    (gathered, task)
}

impl Gather {
    /// Gathers until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            self.bell.mark_unchanged();
            if self.has_news() {
                let outcome = decide(&self.services, &self.states, &self.outcome.borrow(), self.seed);
                self.desired.send_if_modified(|desired| {
                    let differs = *desired != outcome.desired;
                    if differs {
                        *desired = Arc::clone(&outcome.desired);
                    }
                    differs
                });
                self.outcome.send_replace(Arc::new(outcome));
            }
            tokio::select! {
                () = stop.cancelled() => return,
                rung = self.bell.changed() => if rung.is_err() {
                    // The watchers have ended: the daemon stops.
                    return stop.cancelled().await;
                },
            }
        }
    }

    /// Whether a source of this router has published since the last decision.
    fn has_news(&self) -> bool {
        let outcome = self.outcome.borrow();
        let decided = outcome.services.iter().map(|service| &service.state);
        decided
            .zip(&self.states)
            .any(|(decided, state)| !Arc::ptr_eq(decided, &state.borrow()))
    }
}

fn decide(
    services: &[ServiceConfig],
    states: &[watch::Receiver<Arc<WatcherState>>],
    previous: &Outcome,
    seed: Seed,
) -> Outcome {
    let states: Vec<Arc<WatcherState>> = states.iter().map(|state| Arc::clone(&state.borrow())).collect();
    catalog::outcome(services, &states, &Health::default(), previous, seed)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use common::config::{Document, UnknownKeys};
    use common::zk::reflector::Freshness;
    use tokio::time::{Instant, timeout};

    use super::*;

    fn services() -> Vec<ServiceConfig> {
        let text = "routers: [{type: console, services: [{watcher: {type: zookeeper, hosts: [z], path: /s}}]}]";
        let document = Document::parse("test", text.to_owned()).expect("it parses");
        let understood = crate::config::understand(&document, UnknownKeys::Refuse, std::path::Path::new("/"));
        understood.expect("it is right").value.routers.remove(0).services
    }

    fn state(freshness: Freshness) -> Arc<WatcherState> {
        Arc::new(WatcherState {
            freshness,
            ..WatcherState::default()
        })
    }

    #[tokio::test]
    async fn a_lost_source_is_told_to_people_and_not_to_the_router() {
        let bell = watch::Sender::new(());
        let source = watch::Sender::new(state(Freshness::Never));
        let (mut gathered, task) = gather(services(), vec![source.subscribe()], Seed::of(""), bell.subscribe());
        assert!(!gathered.desired.borrow().is_complete());
        let stop = CancellationToken::new();
        let act = async {
            source.send_replace(state(Freshness::Live));
            bell.send_replace(());
            gathered.desired.changed().await.expect("the task runs");
            assert!(gathered.desired.borrow_and_update().is_complete());
            gathered.outcome.mark_unchanged();

            let since = Instant::now();
            source.send_replace(state(Freshness::Stale { since }));
            bell.send_replace(());
            gathered.outcome.changed().await.expect("the task runs");
            let freshness = gathered.outcome.borrow().services[0].state.freshness;
            assert_eq!(freshness, Freshness::Stale { since });
            assert!(!gathered.desired.has_changed().expect("the task runs"));
            stop.cancel();
        };
        let both = async { tokio::join!(task.run(stop.clone()), act) };
        timeout(Duration::from_secs(10), both).await.expect("in time");
    }
}
