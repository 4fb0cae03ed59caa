//! Health checks: a program executed in the container each interval, and what its results mean.

use super::owner::Owner;

/// Watches the health of one running container.
pub(super) struct Monitor {}

impl Monitor {
    /// Returns when the health has changed.
    pub(super) async fn changed(&mut self) {
        std::future::pending().await
    }
}

impl Owner {
    pub(super) fn start_health(&mut self) {}
    pub(super) fn stop_health(&mut self) {
        self.health = None;
    }
    pub(super) fn probed(&mut self) {}
}
