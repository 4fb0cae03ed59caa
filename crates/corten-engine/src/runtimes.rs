//! Which OCI runtimes containers may be made by: our own, and those that were registered.
//!
//! | name | what it is |
//! |---|---|
//! | `runc`, `corten`, `io.containerd.runc.v2` | our own runtime: the names that clients and compose files carry |
//! | a registered one | a program with runc's command line, or our own again (`runtimeType` without a `BinaryName`) |
//! | another `io.containerd.….vN` | a shim of containerd's: refused by name |
//!
//! Paths are resolved when the settings are read, never while a container is made. A registered runtime may be absent:
//! the container that asks for it then fails to start, as on Docker.

use std::collections::BTreeMap;
use std::path::PathBuf;

use corten_types::{ErrorKind, Kind};

/// Our own runtime's names.
pub const BUILTIN: [&str; 3] = ["runc", "corten", "io.containerd.runc.v2"];
/// The one that cannot be registered, and the default.
pub const RESERVED: &str = "runc";

/// Every runtime that can be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runtimes {
    /// Name of the one that containers get which ask for none.
    pub default: String,
    /// Those of the configuration.
    pub registered: BTreeMap<String, Registered>,
}

impl Default for Runtimes {
    fn default() -> Self {
        Self { default: RESERVED.into(), registered: BTreeMap::new() }
    }
}

/// A runtime of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// Path as it was given; empty for one that was given by its type.
    pub path: String,
    /// Arguments as they were given.
    pub args: Vec<String>,
    /// How containers are made by it.
    pub drive: Drive,
}

/// How containers are made by a runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Drive {
    /// By our own runtime.
    Own,
    /// By a program.
    Program(Program),
    /// By a shim of this type, which nothing here can drive.
    Shim(String),
}

/// A program with runc's command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Its absolute path; `Err` is why there is none, in Docker's words.
    pub path: Result<PathBuf, String>,
    /// Arguments before all others.
    pub args: Vec<String>,
    /// Where it keeps its state; `None`: in the folder of each container's run.
    pub root: Option<PathBuf>,
    /// Whether systemd makes the cgroups; `None`: as the daemon's own driver.
    pub systemd_cgroup: Option<bool>,
    /// Further options of `create`.
    pub create_options: Vec<String>,
}

/// Why a container cannot have a runtime.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuntimeError {
    /// Nobody has this name.
    #[error("unknown or invalid runtime name: {0}")]
    Unknown(String),
    /// Known only as a shim.
    #[error(
        "runtime {name}: containerd's shim {shim} is not implemented; register the path of its OCI runtime instead"
    )]
    Shim {
        /// The runtime.
        name: String,
        /// The shim's type.
        shim: String,
    },
    /// The program of a runtime with arguments is not there.
    #[error("error while looking up the specified runtime path: {0}")]
    Path(String),
}

impl Kind for RuntimeError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Unknown(_) | Self::Path(_) => ErrorKind::InvalidArgument,
            Self::Shim { .. } => ErrorKind::NotImplemented,
        }
    }
}

impl Runtimes {
    /// The runtime of this name; `None` is our own.
    pub fn get(&self, name: &str) -> Result<Option<&Program>, RuntimeError> {
        if let Some(registered) = self.registered.get(name) {
            return match &registered.drive {
                Drive::Own => Ok(None),
                Drive::Program(program) => Ok(Some(program)),
                Drive::Shim(shim) => Err(RuntimeError::Shim { name: name.into(), shim: shim.clone() }),
            };
        }
        if BUILTIN.contains(&name) {
            return Ok(None);
        }
        match is_shim_type(name) {
            true => Err(RuntimeError::Shim { name: name.into(), shim: name.into() }),
            false => Err(RuntimeError::Unknown(name.into())),
        }
    }

    /// Whether containers may ask for this name, or could where the machine had what it stands for.
    pub fn is_known(&self, name: &str) -> bool {
        self.registered.contains_key(name) || BUILTIN.contains(&name) || is_shim_type(name)
    }
}

impl Program {
    /// Looks whether the program of a runtime with arguments is there: Docker, which wraps it in a script, says so before
    /// a container is made, and of the others only when one is started.
    pub fn look(&self) -> Result<(), RuntimeError> {
        match &self.path {
            _ if self.args.is_empty() => Ok(()),
            Err(reason) => Err(RuntimeError::Path(reason.clone())),
            Ok(path) if path.exists() => Ok(()),
            Ok(path) => {
                let path = path.display().to_string();
                Err(RuntimeError::Path(format!("exec: {path:?}: stat {path}: no such file or directory")))
            }
        }
    }
}

/// Whether a name is of the form of containerd's shims: `prefix.name.version`, never a path.
pub fn is_shim_type(name: &str) -> bool {
    !name.contains('/') && name.split_once('.').is_some_and(|(prefix, _)| !prefix.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(path: Result<&str, &str>, args: &[&str]) -> Registered {
        let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        let path = path.map(PathBuf::from).map_err(str::to_owned);
        let drive = Drive::Program(Program {
            path,
            args: args.clone(),
            root: None,
            systemd_cgroup: None,
            create_options: Vec::new(),
        });
        Registered { path: String::new(), args, drive }
    }

    #[test]
    fn only_a_program_with_arguments_is_looked_for_beforehand() {
        let look = |registered: Registered| match registered.drive {
            Drive::Program(program) => program.look().map_err(|error| error.to_string()),
            other => panic!("{other:?}"),
        };
        assert_eq!(look(program(Ok("/no/such"), &[])), Ok(()));
        assert_eq!(
            look(program(Ok("/no/such"), &["--a"])).unwrap_err(),
            "error while looking up the specified runtime path: exec: \"/no/such\": stat /no/such: no such file or directory"
        );
    }

    #[test]
    fn names() {
        let registered = [
            ("crun", program(Ok("/usr/bin/crun"), &[])),
            ("absent", program(Err("exec: \"x\": executable file not found in $PATH"), &[])),
        ];
        let registered = registered.map(|(name, runtime)| (name.to_owned(), runtime)).into();
        let runtimes = Runtimes { registered, ..Runtimes::default() };
        for own in BUILTIN {
            assert_eq!(runtimes.get(own), Ok(None), "{own}");
        }
        assert!(runtimes.get("crun").unwrap().is_some() && runtimes.get("absent").unwrap().is_some());
        let text = |name: &str| runtimes.get(name).unwrap_err().to_string();
        assert_eq!(text("odd"), "unknown or invalid runtime name: odd");
        assert_eq!(text("/bin/sh"), "unknown or invalid runtime name: /bin/sh");
        assert_eq!(text(".x"), "unknown or invalid runtime name: .x");
        assert!(text("io.containerd.runsc.v1").contains("io.containerd.runsc.v1 is not implemented"));
    }
}
