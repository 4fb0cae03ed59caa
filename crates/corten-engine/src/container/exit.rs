//! A container's end: what it was is recorded, what it had is given back, and its policy decides what follows.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::owner::Owner;
use super::record::NetworkView;
use super::restart_policy::{self, Exited};
use super::state::State;
use crate::shim::Exit;

impl Owner {
    /// Init has ended.
    pub(super) async fn exited(&mut self, exit: Exit) {
        self.news = None;
        self.shim = None;
        self.container.set_shim(None);
        self.stop_health();
        let finished = Timestamp::from_nanosecond(i128::from(exit.at)).unwrap_or_else(|_| Timestamp::now());
        let exit_code = i64::from(exit.code);
        let oom = exit.oom;
        let live = self.live();
        let started = live.last.started_at.unwrap_or(finished);
        let ran = Duration::try_from(finished.duration_since(started)).unwrap_or_default();
        live.last.finished_at = Some(finished);
        live.last.exit_code = exit_code;
        live.last.oom_killed |= oom;
        live.network = NetworkView::default();
        let stopped_by_user = live.stopped_by_user || self.shared.is_stopping();
        let delay = restart_policy::decide(Exited {
            policy: &self.view.record.host.restart_policy,
            exit_code,
            stopped_by_user,
            restart_count: self.view.live.restart_count,
            ran,
            last_delay: self.restart_delay,
        });
        self.view.exits += 1;
        self.live().state = if delay.is_some() { State::Restarting } else { State::Exited };
        // Recorded before the monitor's own record goes.
        self.persist().await;
        self.undo_kernel_objects(None).await;
        self.publish();
        self.emit("die", &[("exitCode", exit_code.to_string()), ("execDuration", ran.as_secs().to_string())]);
        if let Some(delay) = delay {
            self.restart_delay = delay;
            self.restart_at = Some(Instant::now() + delay);
        } else if self.view.record.host.auto_remove && !self.keep {
            self.auto_remove().await;
        }
    }

    /// The delay of a restart is over.
    pub(super) async fn restart_by_policy(&mut self) {
        if self.view.live.state != State::Restarting {
            return;
        }
        if self.view.live.stopped_by_user || self.shared.is_stopping() {
            self.give_up_restart().await;
            return;
        }
        self.live().restart_count += 1;
        if let Err(error) = self.launch().await {
            tracing::warn!(container = self.id(), %error, "restart by policy failed");
        }
    }

    /// A container that waited for its next start will not be started.
    pub(super) async fn give_up_restart(&mut self) {
        self.restart_at = None;
        self.live().state = State::Exited;
        self.persist().await;
        self.publish();
        if self.view.record.host.auto_remove {
            self.auto_remove().await;
        }
    }

    async fn auto_remove(&mut self) {
        if let Err(error) = self.remove(true).await {
            tracing::warn!(container = self.id(), %error, "container not removed at its end");
        }
    }

    /// The kernel killed something of the container because its memory limit was reached.
    pub(super) async fn oom(&mut self) {
        self.live().last.oom_killed = true;
        self.persist().await;
        self.publish();
        self.emit("oom", &[]);
    }
}
