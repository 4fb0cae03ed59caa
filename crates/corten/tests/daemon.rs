//! The daemon as a process: its lock, its configuration, its signals, its sockets.
//!
//! Each daemon has roots of its own in a temporary folder and a network namespace of its own, so that tests touch nothing of the host and
//! run beside each other. They need root and say so otherwise.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const DEADLINE: Duration = Duration::from_secs(30);

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("skipped: a daemon needs root");
    }
    root
}

/// Moves this test's thread, and so what it starts, into a network namespace that ends with it.
fn own_network() {
    corten_sys::namespace::unshare(corten_sys::namespace::Kind::Net.flag()).unwrap();
}

struct Daemon {
    child: Child,
    dir: TempDir,
    log: BufReader<std::process::ChildStderr>,
}

fn command(dir: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_corten"));
    command.arg("daemon").arg("--data-root").arg(dir.join("data")).arg("--exec-root").arg(dir.join("exec"));
    command.args(["--cgroup-parent", "/corten-test-daemon"]).args(more).stdin(Stdio::null());
    command
}

impl Daemon {
    /// Starts one and waits until it says that it serves.
    fn start(dir: TempDir, more: &[&str]) -> Self {
        let host = format!("unix://{}", dir.path().join("api.sock").display());
        let mut all = vec!["-H", &host];
        all.extend(more);
        Self::spawn(command(dir.path(), &all), dir)
    }

    fn spawn(mut command: Command, dir: TempDir) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let mut daemon = Self { child, dir, log };
        daemon.wait_for("completed initialization");
        daemon
    }

    /// Reads the log up to a line with this text.
    fn wait_for(&mut self, text: &str) -> String {
        let mut seen = String::new();
        loop {
            let mut line = String::new();
            assert!(self.log.read_line(&mut line).unwrap() > 0, "the daemon ended before {text:?}:\n{seen}");
            seen += &line;
            if line.contains(text) {
                return line;
            }
        }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("api.sock")
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Ends it in order.
    fn end(mut self) -> (ExitStatus, TempDir) {
        self.signal(Signal::TERM);
        let status = wait(&mut self.child);
        (status, self.dir)
    }
}

fn wait(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + DEADLINE;
    // A thread that waits could not be given up; the pidfd can.
    let pidfd =
        rustix::process::pidfd_open(Pid::from_child(child), rustix::process::PidfdFlags::empty()).unwrap();
    let mut fds = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
    let left = deadline.saturating_duration_since(Instant::now());
    let left = rustix::event::Timespec { tv_sec: left.as_secs() as i64, tv_nsec: 0 };
    assert_eq!(rustix::event::poll(&mut fds, Some(&left)).unwrap(), 1, "the daemon does not end");
    child.wait().unwrap()
}

/// The whole answer to a request on a connection of its own.
fn get(socket: &Path, path: &str) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn refused(output: &Output) -> String {
    assert!(!output.status.success(), "it was not refused");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn it_serves_and_ends_without_a_trace() {
    if !is_root() {
        return;
    }
    own_network();
    let daemon = Daemon::start(tempfile::tempdir().unwrap(), &[]);
    let answer = get(&daemon.socket(), "/_ping");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nOK"), "{answer}");
    assert!(daemon.dir.path().join("exec/corten.pid").exists());
    let (status, dir) = daemon.end();
    assert!(status.success());
    assert!(!dir.path().join("api.sock").exists());
    assert!(!dir.path().join("exec/corten.pid").exists());
}

#[test]
fn a_second_daemon_on_the_same_root_is_refused() {
    if !is_root() {
        return;
    }
    own_network();
    let daemon = Daemon::start(tempfile::tempdir().unwrap(), &[]);
    let pid = daemon.child.id();
    let other = tempfile::tempdir().unwrap();
    let host = format!("unix://{}", other.path().join("s").display());
    let second = command(daemon.dir.path(), &["-H", &host, "--pidfile", "/dev/null/x"]).output().unwrap();
    let text = refused(&second);
    assert!(text.contains(&format!("another daemon (pid {pid}) uses the data root")), "{text}");
    // Nor may it take the socket that another answers at.
    let host = format!("unix://{}", daemon.socket().display());
    let third = refused(&command(other.path(), &["-H", &host]).output().unwrap());
    assert!(third.contains("another daemon answers at unix://"), "{third}");
    daemon.end();
}

#[test]
fn after_a_kill_the_next_one_starts_at_once() {
    if !is_root() {
        return;
    }
    own_network();
    let mut daemon = Daemon::start(tempfile::tempdir().unwrap(), &[]);
    daemon.signal(Signal::KILL);
    // Not waited for: the dead one still has its entry, its pid file and its socket.
    let Daemon { dir, .. } = &mut daemon;
    let dir = std::mem::replace(dir, tempfile::tempdir().unwrap());
    let next = Daemon::start(dir, &[]);
    assert!(get(&next.socket(), "/_ping").contains("200 OK"));
    next.end();
    wait(&mut daemon.child);
}

#[test]
fn configuration_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("daemon.json");
    let validate = |json: &str, more: &[&str]| {
        std::fs::write(&file, json).unwrap();
        let mut all = vec!["--validate", "--config-file", file.to_str().unwrap()];
        all.extend(more);
        command(dir.path(), &all).output().unwrap()
    };
    let good = validate(r#"{"debug":true,"labels":["a=b"]}"#, &[]);
    assert!(good.status.success());
    assert_eq!(String::from_utf8_lossy(&good.stdout), "configuration OK\n");
    for (json, more, text) in [
        (r#"{"debgu":true}"#, &[][..], "don't match any configuration option: debgu (did you mean debug?)"),
        (
            r#"{"labels":["a=b"]}"#,
            &["--label", "c=d"],
            "the following directives are specified both as a flag and in the configuration file: \
             labels: (from flag: [c=d], from file: [a=b])",
        ),
        (r#"{"storage-driver":"zfs"}"#, &[], "overlayfs is the only storage driver"),
        ("{", &[], "is not a JSON object"),
    ] {
        let error = refused(&validate(json, more));
        assert!(error.starts_with("unable to configure the daemon with file "), "{error}");
        assert!(error.contains(text), "{error}");
    }
}

#[test]
fn a_hangup_reads_the_file_again() {
    if !is_root() {
        return;
    }
    own_network();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("daemon.json");
    std::fs::write(&file, r#"{"labels":["a=1"]}"#).unwrap();
    let mut daemon = Daemon::start(dir, &["--config-file", file.to_str().unwrap()]);
    assert!(get(&daemon.socket(), "/info").contains(r#""Labels":["a=1"]"#));
    std::fs::write(&file, r#"{"labels":["a=2"],"insecure-registries":["reg.example"]}"#).unwrap();
    daemon.signal(Signal::HUP);
    daemon.wait_for("configuration was reloaded");
    let info = get(&daemon.socket(), "/info");
    assert!(info.contains(r#""Labels":["a=2"]"#) && info.contains("reg.example"), "{info}");
    // A file that is wrong changes nothing.
    std::fs::write(&file, r#"{"labels":["a=3"],"wrong":1}"#).unwrap();
    daemon.signal(Signal::HUP);
    daemon.wait_for("configuration was not reloaded");
    assert!(get(&daemon.socket(), "/info").contains(r#""Labels":["a=2"]"#));
    daemon.end();
}

#[test]
fn sockets_of_the_service_manager_are_served_and_left_alone() {
    if !is_root() {
        return;
    }
    own_network();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("api.sock");
    let listener = UnixListener::bind(&path).unwrap();
    // As systemd does it: the socket is descriptor 3, and the variables name the process that runs the daemon in the end.
    let mut shell = Command::new("/bin/sh");
    let program = env!("CARGO_BIN_EXE_corten");
    let roots = dir.path().display();
    let script = format!(
        "LISTEN_PID=$$ LISTEN_FDS=1 exec {program} daemon -H fd:// --data-root {roots}/data --exec-root {roots}/exec \
         --cgroup-parent /corten-test-daemon 3<&0 </dev/null"
    );
    shell.arg("-c").arg(script).stdin(Stdio::from(std::os::fd::OwnedFd::from(listener)));
    let daemon = Daemon::spawn(shell, dir);
    assert!(get(&path, "/_ping").contains("200 OK"));
    let (status, _dir) = daemon.end();
    assert!(status.success());
    assert!(path.exists(), "the socket belongs to the manager");
}
