//! System call filters: from the specification's rules to a BPF program.
//!
//! **Owns** the table of system calls ([`Arch`]), Docker's default profile ([`docker_default`]), the compiler
//! ([`compile`]) and the form in which a compiled filter is handed on ([`Program::encode`]).
//!
//! **Semantics.** A rule without conditions decides a call, whatever other rules say about it; of several, the first.
//! Otherwise the first rule whose conditions hold decides; otherwise the default action. A call that is newer than
//! every call the rules name is answered with `ENOSYS` where the default would refuse it, so that programs fall back.
//! Calls of an architecture that is not listed end the thread. Names that no architecture here has are skipped, as
//! profiles name calls of all architectures.
//!
//! **Refuses** rules that it cannot express, instead of skipping them.

mod compile;
mod profile;
mod ready;
mod syscalls;
mod verdict;

#[cfg(test)]
mod golden;
#[cfg(test)]
mod judge;

use corten_types::{ErrorKind, Kind};

pub use compile::compile;
pub use profile::{Condition, Profile, ProfileArch, ProfileRule, docker_default};
pub use syscalls::{Arch, X32_BIT, names};

/// Why a filter could not be compiled.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SeccompError {
    /// An architecture that is not known.
    #[error("seccomp: architecture {0:?} is not supported")]
    Arch(String),
    /// A flag that is not known.
    #[error("seccomp: flag {0:?} is not supported")]
    Flag(String),
    /// An argument that no call has.
    #[error("seccomp: {call}: argument {index} does not exist")]
    Argument {
        /// The call.
        call: String,
        /// The argument's index.
        index: u32,
    },
    /// Nobody could be asked.
    #[error("seccomp: {0}")]
    Agent(String),
    /// The kernel takes no program of this length.
    #[error("seccomp: the filter has {0} instructions, the kernel takes 4096")]
    Length(usize),
    /// Bytes that are no compiled filter, or one of another form.
    #[error("seccomp: a compiled filter: {0}")]
    Form(String),
    /// A profile document contradicts itself.
    #[error("seccomp: {0}")]
    Profile(String),
}

impl Kind for SeccompError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidArgument
    }
}

/// A filter, ready to be loaded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Program {
    /// The instructions.
    pub instructions: Vec<corten_sys::seccomp::Instruction>,
    /// `SECCOMP_FILTER_FLAG_*` bits.
    pub flags: u32,
    /// Who is asked about calls that the program neither allows nor refuses.
    pub agent: Option<Agent>,
}

/// A process outside that is asked about system calls.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Agent {
    /// The socket where it takes the descriptor.
    pub path: String,
    /// Text that it is given.
    pub metadata: String,
}
