//! Making the first process of a container, and further ones inside it.

mod error;

pub use error::{CreateError, ExecError, ExecFailure, InitFailure, StartError};

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use crate::cgroup::Cgroup;
use crate::spec::{Process, Spec};

/// Where the container's root filesystem comes from.
#[derive(Debug)]
pub enum Rootfs {
    /// A directory of the host.
    Path(PathBuf),
    /// A detached mount, as `fsmount(2)` returns it.
    Mount(OwnedFd),
}

/// What becomes the process's standard streams.
#[derive(Debug)]
pub enum Stdio {
    /// Three descriptors.
    Pipes {
        /// Standard input.
        stdin: OwnedFd,
        /// Standard output.
        stdout: OwnedFd,
        /// Standard error.
        stderr: OwnedFd,
    },
    /// A new pseudo-terminal of the container's own devpts.
    Terminal {
        /// Columns and rows, when known.
        size: Option<(u16, u16)>,
    },
}

/// What [`create`] needs.
#[derive(Debug)]
pub struct CreateRequest<'a> {
    /// The container's id: name of its session keyring, and told to hooks.
    pub id: &'a str,
    /// The specification.
    pub spec: &'a Spec,
    /// The bundle's directory: relative root paths start here, and hooks are told of it.
    pub bundle: &'a Path,
    /// The root filesystem.
    pub rootfs: Rootfs,
    /// The standard streams.
    pub stdio: Stdio,
    /// The cgroup to live in, with its limits applied already.
    pub cgroup: Option<&'a Cgroup>,
    /// How many descriptors from 3 on the program inherits.
    pub preserve_fds: u32,
    /// Signal that the program gets when the calling process ends.
    pub parent_death_signal: Option<i32>,
    /// Whether the program gets a session keyring of its own.
    pub new_keyring: bool,
}

/// A container whose first process waits in front of the user's program.
#[derive(Debug)]
pub struct Created {
    /// Number of the first process in the caller's pid namespace.
    pub pid: i32,
    /// The first process.
    pub pidfd: OwnedFd,
    /// The master of the terminal, when one was asked for.
    pub console: Option<OwnedFd>,
    /// Lets the program run.
    pub gate: StartGate,
}

/// Holds back a created container's program. Dropping it ends the process.
#[derive(Debug)]
pub struct StartGate {
    #[expect(dead_code, reason = "read once the child side exists")]
    socket: OwnedFd,
}

impl StartGate {
    /// Lets the program run, and returns once it has been executed or could not be.
    pub fn start(self) -> Result<(), StartError> {
        Err(StartError::Gone)
    }
}

/// What [`exec`] needs.
#[derive(Debug)]
pub struct ExecRequest<'a> {
    /// The container's id.
    pub id: &'a str,
    /// The container's first process, whose namespaces are joined.
    pub init: BorrowedFd<'a>,
    /// The process to make.
    pub process: &'a Process,
    /// The container's specification.
    pub spec: &'a Spec,
    /// The standard streams.
    pub stdio: Stdio,
    /// The container's cgroup.
    pub cgroup: Option<&'a Cgroup>,
    /// How many descriptors from 3 on the program inherits.
    pub preserve_fds: u32,
    /// Signal that the program gets when the calling process ends.
    pub parent_death_signal: Option<i32>,
    /// Whether the program gets a session keyring of its own.
    pub new_keyring: bool,
}

/// A process that was executed inside a container.
#[derive(Debug)]
pub struct Execed {
    /// Its number in the caller's pid namespace.
    pub pid: i32,
    /// The process.
    pub pidfd: OwnedFd,
    /// The master of its terminal, when one was asked for.
    pub console: Option<OwnedFd>,
}

/// Makes a container up to the point where only the user's program is missing.
///
/// The calling process must have one thread; it becomes the parent of the container's first process and must reap it.
pub fn create(request: CreateRequest<'_>) -> Result<Created, CreateError> {
    let _ = request;
    Err(CreateError::Spec("create".into()))
}

/// Runs a further program inside a running container, and returns once it has been executed.
///
/// The calling process must have one thread; it becomes the parent of the new process and must reap it.
pub fn exec(request: ExecRequest<'_>) -> Result<Execed, ExecError> {
    let _ = request;
    Err(ExecError::Spec("exec".into()))
}
