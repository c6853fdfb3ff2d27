//! What ties a task to what it keeps outside this process, e.g. a node: how it is told to end decides whether that
//! goes with it.

use std::future::Future;
use std::pin::Pin;

use tokio_util::sync::CancellationToken;

/// The tie of one task.
#[derive(Debug, Clone)]
pub(super) struct Bond {
    asked: CancellationToken,
    released: CancellationToken,
    ended: CancellationToken,
}

impl Bond {
    /// A tie that is undone when `asked` is.
    pub(super) fn under(asked: &CancellationToken) -> Self {
        Self {
            asked: asked.child_token(),
            released: CancellationToken::new(),
            ended: CancellationToken::new(),
        }
    }

    /// From now on a stop of the task takes away what it keeps.
    pub(super) fn ask(&self) {
        self.asked.cancel();
    }

    /// Ends a running task where it stands, and returns when it has: what it keeps stays, for a successor.
    pub(super) async fn release(&self) {
        self.released.cancel();
        self.ended.cancelled().await;
    }

    /// `task`, which hears of the stop only once someone asked for it, not when another task broke.
    pub(super) fn hold<F, Fut>(
        &self,
        task: F,
    ) -> impl FnOnce(CancellationToken) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + use<F, Fut>
    where
        F: FnOnce(CancellationToken) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let Self { asked, released, ended } = self.clone();
        // A task that is dropped before its start has ended as well.
        let ended = ended.drop_guard();
        move |stop| {
            let told = CancellationToken::new();
            // Boxed by itself: a future that is moved into another leaves room for itself in both.
            let running = Box::pin(task(told.clone()));
            Box::pin(async move {
                let tell = async {
                    stop.cancelled().await;
                    asked.cancelled().await;
                    told.cancel();
                    std::future::pending::<()>().await;
                };
                let was_released = tokio::select! {
                    biased;
                    () = released.cancelled() => true,
                    () = running => false,
                    () = tell => false,
                };
                drop(ended);
                if was_released {
                    // The supervisor takes an end before the stop for a failure.
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

    const PATIENCE: Duration = Duration::from_secs(20);

    /// A bond and its task, which says what it hears; the task's supervisor asks it to `stop`.
    struct Scene {
        bond: Bond,
        stop: CancellationToken,
        said: mpsc::Receiver<&'static str>,
        task: JoinSet<()>,
    }

    /// Withdraws when it is told to, which takes until `done`.
    fn scene(asked: &CancellationToken, done: CancellationToken) -> Scene {
        let (say, said) = mpsc::channel(8);
        let (bond, stop) = (Bond::under(asked), CancellationToken::new());
        let held = bond.hold(move |told: CancellationToken| async move {
            say.send("runs").await.ok();
            told.cancelled().await;
            say.send("withdraws").await.ok();
            done.cancelled().await;
            say.send("is done").await.ok();
        });
        let mut task = JoinSet::new();
        task.spawn(held(stop.clone()));
        Scene { bond, stop, said, task }
    }

    impl Scene {
        async fn hears(&mut self, words: &[&str]) {
            for word in words {
                let heard = timeout(PATIENCE, self.said.recv()).await.expect(word);
                assert_eq!(heard, Some(*word));
            }
        }

        /// The task has ended, and said nothing more.
        async fn ends(mut self) {
            timeout(PATIENCE, self.task.join_next()).await.expect("it ends");
            assert_eq!(self.said.recv().await, None);
        }
    }

    fn at_once() -> CancellationToken {
        let done = CancellationToken::new();
        done.cancel();
        done
    }

    /// Lets every task run as far as it can.
    async fn settle() {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_stop_that_nobody_asked_for_takes_nothing_away() {
        let asked = CancellationToken::new();
        let mut scene = scene(&asked, at_once());
        scene.hears(&["runs"]).await;
        scene.stop.cancel();
        settle().await;
        assert!(scene.said.try_recv().is_err(), "another task broke: it hears nothing");
        asked.cancel();
        scene.hears(&["withdraws", "is done"]).await;
        scene.ends().await;
    }

    #[tokio::test]
    async fn one_task_can_be_asked_by_itself() {
        let asked = CancellationToken::new();
        let (mut one, mut other) = (scene(&asked, at_once()), scene(&asked, at_once()));
        for scene in [&mut one, &mut other] {
            scene.hears(&["runs"]).await;
            scene.stop.cancel();
        }
        one.bond.ask();
        one.hears(&["withdraws", "is done"]).await;
        one.ends().await;
        settle().await;
        assert!(other.said.try_recv().is_err(), "the other was not asked");
    }

    #[tokio::test]
    async fn being_asked_is_no_stop() {
        let mut scene = scene(&at_once(), at_once());
        scene.hears(&["runs"]).await;
        settle().await;
        assert!(scene.said.try_recv().is_err(), "its stage has not come yet");
        scene.stop.cancel();
        scene.hears(&["withdraws", "is done"]).await;
        scene.ends().await;
    }

    #[tokio::test]
    async fn a_released_task_ends_where_it_stands_and_is_seen_as_running_until_the_stop() {
        let mut scene = scene(&at_once(), CancellationToken::new());
        scene.hears(&["runs"]).await;
        timeout(PATIENCE, scene.bond.release()).await.expect("it ends");
        assert_eq!(scene.said.recv().await, None, "nothing was withdrawn");
        settle().await;
        assert!(scene.task.try_join_next().is_none(), "the supervisor takes no notice");
        // Again is nothing new.
        timeout(PATIENCE, scene.bond.release()).await.expect("it has ended");
        scene.stop.cancel();
        scene.ends().await;
    }

    #[tokio::test]
    async fn a_withdrawal_on_its_way_can_be_released() {
        let mut scene = scene(&at_once(), CancellationToken::new());
        scene.stop.cancel();
        scene.hears(&["runs", "withdraws"]).await;
        timeout(PATIENCE, scene.bond.release()).await.expect("it ends");
        scene.ends().await;
    }

    #[tokio::test]
    async fn a_task_that_ends_by_itself_or_never_starts_holds_nobody_up() {
        let bond = Bond::under(&CancellationToken::new());
        let held = bond.hold(|_told| async {});
        timeout(PATIENCE, held(CancellationToken::new()))
            .await
            .expect("it ends");
        timeout(PATIENCE, bond.release()).await.expect("it has ended");
        let bond = Bond::under(&CancellationToken::new());
        drop(bond.hold(|_told| async {}));
        timeout(PATIENCE, bond.release()).await.expect("it will never start");
    }
}
