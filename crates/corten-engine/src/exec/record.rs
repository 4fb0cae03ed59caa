//! What survives the daemon of an exec: what it is, and how it ended. Kept in the database that dies with the machine.
//!
//! Between two daemons the monitor knows the rest: which execs run, and how those ended that nobody acknowledged. If it
//! has left with its container, its exit record tells the same.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use corten_api::exec::ExecOptions;
use corten_store::Records;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::{Exec, Execs, Progress};
use crate::config::Paths;
use crate::container::Container;
use crate::shim::{ExecState, Exit, Shim, exit_record};

/// Kind of [`ExecRecord`]s.
const EXEC: &str = "exec";

#[derive(Debug, Clone, Serialize, Deserialize)]
struct ExecRecord {
    container: String,
    options: ExecOptions,
    detach_keys: Vec<u8>,
    ended: Option<Ended>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Ended {
    pid: i32,
    code: i32,
}

/// What an earlier daemon left, read before the containers are restored (which clears the monitors' exit records).
pub struct Remembered {
    records: Vec<(String, ExecRecord)>,
    ends: HashMap<String, Exit>,
}

impl Remembered {
    /// Reads the records, and how execs of ended containers ended.
    pub fn read(runtime: &Records, paths: &Paths) -> Self {
        let stored = runtime.list(EXEC).unwrap_or_else(|error| {
            tracing::error!(%error, "records of execs cannot be read");
            Vec::new()
        });
        let records: Vec<(String, ExecRecord)> = stored
            .into_iter()
            .filter_map(|(id, value)| Some((id, serde_json::from_slice(&value).ok()?)))
            .collect();
        let mut containers: Vec<&str> = records.iter().map(|(_, record)| record.container.as_str()).collect();
        containers.dedup();
        let mut ends = HashMap::new();
        for container in containers {
            if let Some(record) = exit_record(&paths.container_exec(container)) {
                ends.extend(record.execs);
            }
        }
        Self { records, ends }
    }
}

impl Execs {
    /// Takes over what an earlier daemon left, once the containers are restored.
    pub async fn restore(self: &Arc<Self>, remembered: Remembered) {
        let Remembered { records, ends } = remembered;
        // One question per monitor, asked after its execs' ends are expected.
        let mut live: BTreeMap<String, Vec<Arc<Exec>>> = BTreeMap::new();
        for (id, record) in records {
            let Ok(container) = self.containers.find(&record.container) else {
                self.forget_record(&id).await;
                continue;
            };
            let end = match record.ended {
                Some(Ended { pid, code }) => Some((pid, code)),
                None => ends.get(&id).map(|exit| (0, exit.code)),
            };
            let Some(exec) = revive(&id, record, end) else { continue };
            self.known.lock().insert(id, exec.clone());
            if end.is_none() && container.shim().is_some() {
                live.entry(exec.container.clone()).or_default().push(exec);
            }
        }
        for (container, execs) in live {
            let Ok(container) = self.containers.find(&container) else { continue };
            let Some(shim) = container.shim() else { continue };
            self.meet(&container, &shim, execs).await;
        }
    }

    async fn meet(self: &Arc<Self>, container: &Arc<Container>, shim: &Shim, execs: Vec<Arc<Exec>>) {
        let expected: Vec<_> = execs.iter().map(|exec| container.expect_exec(&exec.id)).collect();
        let Ok(status) = shim.status().await else { return };
        for (exec, end) in execs.into_iter().zip(expected) {
            match status.execs.get(&exec.id) {
                Some(ExecState::Running { pid }) => {
                    exec.progress.send_replace(Progress::Running { pid: *pid });
                    self.follow(exec, container.clone(), shim.clone(), *pid, end);
                }
                Some(ExecState::Exited(exit)) => {
                    container.forget_exec(&exec.id);
                    self.ended(&exec, container, shim, 0, exit.code).await;
                }
                // It was never started.
                None => container.forget_exec(&exec.id),
            }
        }
    }

    pub(super) async fn record(&self, exec: &Exec, end: Option<(i32, i32)>) {
        let record = ExecRecord {
            container: exec.container.clone(),
            options: exec.options.clone(),
            detach_keys: exec.detach_keys.clone(),
            ended: end.map(|(pid, code)| Ended { pid, code }),
        };
        let Ok(value) = serde_json::to_vec(&record) else { return };
        if let Err(error) = self.runtime.put(EXEC, &exec.id, value).await {
            tracing::error!(exec = exec.id, %error, "an exec is not on record");
        }
    }

    pub(super) async fn forget_record(&self, id: &str) {
        if let Err(error) = self.runtime.delete(EXEC, id).await {
            tracing::error!(exec = id, %error, "an exec stays on record");
        }
    }
}

fn revive(id: &str, record: ExecRecord, end: Option<(i32, i32)>) -> Option<Arc<Exec>> {
    let mut command = record.options.cmd.clone().unwrap_or_default().into_iter();
    let progress = match end {
        Some((pid, code)) => Progress::Ended { pid, code, at: Instant::now() },
        None => Progress::Created,
    };
    Some(Arc::new(Exec {
        id: id.to_owned(),
        container: record.container,
        program: command.next()?,
        arguments: command.collect(),
        detach_keys: record.detach_keys,
        options: record.options,
        progress: watch::Sender::new(progress),
    }))
}
