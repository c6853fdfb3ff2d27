//! Decides whether the stop of a task withdraws what it keeps outside this process, e.g. a node.

use std::future::Future;
use std::pin::Pin;

use tokio_util::sync::CancellationToken;

/// The guard of one task. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct WithdrawGuard {
    withdraw: CancellationToken,
    detached: CancellationToken,
    ended: CancellationToken,
}

impl WithdrawGuard {
    /// Returns a guard whose task also withdraws on its stop once `withdraw` is cancelled.
    pub(super) fn new(withdraw: &CancellationToken) -> Self {
        Self {
            withdraw: withdraw.child_token(),
            detached: CancellationToken::new(),
            ended: CancellationToken::new(),
        }
    }

    /// From now on a stop of the task withdraws what it keeps.
    pub(super) fn withdraw_on_stop(&self) {
        self.withdraw.cancel();
    }

    /// Aborts the task and returns when it has ended: what it keeps stays, for a successor.
    pub(super) async fn detach(&self) {
        self.detached.cancel();
        self.ended.cancelled().await;
    }

    /// Wraps `task`, which is stopped only once a withdrawal is requested, not when another task failed.
    pub(super) fn wrap<F, Fut>(
        &self,
        task: F,
    ) -> impl FnOnce(CancellationToken) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + use<F, Fut>
    where
        F: FnOnce(CancellationToken) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let Self {
            withdraw,
            detached,
            ended,
        } = self.clone();
        // A task that is dropped before its start has ended too.
        let ended = ended.drop_guard();
        move |stop| {
            let task_stop = CancellationToken::new();
            // Boxed by itself: a future moved into another one would take its space in both.
            let running = Box::pin(task(task_stop.clone()));
            Box::pin(async move {
                let forward_stop = async {
                    stop.cancelled().await;
                    withdraw.cancelled().await;
                    task_stop.cancel();
                    std::future::pending::<()>().await;
                };
                let was_detached = tokio::select! {
                    biased;
                    () = detached.cancelled() => true,
                    () = running => false,
                    () = forward_stop => false,
                };
                drop(ended);
                if was_detached {
                    // The supervisor treats an end before the stop as a failure.
                    stop.cancelled().await;
                }
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::mpsc;
    use tokio::task::JoinSet;
    use tokio::time::timeout;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(20);

    /// A guard and its task, which reports its events; the supervisor's token is `stop`.
    struct Fixture {
        guard: WithdrawGuard,
        stop: CancellationToken,
        events: mpsc::Receiver<&'static str>,
        task: JoinSet<()>,
    }

    /// A task whose withdrawal takes until `done`.
    fn fixture(withdraw: &CancellationToken, done: CancellationToken) -> Fixture {
        let (sender, events) = mpsc::channel(8);
        let (guard, stop) = (WithdrawGuard::new(withdraw), CancellationToken::new());
        let wrapped = guard.wrap(move |stop: CancellationToken| async move {
            sender.send("runs").await.ok();
            stop.cancelled().await;
            sender.send("withdraws").await.ok();
            done.cancelled().await;
            sender.send("is done").await.ok();
        });
        let mut task = JoinSet::new();
        task.spawn(wrapped(stop.clone()));
        Fixture {
            guard,
            stop,
            events,
            task,
        }
    }

    impl Fixture {
        async fn expect_events(&mut self, expected: &[&str]) {
            for event in expected {
                let received = timeout(TIMEOUT, self.events.recv()).await.expect(event);
                assert_eq!(received, Some(*event));
            }
        }

        /// The task has ended without further events.
        async fn expect_end(mut self) {
            timeout(TIMEOUT, self.task.join_next()).await.expect("it ends");
            assert_eq!(self.events.recv().await, None);
        }
    }

    fn cancelled() -> CancellationToken {
        let done = CancellationToken::new();
        done.cancel();
        done
    }

    /// Lets every task run as far as it can.
    async fn run_all_tasks() {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_stop_after_a_failure_withdraws_nothing() {
        let withdraw = CancellationToken::new();
        let mut fixture = fixture(&withdraw, cancelled());
        fixture.expect_events(&["runs"]).await;
        fixture.stop.cancel();
        run_all_tasks().await;
        assert!(
            fixture.events.try_recv().is_err(),
            "another task failed: nothing is withdrawn"
        );
        withdraw.cancel();
        fixture.expect_events(&["withdraws", "is done"]).await;
        fixture.expect_end().await;
    }

    #[tokio::test]
    async fn one_task_can_withdraw_by_itself() {
        let withdraw = CancellationToken::new();
        let (mut one, mut other) = (fixture(&withdraw, cancelled()), fixture(&withdraw, cancelled()));
        for fixture in [&mut one, &mut other] {
            fixture.expect_events(&["runs"]).await;
            fixture.stop.cancel();
        }
        one.guard.withdraw_on_stop();
        one.expect_events(&["withdraws", "is done"]).await;
        one.expect_end().await;
        run_all_tasks().await;
        assert!(other.events.try_recv().is_err(), "only one withdraws");
    }

    #[tokio::test]
    async fn a_requested_withdrawal_waits_for_the_stop() {
        let mut fixture = fixture(&cancelled(), cancelled());
        fixture.expect_events(&["runs"]).await;
        run_all_tasks().await;
        assert!(fixture.events.try_recv().is_err(), "its stage is not stopped yet");
        fixture.stop.cancel();
        fixture.expect_events(&["withdraws", "is done"]).await;
        fixture.expect_end().await;
    }

    #[tokio::test]
    async fn a_detached_task_is_aborted_and_reported_as_running_until_its_stop() {
        let mut fixture = fixture(&cancelled(), CancellationToken::new());
        fixture.expect_events(&["runs"]).await;
        timeout(TIMEOUT, fixture.guard.detach()).await.expect("it ends");
        assert_eq!(fixture.events.recv().await, None, "nothing was withdrawn");
        run_all_tasks().await;
        assert!(fixture.task.try_join_next().is_none(), "the supervisor does not notice");
        timeout(TIMEOUT, fixture.guard.detach()).await.expect("it has ended");
        fixture.stop.cancel();
        fixture.expect_end().await;
    }

    #[tokio::test]
    async fn a_withdrawal_in_progress_can_be_detached() {
        let mut fixture = fixture(&cancelled(), CancellationToken::new());
        fixture.stop.cancel();
        fixture.expect_events(&["runs", "withdraws"]).await;
        timeout(TIMEOUT, fixture.guard.detach()).await.expect("it ends");
        fixture.expect_end().await;
    }

    #[tokio::test]
    async fn a_task_that_ended_or_never_started_is_detached_at_once() {
        let guard = WithdrawGuard::new(&CancellationToken::new());
        let wrapped = guard.wrap(|_stop| async {});
        timeout(TIMEOUT, wrapped(CancellationToken::new()))
            .await
            .expect("it ends");
        timeout(TIMEOUT, guard.detach()).await.expect("it has ended");
        let guard = WithdrawGuard::new(&CancellationToken::new());
        drop(guard.wrap(|_stop| async {}));
        timeout(TIMEOUT, guard.detach()).await.expect("it will never start");
    }
}
