//! Another OCI runtime in place of our own: its command line, driven as containerd drives it.
//!
//! ```text
//!  RUNTIME [ARGS] --root R --log L --log-format json [--systemd-cgroup]
//!      create --bundle B --pid-file P [--console-socket S] ID     init waits, inherited by this process
//!      start ID                                                   the program is executed
//!      exec --detach --process F --pid-file P [--console-socket S] ID
//!      kill ID SIGNAL      delete --force ID
//! ```
//!
//! Invariants:
//! * the program is executed by the path that the daemon resolved, with an environment that holds nothing of ours;
//! * its children become ours when it ends (this process is a subreaper), so ends are seen as those of our own;
//! * it has [`PATIENCE`] for each call: one that hangs is killed, and the call fails.
//!
//! While a call runs nothing else is served: output waits in the pipes meanwhile.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use corten_sys::process::{Exit, Forked, Image, Wait, exit_now, fork, send_signal, wait};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde::Deserialize;

use super::launch::{failure, internal};
use crate::protocol::{self, Failure, FailureClass};

/// How long one call may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How much of its log is read.
const LOG: u64 = 1 << 20;
/// Names of the files beside the bundle.
const LOG_FILE: &str = "runtime.log";
const CONSOLE: &str = "console.sock";
/// All that a runtime finds in its environment.
const ENVIRONMENT: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A container that another runtime makes.
#[derive(Debug)]
pub(super) struct Foreign {
    runtime: protocol::Runtime,
    id: String,
    directory: PathBuf,
}

/// A process that it made.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) pid: i32,
    pub(super) pidfd: OwnedFd,
    pub(super) console: Option<OwnedFd>,
}

/// What becomes of the standard streams of a new process.
#[derive(Debug)]
pub(super) enum Streams {
    /// These descriptors, which the runtime hands on.
    Pipes([OwnedFd; 3]),
    /// A terminal, whose master the runtime sends.
    Terminal,
}

impl Foreign {
    /// The container `id`, whose bundle and files lie in `directory`.
    pub(super) fn new(runtime: protocol::Runtime, id: &str, directory: &Path) -> Self {
        Self { runtime, id: id.to_owned(), directory: directory.to_owned() }
    }

    /// Makes the container up to its start gate. What a failed call left is removed.
    pub(super) fn create(&self, streams: Streams) -> Result<Made, Failure> {
        let mut words = vec!["create".to_owned(), "--bundle".into(), text(&self.directory)];
        words.extend(self.runtime.create_options.iter().cloned());
        self.make("create", words, "init.pid", streams).inspect_err(|_| self.delete())
    }

    /// Opens the start gate.
    pub(super) fn start(&self) -> Result<(), Failure> {
        self.call("start", &["start".into(), self.id.clone()], None)
    }

    /// Runs one more process, described by `process` (the specification's object).
    pub(super) fn exec(&self, exec_id: &str, process: &str, streams: Streams) -> Result<Made, Failure> {
        let described = self.directory.join(format!("exec-{exec_id}.json"));
        write_secret(&described, process.as_bytes()).map_err(internal)?;
        let words = vec!["exec".to_owned(), "--detach".into(), "--process".into(), text(&described)];
        let made = self.make("exec", words, &format!("exec-{exec_id}.pid"), streams);
        fs::remove_file(&described).ok();
        made
    }

    /// Sends init a signal.
    pub(super) fn kill(&self, signal: i32) -> Result<(), Failure> {
        self.call("kill", &["kill".into(), self.id.clone(), signal.to_string()], None)
            .map_err(|error| if has_ended(&error.message) { ended(error) } else { error })
    }

    /// Removes what the runtime keeps of the container; whatever lives of it is killed. That it fails is of no
    /// consequence: the daemon removes the cgroup and the state's folder.
    pub(super) fn delete(&self) {
        self.call("delete", &["delete".into(), "--force".into(), self.id.clone()], None).ok();
    }

    fn make(
        &self,
        verb: &'static str,
        mut words: Vec<String>,
        pid_file: &str,
        streams: Streams,
    ) -> Result<Made, Failure> {
        let pid_file = self.directory.join(pid_file);
        words.extend(["--pid-file".into(), text(&pid_file)]);
        let (console, stdio) = match streams {
            Streams::Pipes(pipes) => (None, Some(pipes)),
            Streams::Terminal => (Some(Console::listen(&self.directory).map_err(internal)?), None),
        };
        if let Some(console) = &console {
            words.extend(["--console-socket".into(), console.path.clone()]);
        }
        words.push(self.id.clone());
        self.call(verb, &words, stdio)?;
        let pid = fs::read_to_string(&pid_file).map_err(internal)?;
        fs::remove_file(&pid_file).ok();
        let pid: i32 = pid.trim().parse().map_err(|_| internal(io::ErrorKind::InvalidData.into()))?;
        let process =
            rustix::process::Pid::from_raw(pid).ok_or_else(|| internal(io::ErrorKind::InvalidData.into()))?;
        // It may have ended, but nobody but us reaps it.
        let pidfd = rustix::process::pidfd_open(process, rustix::process::PidfdFlags::empty())
            .map_err(|error| internal(error.into()))?;
        let console = console.map(Console::receive).transpose().map_err(internal)?;
        Ok(Made { pid, pidfd, console })
    }

    /// Executes the runtime and waits for its end.
    fn call(&self, verb: &'static str, words: &[String], stdio: Option<[OwnedFd; 3]>) -> Result<(), Failure> {
        let log = self.directory.join(LOG_FILE);
        fs::remove_file(&log).ok();
        let mut line = vec![text(&self.runtime.path)];
        line.extend(self.runtime.args.iter().cloned());
        line.extend(["--root".into(), text(&self.runtime.root), "--log".into(), text(&log)]);
        line.extend(["--log-format".into(), "json".into()]);
        if self.runtime.systemd_cgroup {
            line.push("--systemd-cgroup".into());
        }
        line.extend_from_slice(words);
        let end = execute(&line, stdio);
        let reason = match end {
            Ok(Some(Exit::Code(0))) => return Ok(()),
            Ok(Some(Exit::Code(code))) => format!("exit status {code}"),
            Ok(Some(Exit::Signal(signal))) => format!("signal {signal}"),
            Ok(None) => format!("it did not end within {} seconds", PATIENCE.as_secs()),
            Err(error) => format!("fork/exec {}: {}", text(&self.runtime.path), plain(&error)),
        };
        let said = last_error(&log).unwrap_or_else(|error| {
            format!("unable to retrieve OCI runtime error (open {}: {}): {reason}", text(&log), plain(&error))
        });
        Err(failure(FailureClass::Runtime, format!("OCI runtime {verb} failed: {said}")))
    }
}

/// Runs a program to its end; `None` when it had to be killed. An error is one of its execution.
fn execute(line: &[String], stdio: Option<[OwnedFd; 3]>) -> io::Result<Option<Exit>> {
    let image = Image::new(&line[0], line, &[ENVIRONMENT.to_owned()])?;
    let null = || rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
    let [stdin, stdout, stderr] = match stdio {
        Some(stdio) => stdio,
        None => [null()?, null()?, null()?],
    };
    // Closed by a successful execution; the reason is written to it by a failed one.
    let (failed, fails) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let pidfd = match fork(0, None).map_err(io::Error::other)? {
        Forked::Child => {
            let prepared = corten_sys::signals::unblock_all()
                .and_then(|()| Ok(rustix::stdio::dup2_stdin(&stdin)?))
                .and_then(|()| Ok(rustix::stdio::dup2_stdout(&stdout)?))
                .and_then(|()| Ok(rustix::stdio::dup2_stderr(&stderr)?));
            let error = prepared.err().unwrap_or_else(|| image.execute());
            let number = error.raw_os_error().unwrap_or(libc::EINVAL);
            rustix::io::write(&fails, &number.to_ne_bytes()).ok();
            exit_now(127)
        }
        Forked::Parent { pidfd, .. } => pidfd,
    };
    drop((stdin, stdout, stderr, fails));
    let mut number = [0; 4];
    if matches!(rustix::io::read(&failed, &mut number), Ok(4)) {
        wait(&pidfd, Wait::Block)?;
        return Err(io::Error::from_raw_os_error(i32::from_ne_bytes(number)));
    }
    let limit = Timespec { tv_sec: PATIENCE.as_secs().try_into().unwrap_or(i64::MAX), tv_nsec: 0 };
    let in_time = loop {
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&limit)) {
            Ok(count) => break count > 0,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    };
    if !in_time {
        send_signal(&pidfd, libc::SIGKILL).ok();
    }
    let exit = wait(&pidfd, Wait::Block)?;
    Ok(exit.filter(|_| in_time))
}

/// The last error of a runtime's log.
fn last_error(log: &Path) -> io::Result<String> {
    #[derive(Deserialize)]
    struct Line {
        level: String,
        msg: String,
    }
    let mut content = String::new();
    File::open(log)?.take(LOG).read_to_string(&mut content)?;
    // One object after the other, with or without line breaks inside.
    let lines = serde_json::Deserializer::from_str(&content).into_iter::<Line>().map_while(Result::ok);
    let errors = lines.filter(|line| matches!(line.level.as_str(), "error" | "fatal"));
    errors.last().map(|line| line.msg).ok_or_else(|| io::Error::other("no error is recorded"))
}

/// Whether a runtime refuses a signal because there is nobody to take it.
fn has_ended(message: &str) -> bool {
    ["process already finished", "not running", "No such process", "does not exist"]
        .iter()
        .any(|words| message.contains(words))
}

fn ended(error: Failure) -> Failure {
    failure(FailureClass::NotFound, error.message)
}

/// The listening socket on which a runtime hands over a terminal.
struct Console {
    socket: OwnedFd,
    /// Where the runtime finds it; a socket's address holds no more than 107 bytes, which the folder's path may exceed.
    path: String,
    file: PathBuf,
    _folder: OwnedFd,
}

impl Console {
    fn listen(directory: &Path) -> io::Result<Self> {
        let file = directory.join(CONSOLE);
        fs::remove_file(&file).ok();
        let folder =
            rustix::fs::open(directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let own = rustix::process::getpid().as_raw_nonzero();
        let path = format!("/proc/{own}/fd/{}/{CONSOLE}", folder.as_raw_fd());
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        rustix::net::bind(&socket, &SocketAddrUnix::new(path.as_str())?)?;
        rustix::net::listen(&socket, 1)?;
        Ok(Self { socket, path, file, _folder: folder })
    }

    /// Takes the terminal that a runtime which has ended left here.
    fn receive(self) -> io::Result<OwnedFd> {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        if poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&now))? == 0 {
            return Err(io::Error::other("the runtime sent no terminal"));
        }
        let peer = rustix::net::accept_with(self.socket.as_fd(), SocketFlags::CLOEXEC)?;
        let message = corten_sys::scm::recv(&peer, &mut [0; 4096])?;
        let terminal = message.fds.into_iter().next();
        terminal.ok_or_else(|| io::Error::other("the runtime sent no terminal"))
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        fs::remove_file(&self.file).ok();
    }
}

fn write_secret(path: &Path, content: &[u8]) -> io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600).open(path)?.write_all(content)
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// The kernel's reason in the words that clients look for.
fn plain(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ENOENT) => "no such file or directory".into(),
        Some(libc::EACCES) => "permission denied".into(),
        Some(libc::ENOEXEC) => "exec format error".into(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A runtime that is a script of this shell.
    fn runtime(directory: &Path, script: &str) -> Foreign {
        use std::os::unix::fs::PermissionsExt as _;
        let path = directory.join("runtime");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let runtime = protocol::Runtime {
            path,
            args: vec!["--odd".into()],
            root: directory.join("state"),
            systemd_cgroup: false,
            create_options: Vec::new(),
        };
        Foreign::new(runtime, "c1", directory)
    }

    #[test]
    fn what_a_runtime_says_last_is_why_it_failed() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let lines = [
            r#"{"level":"warning","msg":"odd","time":"t"}"#,
            "{\n  \"msg\": \"first\",\n  \"level\": \"error\"\n}",
            r#"{"level":"error","msg":"runc create failed: x","time":"t"}"#,
        ];
        fs::write(&log, lines.join("\n")).unwrap();
        assert_eq!(last_error(&log).unwrap(), "runc create failed: x");
        assert!(last_error(&folder.path().join("none")).is_err());
    }

    #[test]
    fn a_signal_without_a_taker_is_told_apart() {
        assert!(has_ended("OCI runtime kill failed: container not running"));
        assert!(!has_ended("OCI runtime kill failed: permission denied"));
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let mut foreign = runtime(folder.path(), "exit 0");
        foreign.runtime.path = "/no/such".into();
        // Tests run in threads, and a process with several is not copied: then that is the reason.
        let error = foreign.start().unwrap_err().message;
        assert!(
            error.starts_with("OCI runtime start failed: unable to retrieve OCI runtime error (open "),
            "{error}"
        );
        assert!(error.contains("fork/exec /no/such: "), "{error}");
    }
}
