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
        move |stop| {
            let ended = ended.drop_guard();
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
