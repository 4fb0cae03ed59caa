//! The states of a container, and what each of them admits.
//!
//! ```text
//!             start                     exit, no restart
//!  Created ─────────▶ Starting ──▶ Running ───────────────▶ Exited ──┐
//!     ▲                  │          │  ▲ ▲                    │      │ remove
//!     └── failed ────────┘   pause  ▼  │ │ start after delay  │      ▼
//!                                 Paused │              start │   Removing ──▶ (gone)
//!                                        │                    │      │ failed
//!                      Running ──▶ Restarting ◀───────────────┘      ▼
//!                        exit, policy says restart                  Dead
//! ```
//!
//! A state holds exactly what is true then; what was true before (last start, last exit) is [`Last`].
//! [`admit`] is pure: a state and a request give an answer, the owner task does the rest.

use corten_types::{ErrorKind, Kind};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Where a container is in its life.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum State {
    /// Never started, or never started successfully.
    #[default]
    Created,
    /// Its kernel objects are being made.
    Starting,
    /// Its init runs.
    Running(Run),
    /// Its init is frozen.
    Paused(Run),
    /// It exited, and its policy starts it again after a delay.
    Restarting,
    /// It exited.
    Exited,
    /// It is being removed.
    Removing,
    /// Its removal failed; it can only be removed again.
    Dead,
}

/// A running init.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Its process id on the host.
    pub pid: i32,
}

/// The last start and the last exit, whatever the state is now.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Last {
    /// When init was started last.
    pub started_at: Option<Timestamp>,
    /// When it exited last.
    pub finished_at: Option<Timestamp>,
    /// How it exited last; of a failed start 126, 127 or 128.
    pub exit_code: i64,
    /// The kernel killed it because its memory limit was reached.
    pub oom_killed: bool,
    /// Why the last start failed.
    pub error: String,
}

/// What someone wants of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Start it.
    Start,
    /// Ask it to stop.
    Stop,
    /// Send it a signal.
    Kill,
    /// Stop it if it runs, then start it.
    Restart,
    /// Freeze it.
    Pause,
    /// Thaw it.
    Unpause,
    /// Execute a process in it.
    Exec,
    /// Attach to its streams.
    Attach,
    /// Change the size of its terminal.
    Resize,
    /// Change its limits.
    Update,
    /// Give it another name.
    Rename,
    /// Remove it.
    Remove {
        /// Also when it runs.
        force: bool,
    },
}

/// Why a state does not admit a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Start of what runs.
    #[error("container is already running")]
    AlreadyRunning,
    /// Stop of what does not run.
    #[error("container is already stopped")]
    AlreadyStopped,
    /// Start of what is frozen.
    #[error("cannot start a paused container, try unpause instead")]
    StartPaused,
    /// Use of what is being removed.
    #[error("container is marked for removal and cannot be started")]
    MarkedForRemoval,
    /// Anything that needs a running init.
    #[error("container {id} is not running")]
    NotRunning {
        /// Full id.
        id: String,
    },
    /// Anything that needs a running init, between two runs.
    #[error("Container {id} is restarting, wait until the container is running")]
    Restarting {
        /// Full id.
        id: String,
    },
    /// Pause of what is frozen.
    #[error("Container {id} is already paused")]
    AlreadyPaused {
        /// Full id.
        id: String,
    },
    /// Thaw of what is not frozen.
    #[error("Container {id} is not paused")]
    NotPaused {
        /// Full id.
        id: String,
    },
    /// Exec in what is frozen.
    #[error("Container {id} is paused, unpause the container before exec")]
    ExecPaused {
        /// Full id.
        id: String,
    },
    /// Attach to what is frozen.
    #[error("container {id} is paused, unpause the container before attach")]
    AttachPaused {
        /// Full id.
        id: String,
    },
    /// Update of what is being removed.
    #[error("Container is marked for removal and cannot be \"update\".")]
    UpdateRemoved,
    /// Removal of what runs.
    #[error("container is {state}: stop the container before removing or force remove")]
    StillActive {
        /// `running` or `restarting`.
        state: &'static str,
    },
    /// Removal of what is frozen.
    #[error("container is paused and must be unpaused first")]
    RemovePaused,
    /// Removal of what is being removed.
    #[error("removal of container {id} is already in progress")]
    RemovalInProgress {
        /// Full id.
        id: String,
    },
}

impl Kind for Refusal {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::AlreadyRunning | Self::AlreadyStopped => ErrorKind::NotModified,
            _ => ErrorKind::Conflict,
        }
    }
}

impl State {
    /// Docker's word for it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Created | Self::Starting => "created",
            Self::Running(_) => "running",
            Self::Paused(_) => "paused",
            Self::Restarting => "restarting",
            Self::Exited => "exited",
            Self::Removing => "removing",
            Self::Dead => "dead",
        }
    }

    /// The running or frozen init.
    pub fn run(&self) -> Option<&Run> {
        match self {
            Self::Running(run) | Self::Paused(run) => Some(run),
            _ => None,
        }
    }

    /// Docker's `Running` flag, which includes paused and waiting for a restart.
    pub fn is_active(&self) -> bool {
        matches!(self, Self::Running(_) | Self::Paused(_) | Self::Restarting)
    }
}

/// Whether a container in this state takes this request.
pub fn admit(id: &str, state: &State, request: Request) -> Result<(), Refusal> {
    use State::{Created, Dead, Exited, Paused, Removing, Restarting, Running, Starting};
    let id = || id.to_owned();
    match request {
        Request::Start => match state {
            Created | Exited | Restarting => Ok(()),
            Starting | Running(_) => Err(Refusal::AlreadyRunning),
            Paused(_) => Err(Refusal::StartPaused),
            Removing | Dead => Err(Refusal::MarkedForRemoval),
        },
        Request::Stop => match state {
            Starting | Running(_) | Paused(_) | Restarting => Ok(()),
            Created | Exited | Removing | Dead => Err(Refusal::AlreadyStopped),
        },
        Request::Kill => match state {
            Starting | Running(_) | Paused(_) => Ok(()),
            Restarting => Ok(()),
            Created | Exited | Removing | Dead => Err(Refusal::NotRunning { id: id() }),
        },
        Request::Restart => match state {
            Created | Starting | Running(_) | Paused(_) | Restarting | Exited => Ok(()),
            Removing | Dead => Err(Refusal::MarkedForRemoval),
        },
        Request::Pause => match state {
            Running(_) => Ok(()),
            Paused(_) => Err(Refusal::AlreadyPaused { id: id() }),
            Restarting => Err(Refusal::Restarting { id: id() }),
            Created | Starting | Exited | Removing | Dead => Err(Refusal::NotRunning { id: id() }),
        },
        Request::Unpause => match state {
            Paused(_) => Ok(()),
            Created | Starting | Running(_) | Restarting | Exited | Removing | Dead => {
                Err(Refusal::NotPaused { id: id() })
            }
        },
        Request::Exec => match state {
            Running(_) => Ok(()),
            Paused(_) => Err(Refusal::ExecPaused { id: id() }),
            Restarting => Err(Refusal::Restarting { id: id() }),
            Created | Starting | Exited | Removing | Dead => Err(Refusal::NotRunning { id: id() }),
        },
        Request::Attach => match state {
            Paused(_) => Err(Refusal::AttachPaused { id: id() }),
            Restarting => Err(Refusal::Restarting { id: id() }),
            Created | Starting | Running(_) | Exited | Removing | Dead => Ok(()),
        },
        Request::Resize => match state {
            Running(_) | Paused(_) => Ok(()),
            Created | Starting | Restarting | Exited | Removing | Dead => {
                Err(Refusal::NotRunning { id: id() })
            }
        },
        Request::Update => match state {
            Removing | Dead => Err(Refusal::UpdateRemoved),
            Created | Starting | Running(_) | Paused(_) | Restarting | Exited => Ok(()),
        },
        Request::Rename => match state {
            Removing => Err(Refusal::RemovalInProgress { id: id() }),
            Created | Starting | Running(_) | Paused(_) | Restarting | Exited | Dead => Ok(()),
        },
        Request::Remove { force } => match state {
            Created | Exited | Dead => Ok(()),
            Removing => Err(Refusal::RemovalInProgress { id: id() }),
            _ if force => Ok(()),
            Paused(_) => Err(Refusal::RemovePaused),
            Starting | Running(_) => Err(Refusal::StillActive { state: "running" }),
            Restarting => Err(Refusal::StillActive { state: "restarting" }),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<State> {
        let run = Run { pid: 7 };
        vec![
            State::Created,
            State::Starting,
            State::Running(run.clone()),
            State::Paused(run),
            State::Restarting,
            State::Exited,
            State::Removing,
            State::Dead,
        ]
    }

    const REQUESTS: [Request; 13] = [
        Request::Start,
        Request::Stop,
        Request::Kill,
        Request::Restart,
        Request::Pause,
        Request::Unpause,
        Request::Exec,
        Request::Attach,
        Request::Resize,
        Request::Update,
        Request::Rename,
        Request::Remove { force: false },
        Request::Remove { force: true },
    ];

    #[test]
    fn every_refusal_is_a_conflict_or_says_that_it_is_so_already() {
        for state in all() {
            for request in REQUESTS {
                if let Err(refusal) = admit("c0ffee", &state, request) {
                    assert!(
                        matches!(refusal.kind(), ErrorKind::Conflict | ErrorKind::NotModified),
                        "{refusal}"
                    );
                }
            }
        }
    }

    #[test]
    fn what_is_admitted_with_a_running_init_needs_one() {
        for state in all() {
            for request in [Request::Pause, Request::Unpause, Request::Exec, Request::Resize] {
                if admit("c0ffee", &state, request).is_ok() {
                    assert!(state.run().is_some(), "{state:?} {request:?}");
                }
            }
        }
    }

    #[test]
    fn a_forced_removal_is_refused_only_while_one_is_under_way() {
        for state in all() {
            let refused = admit("c0ffee", &state, Request::Remove { force: true }).is_err();
            assert_eq!(refused, state == State::Removing, "{state:?}");
        }
    }

    #[test]
    fn start_and_stop_are_idempotent() {
        let running = State::Running(Run { pid: 7 });
        assert_eq!(admit("c", &running, Request::Start), Err(Refusal::AlreadyRunning));
        assert_eq!(admit("c", &State::Exited, Request::Stop), Err(Refusal::AlreadyStopped));
        assert_eq!(Refusal::AlreadyStopped.kind(), ErrorKind::NotModified);
    }
}
