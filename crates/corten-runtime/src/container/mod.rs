//! Making the first process of a container, and further ones inside it.

mod affinity;
mod agent;
mod binds;
mod channel;
mod copy_up;
mod create;
mod devices;
mod error;
mod exec;
pub(crate) mod hooks;
mod identity;
mod init;
mod mount_plan;
mod namespaces;
mod program;
mod rootfs;
mod sysctl;

pub(crate) use affinity::affinity_mask;
pub(crate) use channel::listen;
pub(crate) use create::hook_state;
pub use create::{create, create_detached};
pub use exec::exec;

pub use error::{CreateError, ExecError, ExecFailure, InitFailure, StartError};

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use crate::cgroup::Cgroup;
use crate::seccomp;
use crate::spec::{Process, Spec};

/// Where the container's root filesystem comes from.
#[derive(Debug)]
pub enum Rootfs {
    /// A directory of the host.
    Path(PathBuf),
    /// A detached mount, as `fsmount(2)` returns it.
    Mount(OwnedFd),
}

/// How the container's root becomes the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pivot {
    /// `pivot_root`: the host's tree is gone afterwards.
    #[default]
    Root,
    /// `chroot`, for a host whose root is a ramdisk: the host's tree stays mounted below, without its procfs and sysfs.
    Move,
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

/// Where a process's system call filter comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Filter {
    /// It is compiled from the specification's rules, if there are any.
    #[default]
    Rules,
    /// It was compiled before; the specification's rules are not looked at.
    Ready(seccomp::Program),
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
    /// The system call filter.
    pub filter: Filter,
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
    /// How the root is entered.
    pub pivot: Pivot,
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

/// A created container that somebody else starts.
#[derive(Debug)]
pub struct Made {
    /// Number of the first process in the caller's pid namespace.
    pub pid: i32,
    /// The first process.
    pub pidfd: OwnedFd,
    /// The master of the terminal, when one was asked for.
    pub console: Option<OwnedFd>,
}

/// Holds back a created container's program. Dropping it ends the process.
#[derive(Debug)]
pub struct StartGate {
    channel: channel::Channel,
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
    /// The system call filter.
    pub filter: Filter,
    /// The standard streams.
    pub stdio: Stdio,
    /// The bundle's directory, for the agent of system calls.
    pub bundle: &'a Path,
    /// The cgroup to join.
    pub cgroup: Option<&'a Cgroup>,
    /// Whether the first process's own cgroup is joined where the container's takes no processes: on v2 a program may
    /// have moved everything into child cgroups.
    pub follow_init: bool,
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

/// Whether every option of a mount is one of the runtime's own, not left to the filesystem.
#[cfg(test)]
pub(crate) fn understands(mount: &crate::spec::Mount) -> bool {
    match mount_plan::plan_mount(mount, Path::new("/"), (&[], &[])) {
        Ok(mount_plan::MountPlan { source: mount_plan::Source::Filesystem { options, .. }, .. }) => {
            options.is_empty()
        }
        Ok(_) => true,
        Err(_) => false,
    }
}
