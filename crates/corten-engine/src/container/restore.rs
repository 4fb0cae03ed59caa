//! After a start of the daemon: every container on record gets its owner; what still runs is taken over, what ended
//! meanwhile is recorded, what was half-made is taken back, and restart policies apply.
//!
//! | state on record | monitor              | becomes                                                     |
//! |-----------------|----------------------|-------------------------------------------------------------|
//! | running, paused | lives                | running (or paused), taken over                             |
//! | running, paused | left an exit record  | exited as recorded; its policy decides                      |
//! | running, paused | gone without a trace | exited, 137 (the machine went down, or all was killed)      |
//! | starting        | lives, program runs  | running: only the daemon's note was missing                 |
//! | starting        | anything else        | as before the start; its kernel objects are taken back      |
//! | restarting      | none                 | exited; its policy decides                                  |
//! | removing        | none                 | removed                                                     |

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;

use super::owner::{self, Owner};
use super::record::{CONTAINER, Live, NetworkView, Record, STATE};
use super::start::cgroup_path;
use super::state::{Run, State};
use super::{Container, ContainerError, Containers, View, endpoint, restart_policy};
use crate::shim::{Adopted, Exit, Shim, ShimSpec, ShimState};

impl Containers {
    /// Reads all containers and meets the living ones. Call once, before requests are taken.
    pub async fn restore(&self) -> Result<(), ContainerError> {
        let shared = &self.shared;
        let states: HashMap<String, Vec<u8>> = shared.store.records().list(STATE)?.into_iter().collect();
        let mut found = Vec::new();
        for (id, value) in shared.store.records().list(CONTAINER)? {
            let record: Record = match serde_json::from_slice(&value) {
                Ok(record) => record,
                Err(error) => {
                    tracing::error!(container = id, %error, "record of a container cannot be read; it is left alone");
                    continue;
                }
            };
            let live = states.get(&id).and_then(|value| serde_json::from_slice::<Live>(value).ok());
            if let Some(Live { state, userns: Some(userns), .. }) = &live
                && userns.allocated
                && (state.is_active() || *state == State::Starting)
            {
                shared.ranges.lock().restore(userns.ids, &id);
            }
            let names: Vec<String> = record
                .mounts
                .iter()
                .map(|point| point.name.clone())
                .filter(|name| !name.is_empty())
                .collect();
            shared.volumes.restore(&id, &names);
            found.push(owner::register(shared, View::new(record, live.unwrap_or_default())));
        }
        let mut alive = Vec::new();
        for container in &found {
            if container.ask(|owner| Box::pin(owner.adopt())).await? {
                alive.push(container.clone());
            }
        }
        self.restore_networks(&alive).await?;
        Ok(())
    }

    /// Serves the stacks of living containers again.
    async fn restore_networks(&self, alive: &[Arc<Container>]) -> Result<(), ContainerError> {
        let requests: Vec<_> = alive
            .iter()
            .map(|container| {
                let view = container.view();
                let mut request = endpoint::request(&self.shared, &view.record);
                request.endpoints.extend(view.live.network.endpoints.clone());
                request
            })
            .collect();
        for sandbox in self.shared.networks.restore(&requests).await? {
            let Some(container) = alive.iter().find(|container| sandbox_is_of(&sandbox, container)) else {
                continue;
            };
            let network = NetworkView {
                sandbox_id: sandbox.id,
                sandbox_key: sandbox.key.to_string_lossy().into_owned(),
                ports: sandbox.ports,
                endpoints: sandbox.endpoints,
            };
            container
                .ask(move |owner| {
                    Box::pin(async move {
                        owner.live().network = network;
                        owner.publish();
                    })
                })
                .await?;
        }
        Ok(())
    }

    /// Starts what its policy wants to run. Call once the daemon serves.
    pub async fn start_by_policy(&self) {
        for view in self.views() {
            let Ok(container) = self.find(&view.record.id) else { continue };
            let started = container.ask(|owner| Box::pin(owner.start_with_daemon())).await;
            if let Err(error) = started {
                tracing::warn!(container = container.id(), %error, "not started with the daemon");
            }
        }
    }

    /// The daemon ends: containers that are not kept are stopped, all at once.
    pub async fn shutdown(&self, keep: bool) {
        self.shared.stopping.store(true, std::sync::atomic::Ordering::Release);
        if keep {
            return;
        }
        let mut stops = Vec::new();
        for view in self.views() {
            if view.live.state.is_active()
                && let Ok(container) = self.find(&view.record.id)
            {
                let timeout = view.record.config.stop_timeout;
                let fallback = i64::try_from(self.shared.config.shutdown_timeout).unwrap_or(15);
                stops.push(tokio::spawn(async move {
                    super::kill::stop(&container, None, Some(timeout.unwrap_or(fallback))).await
                }));
            }
        }
        for stop in stops {
            if let Ok(Err(error)) = stop.await {
                tracing::warn!(%error, "container not stopped at the daemon's end");
            }
        }
    }
}

fn sandbox_is_of(sandbox: &crate::network::Sandbox, container: &Container) -> bool {
    sandbox.folder.file_name().is_some_and(|name| name == container.id())
        || sandbox.key == Path::new(&container.view().live.network.sandbox_key)
}

impl Owner {
    /// Meets what is left of the container; whether it runs.
    async fn adopt(&mut self) -> bool {
        if self.view.live.state == State::Removing {
            if let Err(error) = self.remove(false).await {
                tracing::warn!(container = self.id(), %error, "removal not finished");
            }
            return false;
        }
        let spec = ShimSpec {
            id: self.id().to_owned(),
            exec_dir: self.shared.paths.container_exec(self.id()),
            cgroup: Some(cgroup_path(&self.shared, &self.view.record)),
        };
        let was_active = self.view.live.state.run().is_some();
        match Shim::adopt(spec).await {
            Ok(Adopted::Living { shim, events, status }) => match status.state {
                ShimState::Running { pid, started_at } => {
                    self.take_over(pid, started_at);
                    self.container.set_shim(Some(shim.clone()));
                    (self.shim, self.news) = (Some(shim), Some(events));
                    self.start_health();
                    self.persist().await;
                    self.publish();
                    self.keep_log();
                    return true;
                }
                ShimState::Exited(exit) => self.ended_meanwhile(exit).await,
                ShimState::Empty | ShimState::Created { .. } => {
                    self.undo_kernel_objects(Some(shim)).await;
                    self.never_started().await;
                }
            },
            Ok(Adopted::Ended(record)) => match record.started_at {
                Some(_) => self.ended_meanwhile(record.exit).await,
                None => {
                    self.undo_kernel_objects(None).await;
                    self.never_started().await;
                }
            },
            Ok(Adopted::Gone) if was_active => {
                let at = u64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(0);
                self.ended_meanwhile(Exit { code: 137, signal: Some(9), oom: false, at }).await;
            }
            Ok(Adopted::Gone) => {
                if self.view.live.state == State::Starting {
                    self.undo_kernel_objects(None).await;
                    self.never_started().await;
                } else if self.view.live.state == State::Restarting {
                    self.live().state = State::Exited;
                    self.publish();
                }
            }
            Err(error) => {
                tracing::error!(container = self.id(), %error, "monitor of a container cannot be met");
                self.undo_kernel_objects(None).await;
                if was_active {
                    let at = u64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(0);
                    self.ended_meanwhile(Exit { code: 137, signal: Some(9), oom: false, at }).await;
                }
            }
        }
        // What its last run wrote and nobody shipped.
        self.keep_log();
        false
    }

    fn take_over(&mut self, pid: i32, started_at: u64) {
        let paused = matches!(self.view.live.state, State::Paused(_));
        let started = Timestamp::from_nanosecond(i128::from(started_at)).ok();
        let live = self.live();
        live.state = if paused { State::Paused(Run { pid }) } else { State::Running(Run { pid }) };
        live.last.started_at = live.last.started_at.max(started);
    }

    /// It ended while no daemon looked.
    async fn ended_meanwhile(&mut self, exit: Exit) {
        let at = Timestamp::from_nanosecond(i128::from(exit.at)).ok();
        let known = self.view.live.last.started_at;
        self.live().last.started_at = known.or(at);
        self.exited(exit).await;
        // Its policy is applied once everything is restored, by `start_with_daemon`.
        self.restart_at = None;
    }

    async fn never_started(&mut self) {
        let started = self.view.live.last.started_at.is_some();
        let live = self.live();
        live.state = if started { State::Exited } else { State::Created };
        live.network = NetworkView::default();
        self.persist().await;
        self.publish();
    }

    /// Applies the restart policy at the daemon's start.
    async fn start_with_daemon(&mut self) {
        let live = &self.view.live;
        let idle = matches!(live.state, State::Exited | State::Restarting);
        let wanted = restart_policy::starts_with_daemon(
            &self.view.record.host.restart_policy,
            live.stopped_by_user,
            live.state == State::Restarting,
            live.last.exit_code,
        );
        if !(idle && wanted) {
            if live.state == State::Restarting {
                self.give_up_restart().await;
            }
            return;
        }
        self.restart_at = None;
        if let Err(error) = self.launch().await {
            tracing::warn!(container = self.id(), %error, "not started with the daemon");
        }
    }
}
