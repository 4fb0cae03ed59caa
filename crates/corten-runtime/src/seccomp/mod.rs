//! System call filters: from the specification's rules to a BPF program.

use corten_types::{ErrorKind, Kind};

use crate::capability::Capability;
use crate::spec::LinuxSeccomp;

/// Why a filter could not be compiled.
#[derive(Debug, thiserror::Error)]
pub enum SeccompError {
    /// The rules cannot be meant as they stand.
    #[error("seccomp: {0}")]
    Rule(String),
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
}

/// Compiles the rules of a specification.
pub fn compile(rules: &LinuxSeccomp) -> Result<Program, SeccompError> {
    let _ = rules;
    Ok(Program::default())
}

/// Docker's default profile for a container with these capabilities.
pub fn docker_default(capabilities: &[Capability]) -> LinuxSeccomp {
    let _ = capabilities;
    LinuxSeccomp { default_action: crate::spec::Action::Allow, ..LinuxSeccomp::default() }
}
