//! The tasks of a node's runtime, and the signal that ends them; clones are the same.

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

#[derive(Clone, Default)]
pub(super) struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    /// Runs a task to its end.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tracker.spawn(task);
    }

    /// Runs a task until it ends, or is dropped because the node stops.
    pub(super) fn spawn_until_stop(&self, task: impl Future<Output = ()> + Send + 'static) {
        let task = self.stop.clone().run_until_cancelled_owned(task);
        self.tracker.spawn(task);
    }

    /// Cancelled when the node stops.
    pub(super) fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Signals all tasks that the node stops, and waits until none runs.
    pub(super) async fn close(&self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}
