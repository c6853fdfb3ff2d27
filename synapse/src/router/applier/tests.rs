use std::collections::VecDeque;
use std::sync::Mutex;

use common::ready::Readiness;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::*;
use crate::config::ApplyBudget;
use crate::desired::Service;

const MS: Duration = Duration::from_millis(1);

/// Succeeds or fails as set; records when it was called with what.
#[derive(Debug, Clone, Default)]
struct Fake {
    answers: Arc<Mutex<VecDeque<Result<Applied, String>>>>,
    calls: Arc<Mutex<Vec<(Instant, usize)>>>,
}

impl Fake {
    fn answering(answers: impl IntoIterator<Item = Result<Applied, String>>) -> Self {
        Self {
            answers: Arc::new(Mutex::new(answers.into_iter().collect())),
            calls: Arc::default(),
        }
    }

    fn calls(&self) -> Vec<(Instant, usize)> {
        self.calls.lock().expect("not poisoned").clone()
    }
}

impl Target for Fake {
    async fn apply(&mut self, desired: &Arc<Desired>) -> Result<Applied, String> {
        let size = desired.services.len();
        self.calls.lock().expect("not poisoned").push((Instant::now(), size));
        let answer = self.answers.lock().expect("not poisoned").pop_front();
        answer.unwrap_or(Ok(Applied::Changed))
    }
}

/// A running router, which wants more services at each change.
struct Rig {
    desired: watch::Sender<Arc<Desired>>,
    applier: Applier,
    readiness: Readiness,
    started: Instant,
    _task: JoinSet<()>,
}

impl Rig {
    fn start(target: Fake, budget: Option<ApplyBudget>, look_every: Option<Duration>) -> Self {
        let desired = watch::Sender::new(wanted(1));
        let readiness = Readiness::default();
        let pace = PaceConfig {
            buffer: 500 * MS,
            max_buffer: 2000 * MS,
            budget,
            jitter: Duration::ZERO,
        };
        let latch = readiness.latch("first apply");
        let (applier, task) = Applier::new(target, desired.subscribe(), pace, look_every, latch);
        let mut tasks = JoinSet::new();
        tasks.spawn(task.run(CancellationToken::new()));
        Self {
            desired,
            applier,
            readiness,
            started: Instant::now(),
            _task: tasks,
        }
    }

    fn want(&self, size: usize) {
        self.desired.send_replace(wanted(size));
    }

    async fn in_sync(&self) {
        let looked = async {
            while !self.applier.status().in_sync {
                sleep(MS).await;
            }
        };
        let minutes = Duration::from_mins(10);
        timeout(minutes, looked).await.expect("in sync");
    }

    fn is_ready(&self) -> bool {
        self.readiness.waiting_for().is_empty()
    }
}

fn wanted(size: usize) -> Arc<Desired> {
    let service = |number| Service {
        id: format!("s_{number}"),
        servers: Some(Arc::from([])),
        remembered: false,
    };
    Arc::new(Desired {
        services: (0..size).map(service).collect(),
    })
}

#[tokio::test(start_paused = true)]
async fn the_first_state_is_applied_at_once_and_the_next_when_it_is_quiet() {
    let fake = Fake::default();
    let rig = Rig::start(fake.clone(), None, None);
    rig.in_sync().await;
    assert!(rig.is_ready());
    assert_eq!(fake.calls(), [(rig.started, 1)]);
    let changed = Instant::now();
    rig.want(2);
    sleep(100 * MS).await;
    assert!(!rig.applier.status().in_sync);
    assert_eq!(rig.applier.status().pending, "changes are gathered");
    rig.want(3);
    sleep(MS).await;
    rig.in_sync().await;
    assert_eq!(fake.calls()[1..], [(changed + 600 * MS, 3)]);
    let status = rig.applier.status();
    assert_eq!((status.applies, status.failures), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn constant_change_is_applied_at_least_every_longest_wait() {
    let fake = Fake::default();
    let rig = Rig::start(fake.clone(), None, None);
    for size in 2..102 {
        sleep(100 * MS).await;
        rig.want(size);
    }
    sleep(MS).await;
    rig.in_sync().await;
    let calls = fake.calls();
    assert_eq!(calls.last().map(|(_, size)| *size), Some(101));
    assert!((5..=8).contains(&calls.len()), "{calls:?}");
    for pair in calls.windows(2) {
        assert!(pair[1].0 - pair[0].0 <= 2200 * MS, "{calls:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_budget_puts_off_and_the_last_state_is_applied() {
    let fake = Fake::default();
    let budget = ApplyBudget {
        applies: 2,
        per: Duration::from_mins(1),
    };
    let rig = Rig::start(fake.clone(), Some(budget), None);
    for size in 2..30 {
        sleep(1000 * MS).await;
        rig.want(size);
    }
    sleep(MS).await;
    rig.in_sync().await;
    let calls = fake.calls();
    assert_eq!(calls.len(), 3, "{calls:?}");
    assert_eq!(calls[2], (calls[0].0 + Duration::from_mins(1), 29));
}

#[tokio::test(start_paused = true)]
async fn what_failed_is_tried_until_it_is_right_and_not_applied_before() {
    let failures = (0..4).map(|_| Err("no space left".to_owned()));
    let fake = Fake::answering(failures);
    let rig = Rig::start(fake.clone(), None, None);
    sleep(MS).await;
    let status = rig.applier.status();
    assert_eq!(
        (status.last_error.as_str(), status.pending.as_str()),
        ("no space left", "the next try")
    );
    assert!(!rig.is_ready());
    rig.in_sync().await;
    assert!(rig.is_ready());
    let status = rig.applier.status();
    assert_eq!(
        (status.failures, status.applies, status.last_error.as_str()),
        (4, 1, "")
    );
    let calls = fake.calls();
    assert_eq!(calls.len(), 5);
    for pair in calls.windows(2) {
        assert!(pair[1].0 - pair[0].0 >= 500 * MS, "{calls:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_may_be_the_cure_and_is_tried_without_the_wait() {
    let fake = Fake::answering((0..99).map(|_| Err("bad file".to_owned())));
    let rig = Rig::start(fake.clone(), None, Some(Duration::from_secs(5)));
    sleep(Duration::from_mins(3)).await;
    let (tried, now) = (fake.calls().len(), Instant::now());
    assert!(tried < 15, "it backs off");
    rig.want(2);
    sleep(600 * MS).await;
    let since = fake.calls().split_off(tried);
    // A try that was due anyway may have come before; timers are a millisecond late at most.
    assert!(
        since.iter().any(|(at, size)| *at <= now + 501 * MS && *size == 2),
        "{since:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_rest_is_done_when_it_is_due_and_news_are_not_kept_waiting_for_it() {
    let at = Instant::now() + Duration::from_mins(5);
    let rest = || {
        Ok(Applied::Rest {
            at,
            what: "the command waits",
        })
    };
    let fake = Fake::answering([rest(), rest()]);
    let rig = Rig::start(fake.clone(), None, None);
    sleep(MS).await;
    assert_eq!(rig.applier.status().pending, "the command waits");
    assert!(!rig.is_ready());
    let changed = Instant::now();
    rig.want(2);
    sleep(Duration::from_mins(1)).await;
    assert_eq!(fake.calls()[1..], [(changed + 500 * MS, 2)]);
    rig.in_sync().await;
    assert_eq!(fake.calls()[2..], [(at, 2)]);
}

#[tokio::test(start_paused = true)]
async fn what_can_not_be_done_yet_waits_for_news() {
    let fake = Fake::answering([Ok(Applied::NotYet("the first word of web".to_owned()))]);
    let rig = Rig::start(fake.clone(), None, None);
    sleep(Duration::from_mins(5)).await;
    assert_eq!(fake.calls().len(), 1);
    assert_eq!(rig.applier.status().pending, "the first word of web");
    assert!(!rig.is_ready());
    rig.want(2);
    sleep(MS).await;
    rig.in_sync().await;
    assert!(rig.is_ready());
}

#[tokio::test(start_paused = true)]
async fn it_is_looked_whether_all_is_right_still() {
    let unchanged = (0..2).map(|_| Ok(Applied::Unchanged));
    let fake = Fake::answering([Ok(Applied::Changed)].into_iter().chain(unchanged));
    let budget = ApplyBudget {
        applies: 2,
        per: Duration::from_mins(10),
    };
    let rig = Rig::start(fake.clone(), Some(budget), Some(Duration::from_secs(10)));
    sleep(25_000 * MS).await;
    let calls: Vec<Duration> = fake.calls().iter().map(|(at, _)| *at - rig.started).collect();
    assert_eq!(calls, [0, 10, 20].map(Duration::from_secs));
    assert_eq!(rig.applier.status().applies, 1);
    rig.want(2);
    sleep(600 * MS).await;
    assert_eq!(fake.calls().len(), 4, "a look costs nothing of the budget");
}
