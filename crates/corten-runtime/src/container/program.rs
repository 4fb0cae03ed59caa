//! The user's program: its environment, where it lies, and its execution.

use std::collections::HashSet;
use std::io::{self, Read};
use std::path::Path;

use corten_sys::process::Image;
use rustix::fs::{Access, AtFlags, CWD, FileType, Mode, OFlags};

use super::error::{ExecFailure, InitFailure, go_text};
use super::mount_plan::clean;
use crate::spec::Process;

/// How much of `/etc/passwd` is read.
const PASSWD_MAX: u64 = 1024 * 1024;

/// What is to be executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Program {
    args: Vec<String>,
    env: Vec<String>,
    /// Absolute, inside the container.
    pub(super) cwd: String,
}

impl Program {
    /// Checks what `process` asks for.
    pub(super) fn plan(process: &Process) -> Result<Self, String> {
        if process.args.is_empty() {
            return Err("args must not be empty".into());
        }
        if !process.cwd.starts_with('/') {
            return Err("cwd must be an absolute path".into());
        }
        let texts = process.args.iter().chain(&process.env).chain(std::iter::once(&process.cwd));
        if let Some(text) = texts.into_iter().find(|text| text.contains('\0')) {
            return Err(format!("{text:?} contains a nul byte"));
        }
        if let Some(entry) = process.env.iter().find(|entry| !entry.contains('=') || entry.starts_with('=')) {
            return Err(format!("invalid environment variable {entry:?}"));
        }
        let cwd = clean(Path::new(&process.cwd)).to_string_lossy().into_owned();
        Ok(Self { args: process.args.clone(), env: last_of_each(&process.env), cwd })
    }

    /// Its environment, as far as it was asked for.
    pub(super) fn environment(&self) -> &[String] {
        &self.env
    }

    fn variable(&self, name: &str) -> Option<&str> {
        self.env.iter().find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='))
    }

    /// Adds `HOME` from the container's user list when it is missing, and finds the program.
    ///
    /// To be called inside the container's root, with the ids that will execute it.
    pub(super) fn find(mut self, uid: u32) -> Result<Image, InitFailure> {
        if self.variable("HOME").is_none_or(str::is_empty) {
            self.env.retain(|entry| !entry.starts_with("HOME="));
            self.env.push(format!("HOME={}", home_of(uid)));
        }
        let name = &self.args[0];
        let path = look_up(name, self.variable("PATH").unwrap_or_default()).map_err(|e| e.failure(name))?;
        Image::new(&path, &self.args, &self.env)
            .map_err(|e| InitFailure::system(format_args!("exec {name:?}"), &e))
    }
}

/// The last entry of each name, in the order of these last entries.
fn last_of_each(env: &[String]) -> Vec<String> {
    let mut seen = HashSet::new();
    let mut kept: Vec<String> =
        env.iter().rev().filter(|entry| seen.insert(entry.split('=').next())).cloned().collect();
    kept.reverse();
    kept
}

/// The home directory of `uid` in the container's `/etc/passwd`; `/` when it has none.
fn home_of(uid: u32) -> String {
    let read = || -> io::Result<String> {
        // Neither a FIFO nor a device may hold the start up.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let fd = rustix::fs::open("/etc/passwd", flags, Mode::empty())?;
        if FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode) != FileType::RegularFile {
            return Ok(String::new());
        }
        let mut bytes = Vec::new();
        std::fs::File::from(fd).take(PASSWD_MAX).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    home_in(&read().unwrap_or_default(), uid).unwrap_or_else(|| "/".into())
}

fn home_in(passwd: &str, uid: u32) -> Option<String> {
    let line = passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.len() >= 6 && fields[2].parse() == Ok(uid))?;
    (line[5].starts_with('/')).then(|| line[5].to_owned())
}

/// Why a program was not found.
#[derive(Debug)]
enum LookupError {
    NotInPath,
    /// Found in the current directory only, which is never searched by name.
    CurrentDirectory,
    Unusable {
        operation: String,
        source: io::Error,
    },
}

impl LookupError {
    /// The words of Go's `exec.LookPath`, which Docker's clients match on.
    fn failure(&self, name: &str) -> InitFailure {
        let (text, errno, program) = match self {
            Self::NotInPath => {
                ("executable file not found in $PATH".to_owned(), libc::ENOENT, ExecFailure::NotFound)
            }
            Self::CurrentDirectory => (
                "cannot run executable found relative to current directory".to_owned(),
                libc::EACCES,
                ExecFailure::NotPermitted,
            ),
            Self::Unusable { operation, source } => (
                format!("{operation}{}", go_text(source)),
                source.raw_os_error().unwrap_or(0),
                kind_of(source),
            ),
        };
        InitFailure { message: format!("exec: {name:?}: {text}"), errno, program: Some(program) }
    }
}

fn kind_of(error: &io::Error) -> ExecFailure {
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENOTDIR) => ExecFailure::NotFound,
        Some(libc::EACCES | libc::EPERM | libc::EISDIR) => ExecFailure::NotPermitted,
        _ => ExecFailure::Other,
    }
}

fn look_up(name: &str, path: &str) -> Result<String, LookupError> {
    if name.contains('/') {
        return executable(name).map(|()| name.to_owned());
    }
    for directory in path.split(':') {
        let candidate = Path::new(directory).join(name);
        let candidate = candidate.to_string_lossy();
        if executable(&candidate).is_ok() {
            if !candidate.starts_with('/') {
                return Err(LookupError::CurrentDirectory);
            }
            return Ok(candidate.into_owned());
        }
    }
    Err(LookupError::NotInPath)
}

/// Whether the file exists, is no directory, and may be executed by the caller.
fn executable(path: &str) -> Result<(), LookupError> {
    let stat = rustix::fs::stat(path)
        .map_err(|e| LookupError::Unusable { operation: format!("stat {path}: "), source: e.into() })?;
    let refuse = |errno| {
        Err(LookupError::Unusable { operation: String::new(), source: io::Error::from_raw_os_error(errno) })
    };
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return refuse(libc::EISDIR);
    }
    match rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS) {
        Ok(()) => Ok(()),
        Err(_) => refuse(libc::EACCES),
    }
}

/// What `execve` refused, in the words that the program's own standard error gets.
pub(super) fn exec_failure(image: &Image, error: &io::Error) -> InitFailure {
    InitFailure {
        message: format!("exec {}: {}", image.path().to_string_lossy(), go_text(error)),
        errno: error.raw_os_error().unwrap_or(0),
        program: Some(kind_of(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_has_the_text_clients_match_on() {
        let failure = look_up("no-such-program", "/usr/bin:/bin").unwrap_err().failure("no-such-program");
        assert_eq!(failure.message, "exec: \"no-such-program\": executable file not found in $PATH");
        assert_eq!(failure.program, Some(ExecFailure::NotFound));
    }

    #[test]
    fn a_path_is_judged_by_what_lies_there() {
        let text = |name: &str| look_up(name, "").unwrap_err().failure(name);
        assert_eq!(
            text("/nowhere/x").message,
            "exec: \"/nowhere/x\": stat /nowhere/x: no such file or directory"
        );
        assert_eq!(text("/etc").message, "exec: \"/etc\": is a directory");
        assert_eq!(text("/etc").program, Some(ExecFailure::NotPermitted));
        assert_eq!(text("/etc/passwd").message, "exec: \"/etc/passwd\": permission denied");
        assert_eq!(text("/etc/passwd").program.unwrap().exit_code(), 126);
    }

    #[test]
    fn the_search_takes_the_first_executable() {
        assert_eq!(look_up("sh", "/nowhere:/bin:/usr/bin").unwrap(), "/bin/sh");
    }

    #[test]
    fn the_last_value_of_a_variable_counts() {
        let env = ["A=1", "B=2", "A=3"].map(String::from);
        assert_eq!(last_of_each(&env), ["B=2", "A=3"]);
    }

    #[test]
    fn home_comes_from_the_user_list() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\nweb:x:33:33:web:/srv/web:/bin/false\n";
        assert_eq!(home_in(passwd, 0).as_deref(), Some("/root"));
        assert_eq!(home_in(passwd, 33).as_deref(), Some("/srv/web"));
        assert_eq!(home_in(passwd, 99), None);
    }
}
