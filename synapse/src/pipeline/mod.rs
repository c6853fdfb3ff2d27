//! The pipeline of one router: its watchers' states pass the guard and the catalog, which publishes the desired servers.
//!
//! Level-triggered: each change leads to a look at the whole. A source that is lost changes its freshness and nothing else,
//! so the router is not notified.

pub mod catalog;
pub mod guard;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::config::ServiceConfig;
use crate::desired::Desired;
use crate::health::Health;
use crate::pipeline::catalog::{Outcome, Seed};
use crate::pipeline::guard::{GuardCommand, GuardState, Guarded, ReleaseReason, Step};
use crate::watcher::WatcherState;

/// An operator's command on what is held of a service.
#[derive(Debug)]
pub struct GuardRequest {
    /// The service's id.
    pub service: String,
    /// What is to be done.
    pub command: GuardCommand,
    /// How many were held when it was done.
    pub reply: oneshot::Sender<usize>,
}

/// What one service's servers come from.
#[derive(Debug)]
pub struct Source {
    /// The state of its watcher.
    pub state: watch::Receiver<Arc<WatcherState>>,
    /// What is remembered of it from before the start.
    pub remembered: Option<Arc<WatcherState>>,
}

/// What the task is made of.
#[derive(Debug)]
pub struct Inputs {
    /// The services of one router.
    pub services: Arc<Vec<ServiceConfig>>,
    /// Their sources, in the same order.
    pub sources: Vec<Source>,
    /// What makes this host's order its own.
    pub seed: Seed,
    /// Rung at each change of a source.
    pub changes: watch::Receiver<()>,
    /// The health of the servers as the router's proxy reports it.
    pub health: watch::Receiver<Arc<Health>>,
    /// Rung at each change of what is guarded.
    pub news: watch::Sender<()>,
}

/// The task of one router's sources.
#[derive(Debug)]
#[must_use = "nothing is published until the task runs"]
pub struct ServicePipeline {
    inputs: Inputs,
    guards: Vec<Guard>,
    commands: mpsc::Receiver<GuardRequest>,
    desired: watch::Sender<Arc<Desired>>,
    outcome: watch::Sender<Arc<Outcome>>,
    guarded: watch::Sender<Arc<Vec<Guarded>>>,
    attention: watch::Sender<bool>,
}

/// One service's guard.
#[derive(Debug)]
struct Guard {
    memory: GuardState,
    /// What was last looked at.
    seen: Arc<WatcherState>,
    guarded: Guarded,
    wake_at: Option<Instant>,
}

/// What the task publishes, and where it receives commands.
#[derive(Debug, Clone)]
pub struct PipelineHandle {
    /// For the router: changes only when a server does.
    pub desired: watch::Receiver<Arc<Desired>>,
    /// For people: changes with everything.
    pub outcome: watch::Receiver<Arc<Outcome>>,
    /// What is held of each service, in the file's order.
    pub guarded: watch::Receiver<Arc<Vec<Guarded>>>,
    /// For the router: whether the health of its servers matters now.
    pub attention: watch::Receiver<bool>,
    /// Where an operator's command goes.
    pub commands: mpsc::Sender<GuardRequest>,
}

impl ServicePipeline {
    /// Creates the pipeline of one router and publishes its first result.
    pub fn new(inputs: Inputs) -> (PipelineHandle, Self) {
        let now = Instant::now();
        let guards: Vec<Guard> = inputs
            .services
            .iter()
            .zip(&inputs.sources)
            .map(|(service, source)| Guard::new(service, source, now))
            .collect();
        let guarded = watch::Sender::new(Arc::new(Vec::new()));
        let (commands, receiver) = mpsc::channel(8);
        let mut task = ServicePipeline {
            inputs,
            guards,
            commands: receiver,
            desired: watch::Sender::new(Arc::default()),
            outcome: watch::Sender::new(Arc::default()),
            guarded,
            attention: watch::Sender::new(false),
        };
        task.publish();
        let handle = PipelineHandle {
            desired: task.desired.subscribe(),
            outcome: task.outcome.subscribe(),
            guarded: task.guarded.subscribe(),
            attention: task.attention.subscribe(),
            commands,
        };
        (handle, task)
    }

    /// Gathers until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut healed = false;
        loop {
            self.inputs.changes.mark_unchanged();
            if self.look(Instant::now()) || std::mem::take(&mut healed) {
                self.publish();
            }
            let due = self.guards.iter().filter_map(|guard| guard.wake_at).min();
            tokio::select! {
                () = stop.cancelled() => return,
                rung = self.inputs.changes.changed() => if rung.is_err() {
                    // The watchers have ended: the daemon stops.
                    return stop.cancelled().await;
                },
                Ok(()) = self.inputs.health.changed() => healed = true,
                Some(order) = self.commands.recv() => self.take(order),
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
        }
    }

    /// Looks at each service that has news; whether any had.
    fn look(&mut self, now: Instant) -> bool {
        let health = Arc::clone(&self.inputs.health.borrow());
        let mut news = false;
        let each = self.inputs.services.iter().zip(&self.inputs.sources);
        for ((service, source), guard) in each.zip(&mut self.guards) {
            let state = Arc::clone(&source.state.borrow());
            let is_due = guard.wake_at.is_some_and(|at| at <= now);
            if is_due || guard.memory.holds() || !Arc::ptr_eq(&state, &guard.seen) {
                let step = guard
                    .memory
                    .step(&state, |address| health.of(&service.id, address), now);
                guard.seen = state;
                news |= guard.take(service, step);
            }
        }
        news
    }

    /// Carries out an operator's command and answers when it is done.
    fn take(&mut self, order: GuardRequest) {
        let now = Instant::now();
        let mut each = self.inputs.services.iter().zip(&mut self.guards);
        let Some((service, guard)) = each.find(|(service, _)| service.id == order.service) else {
            return;
        };
        let held = guard.guarded.held.len();
        log(service, &guard.memory.apply_command(order.command, now));
        guard.wake_at = Some(now);
        if self.look(now) {
            self.publish();
        }
        // The requester may have gone.
        order.reply.send(held).ok();
    }

    fn publish(&mut self) {
        let states: Vec<Arc<WatcherState>> = self
            .guards
            .iter()
            .map(|guard| Arc::clone(&guard.guarded.state))
            .collect();
        let mut outcome = catalog::outcome(
            &self.rules(),
            &states,
            &self.inputs.health.borrow(),
            &self.outcome.borrow(),
            self.inputs.seed,
        );
        self.mark_remembered(&mut outcome);
        let guarded: Vec<Guarded> = self.guards.iter().map(|guard| guard.guarded.clone()).collect();
        let is_held = guarded.iter().any(|guarded| !guarded.held.is_empty());
        let mut services = self.inputs.services.iter();
        let matters = is_held || services.any(ServiceConfig::goes_by_health);
        self.attention
            .send_if_modified(|attention| std::mem::replace(attention, matters) != matters);
        self.guarded.send_replace(Arc::new(guarded));
        self.desired.send_if_modified(|desired| {
            let differs = *desired != outcome.desired;
            if differs {
                *desired = Arc::clone(&outcome.desired);
            }
            differs
        });
        self.outcome.send_replace(Arc::new(outcome));
        self.inputs.news.send_replace(());
    }

    /// The services as configured, with `keep_default_servers` set where the guard holds instances.
    fn rules(&self) -> Cow<'_, [ServiceConfig]> {
        let mut services = Cow::Borrowed(self.inputs.services.as_slice());
        let guards = self.guards.iter().enumerate();
        for (nth, _) in guards.filter(|(_, guard)| guard.guarded.needs_help()) {
            if let Some(service) = services.to_mut().get_mut(nth) {
                service.selection.keep_default_servers = true;
            }
        }
        services
    }

    /// Lets the router know which services no source has spoken of yet.
    fn mark_remembered(&self, outcome: &mut Outcome) {
        if !self.guards.iter().any(|guard| guard.guarded.remembered) {
            return;
        }
        let services = &mut Arc::make_mut(&mut outcome.desired).services;
        for (service, guard) in services.iter_mut().zip(&self.guards) {
            service.remembered = guard.guarded.remembered;
        }
    }
}

impl Guard {
    fn new(service: &ServiceConfig, source: &Source, now: Instant) -> Self {
        let seen = Arc::clone(&source.state.borrow());
        // A list in the configuration that was shortened is not to be judged by what it was.
        let remembered = source.remembered.clone().filter(|_| !service.watcher.is_fixed());
        let mut memory = GuardState::new(service.guard, remembered, now);
        let step = memory.step(&seen, |_| None, now);
        Self {
            memory,
            seen,
            guarded: step.guarded,
            wake_at: step.wake_at,
        }
    }

    /// Takes what a step came to; whether anything is new.
    fn take(&mut self, service: &ServiceConfig, step: Step) -> bool {
        for (why, instances) in step.began {
            let service = &service.id;
            if step.guarded.holds {
                tracing::warn!(%service, instances, %why, "Instances that vanished from the registry are held.");
            } else {
                tracing::warn!(%service, instances, %why, "Instances vanished from the registry, and default servers help.");
            }
        }
        log(service, &step.ended);
        self.wake_at = step.wake_at;
        let news = self.guarded != step.guarded;
        self.guarded = step.guarded;
        news
    }
}

fn log(service: &ServiceConfig, ended: &[(Arc<str>, ReleaseReason)]) {
    let mut by_reason: BTreeMap<ReleaseReason, usize> = BTreeMap::new();
    for (node, why) in ended {
        *by_reason.entry(*why).or_default() += 1;
        tracing::debug!(service = %service.id, %node, %why, "An instance is held no more.");
    }
    for (why, instances) in by_reason {
        tracing::info!(service = %service.id, instances, %why, "Instances are held no more.");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use common::config::{Document, UnknownKeys};
    use common::zk::reflector::Freshness;
    use tokio::time::timeout;

    use super::*;
    use crate::health::Check;
    use crate::snapshot;

    /// One service, its source and its router, as the test plays them.
    struct Fixture {
        source: watch::Sender<Arc<WatcherState>>,
        changes: watch::Sender<()>,
        health: watch::Sender<Arc<Health>>,
        handle: PipelineHandle,
        task: Option<ServicePipeline>,
    }

    impl Fixture {
        fn new(remembered: Option<WatcherState>) -> Self {
            Self::with("watcher: {type: zookeeper, hosts: [z], path: /s}", remembered)
        }

        /// The service has these keys.
        fn with(keys: &str, remembered: Option<WatcherState>) -> Self {
            let text = format!("routers: [{{type: console, services: [{{name: s, {keys}}}]}}]");
            let document = Document::parse("test", text).expect("it parses");
            let loaded = crate::config::resolve(&document, UnknownKeys::Refuse, std::path::Path::new("/"));
            let (source, changes) = (watch::Sender::new(Arc::default()), watch::Sender::new(()));
            let health = watch::Sender::new(Arc::default());
            let (handle, task) = ServicePipeline::new(Inputs {
                services: loaded.expect("it is right").value.routers.remove(0).services,
                sources: vec![Source {
                    state: source.subscribe(),
                    remembered: remembered.map(Arc::new),
                }],
                seed: Seed::of(""),
                changes: changes.subscribe(),
                health: health.subscribe(),
                news: watch::Sender::new(()),
            });
            Self {
                source,
                changes,
                health,
                handle,
                task: Some(task),
            }
        }

        fn publish_state(&self, state: WatcherState) {
            self.source.send_replace(Arc::new(state));
            self.changes.send_replace(());
        }

        /// Waits until so many servers are desired.
        async fn desires(&mut self, count: usize) {
            let servers = |desired: &Arc<Desired>| desired.services[0].servers.as_ref().map(|servers| servers.len());
            let waiting = self.handle.desired.wait_for(|desired| servers(desired) == Some(count));
            let there = timeout(Duration::from_secs(10), waiting).await;
            there.expect("in time").expect("the task runs");
        }

        /// Plays while the task runs.
        async fn play(mut self, act: impl AsyncFnOnce(&mut Self)) {
            let task = self.task.take().expect("it was not played yet");
            let stop = CancellationToken::new();
            let acting = async {
                act(&mut self).await;
                stop.cancel();
            };
            let both = async { tokio::join!(task.run(stop.clone()), acting) };
            timeout(Duration::from_mins(1), both).await.expect("in time");
        }
    }

    fn state(freshness: Freshness, count: u16) -> WatcherState {
        let instances = (1..=count).map(|port| {
            format!(r#"{{"node":"n{port}","name":"n","address":"10.0.0.1:{port}","weight":1,"options":"","labels":{{}},"created":1,"czxid":1}}"#)
        });
        let body = format!(
            r#"{{"at":0,"instances":[{}]}}"#,
            instances.collect::<Vec<_>>().join(",")
        );
        let remembered: snapshot::Remembered = serde_json::from_str(&body).expect("it is right");
        WatcherState {
            freshness,
            ..remembered.state(Instant::now(), 0)
        }
    }

    #[tokio::test]
    async fn a_lost_source_is_published_to_people_and_not_to_the_router() {
        let bench = Fixture::new(None);
        assert!(!bench.handle.desired.borrow().is_complete());
        let act = async |bench: &mut Fixture| {
            bench.publish_state(state(Freshness::Live, 0));
            bench.desires(0).await;
            bench.handle.outcome.mark_unchanged();
            bench.handle.desired.mark_unchanged();

            let since = Instant::now();
            bench.publish_state(state(Freshness::Stale { since }, 0));
            bench.handle.outcome.changed().await.expect("the task runs");
            let freshness = bench.handle.outcome.borrow().services[0].state.freshness;
            assert_eq!(freshness, Freshness::Stale { since });
            assert!(!bench.handle.desired.has_changed().expect("the task runs"));
        };
        bench.play(act).await;
    }

    #[tokio::test]
    async fn the_held_leave_one_by_one_as_their_checks_fail_and_all_at_an_operators_word() {
        let act = async |bench: &mut Fixture| {
            bench.publish_state(state(Freshness::Live, 5));
            bench.desires(5).await;
            bench.publish_state(state(Freshness::Live, 1));
            let all = bench.handle.guarded.wait_for(|guarded| guarded[0].held.len() == 4);
            all.await.expect("the task runs");
            bench.desires(5).await;
            assert!(*bench.handle.attention.borrow());

            let mut health = Health::default();
            health.insert("s_1", "10.0.0.1:3".parse().expect("an address"), Check::Failing);
            bench.health.send_replace(Arc::new(health));
            bench.desires(4).await;

            let (reply, answer) = oneshot::channel();
            let (service, command) = ("s_1".to_owned(), GuardCommand::Release);
            let order = GuardRequest {
                service,
                command,
                reply,
            };
            bench.handle.commands.send(order).await.expect("the task runs");
            assert_eq!(answer.await, Ok(3));
            bench.desires(1).await;
            assert!(!*bench.handle.attention.borrow());
        };
        Fixture::new(None).play(act).await;
    }

    #[tokio::test]
    async fn default_servers_help_while_removals_are_doubted() {
        let keys = "guard: {policy: defaults}, defaultServers: [{host: 10.0.0.9, port: 9}], \
                    watcher: {type: zookeeper, hosts: [z], path: /s}";
        let act = async |bench: &mut Fixture| {
            bench.publish_state(state(Freshness::Live, 5));
            bench.desires(5).await;
            bench.publish_state(state(Freshness::Live, 1));
            bench.desires(2).await;
            assert_eq!(bench.handle.guarded.borrow()[0].held.len(), 4);

            let (reply, answer) = oneshot::channel();
            let (service, command) = ("s_1".to_owned(), GuardCommand::Release);
            let order = GuardRequest {
                service,
                command,
                reply,
            };
            bench.handle.commands.send(order).await.expect("the task runs");
            assert_eq!(answer.await, Ok(4));
            bench.desires(1).await;
        };
        Fixture::with(keys, None).play(act).await;
    }

    #[test]
    fn health_always_matters_to_zones_and_subsets() {
        for (keys, matters) in [
            ("zone: {local: a, policy: spill-over}", true),
            ("subsetSize: 2", true),
            ("zone: {local: a, policy: prefer}", false),
        ] {
            let watcher = "watcher: {type: zookeeper, hosts: [z], path: /s}";
            let bench = Fixture::with(&format!("{keys}, {watcher}"), None);
            assert_eq!(*bench.handle.attention.borrow(), matters, "{keys}");
        }
    }

    #[tokio::test]
    async fn what_is_remembered_is_desired_until_the_source_answers() {
        let bench = Fixture::new(Some(state(Freshness::Stale { since: Instant::now() }, 2)));
        let desired = Arc::clone(&bench.handle.desired.borrow());
        assert!(desired.is_complete() && desired.services[0].remembered);
        let act = async |bench: &mut Fixture| {
            bench.desires(2).await;
            bench.publish_state(state(Freshness::Live, 3));
            bench.desires(3).await;
            assert!(!bench.handle.desired.borrow().services[0].remembered);
        };
        bench.play(act).await;
    }

    #[tokio::test]
    async fn a_list_in_the_configuration_that_is_shortened_is_short() {
        let remembered = || Some(state(Freshness::Stale { since: Instant::now() }, 9));
        let list = "watcher: {type: static, servers: [{host: 10.0.0.1, port: 1}]}";
        let act = async |bench: &mut Fixture| {
            assert!(!bench.handle.desired.borrow().is_complete(), "nothing is remembered");
            for count in [9, 1] {
                bench.publish_state(state(Freshness::Live, count));
                bench.desires(count.into()).await;
            }
        };
        Fixture::with(list, remembered()).play(act).await;

        let act = async |bench: &mut Fixture| {
            bench.desires(9).await;
            bench.publish_state(state(Freshness::Live, 1));
            bench.desires(1).await;
        };
        Fixture::with("watcher: {type: file, path: /f}", remembered())
            .play(act)
            .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_hold_ends_by_itself() {
        let act = async |bench: &mut Fixture| {
            bench.publish_state(state(Freshness::Live, 5));
            bench.desires(5).await;
            let since = Instant::now();
            bench.publish_state(state(Freshness::Live, 0));
            let waiting = bench.handle.desired.wait_for(|desired| {
                desired.services[0]
                    .servers
                    .as_ref()
                    .is_some_and(|servers| servers.is_empty())
            });
            waiting.await.expect("the task runs");
            let hold_time = crate::config::Guard::default().hold_time;
            assert!((hold_time..hold_time + Duration::from_secs(1)).contains(&since.elapsed()));
        };
        let mut bench = Fixture::new(None);
        let task = bench.task.take().expect("it was not played yet");
        let stop = CancellationToken::new();
        tokio::join!(task.run(stop.clone()), async {
            act(&mut bench).await;
            stop.cancel();
        });
    }
}
