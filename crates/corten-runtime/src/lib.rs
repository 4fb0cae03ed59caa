//! The OCI runtime: from a specification to a process in its container.
//!
//! ```text
//!  CreateRequest ──plan──▶ Plan (checked, resolved)          pure
//!                            │ clone3 into new namespaces
//!            parent          ▼            child (this same program, copied)
//!            ◀──── Ready{console} ──── mounts, masks, pivot, identity      one SOCK_SEQPACKET pair
//!  StartGate ────── Go ──────────────▶ seccomp, capabilities, execve
//!            ◀── end of file: executed ── or Failed{exec}
//! ```
//!
//! **Owns** the container's namespaces, mounts, devices, masks, identity, limits ([`cgroup`]) and system call filter
//! ([`seccomp`]).
//!
//! **Invariants.** Paths inside a container are resolved beneath its root by descriptor. No program is executed but
//! the user's (and the hooks of the specification). The child is a copy of a single-threaded process, so it may
//! allocate; it never returns from [`create`] or [`exec`]: it executes or ends. Whatever fails before the program
//! runs arrives as a typed error in the parent, and no process is left.
//!
//! **Refuses** daemon state, async, images and networks: it gets a root filesystem and namespaces that are ready.

pub mod capability;
pub mod cgroup;
pub mod cli;
pub mod seccomp;
pub mod spec;

mod container;

pub use container::{
    CreateError, CreateRequest, Created, ExecError, ExecFailure, ExecRequest, Execed, Filter, InitFailure,
    Made, Pivot, Rootfs, StartError, StartGate, Stdio, create, create_detached, exec,
};
