//! A container of busybox under a real monitor, and a daemon that may die.

use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use corten_runtime::cgroup::CgroupError;
use corten_shim::protocol::{
    self, Attach, Body, Create, Event, Exec, Exit, ExitRecord, FromShim, LogConfig, Numbering, Reply,
    Request, Size, Status, Streams, ToShim, files, wire,
};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// How long anything may take before a test fails.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Whether these tests can run here; says why not.
pub fn possible() -> bool {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root");
        return false;
    }
    if !Path::new("/bin/busybox").exists() {
        println!("skipped: needs /bin/busybox (package busybox-static)");
        return false;
    }
    true
}

/// A bundle in a directory of its own.
pub struct Bundle {
    pub dir: tempfile::TempDir,
    pub id: String,
    pub tty: bool,
    pub cgroup: String,
}

static NUMBER: AtomicU32 = AtomicU32::new(0);

impl Bundle {
    /// A container that will run `sh -c script`.
    pub fn new(script: &str) -> Self {
        Self::with(&["/bin/sh", "-c", script], false)
    }

    pub fn terminal(script: &str) -> Self {
        Self::with(&["/bin/sh", "-c", script], true)
    }

    pub fn with(args: &[&str], tty: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let id = format!("test{}x{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let rootfs = dir.path().join("rootfs");
        for name in ["bin", "proc", "dev", "sys", "tmp", "etc"] {
            std::fs::create_dir_all(rootfs.join(name)).unwrap();
        }
        std::fs::copy("/bin/busybox", rootfs.join("bin/busybox")).unwrap();
        for name in
            ["sh", "cat", "sleep", "echo", "stty", "tty", "seq", "yes", "head", "id", "kill", "true", "mkdir"]
        {
            std::os::unix::fs::symlink("busybox", rootfs.join("bin").join(name)).unwrap();
        }
        let cgroup = format!("/corten-{id}");
        let spec = serde_json::json!({
            "ociVersion": "1.2.0",
            "process": { "args": args, "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}, "terminal": tty },
            "root": { "path": rootfs },
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
                {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
                 "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            ],
            "linux": {
                "cgroupsPath": cgroup,
                "namespaces": [{"type":"pid"},{"type":"mount"},{"type":"uts"},{"type":"ipc"},{"type":"network"}],
            },
        });
        std::fs::write(dir.path().join(files::CONFIG), spec.to_string()).unwrap();
        Self { dir, id, tty, cgroup }
    }

    /// The specification as it was written.
    pub fn spec(&self) -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(self.path(files::CONFIG)).unwrap()).unwrap()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap()
    }

    pub fn create(&self) -> Create {
        Create {
            bundle: self.dir.path().into(),
            rootfs_fd: false,
            spec: None,
            filter_fd: false,
            log: LogConfig::JsonFile {
                path: self.path("log"),
                max_size: None,
                max_files: 1,
                attrs: None,
                numbering: Numbering::Shift,
            },
            tty: self.tty,
            size: self.tty.then_some(Size { width: 91, height: 33 }),
            open_stdin: false,
            stdin_once: false,
            spool_dir: self.dir.path().into(),
            runtime: None,
        }
    }

    /// The directory, locked as a daemon does it before it makes the monitor; `None` while a monitor holds the lock.
    pub fn lock(&self) -> Option<OwnedFd> {
        let directory = std::fs::File::open(self.dir.path()).unwrap();
        let lock = rustix::fs::FlockOperation::NonBlockingLockExclusive;
        rustix::fs::flock(&directory, lock).is_ok().then(|| directory.into())
    }

    pub fn is_locked(&self) -> bool {
        self.lock().is_none()
    }

    pub fn has_cgroup(&self) -> bool {
        corten_runtime::cgroup::Cgroup::open(&self.cgroup).is_ok()
    }

    pub fn exit_record(&self) -> ExitRecord {
        serde_json::from_slice(&std::fs::read(self.path(files::EXIT)).unwrap()).unwrap()
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        if let Ok(cgroup) = corten_runtime::cgroup::Cgroup::open(&self.cgroup) {
            cgroup.kill_all().ok();
            let until = Instant::now() + Duration::from_secs(5);
            while matches!(cgroup.delete(), Err(CgroupError::File { .. })) && Instant::now() < until {
                std::thread::yield_now();
            }
        }
    }
}

/// One connection to a monitor.
pub struct Daemon {
    socket: OwnedFd,
    next: u64,
    events: Vec<Event>,
}

/// A running monitor; killed with the test.
pub struct Monitor(pub Child);

impl Monitor {
    pub fn ended(&mut self) {
        let pidfd = pidfd_open(Pid::from_child(&self.0), PidfdFlags::empty()).unwrap();
        assert!(readable(&pidfd), "the monitor does not end");
        self.0.wait().unwrap();
    }
}

/// Waits until a descriptor is readable (a pidfd: its process has ended); false when that takes too long.
pub fn readable(fd: &OwnedFd) -> bool {
    let mut polled = [PollFd::new(fd, PollFlags::IN)];
    let timeout = Timespec { tv_sec: DEADLINE.as_secs() as i64, tv_nsec: 0 };
    rustix::event::poll(&mut polled, Some(&timeout)).unwrap() == 1
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

pub fn spawn(bundle: &Bundle) -> (Monitor, Daemon) {
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .unwrap();
    // The release build of the monitor can be put in the tests' place.
    let program =
        std::env::var_os("CORTEN_TEST_SHIM").unwrap_or_else(|| env!("CARGO_BIN_EXE_corten-shim").into());
    let child = Command::new(program)
        .arg(&bundle.id)
        .arg(bundle.dir.path())
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::from(bundle.lock().unwrap()))
        .spawn()
        .unwrap();
    (Monitor(child), Daemon::new(ours))
}

impl Daemon {
    fn new(socket: OwnedFd) -> Self {
        rustix::net::sockopt::set_socket_timeout(
            &socket,
            rustix::net::sockopt::Timeout::Recv,
            Some(DEADLINE),
        )
        .unwrap();
        Self { socket, next: 0, events: Vec::new() }
    }

    pub fn adopt(bundle: &Bundle) -> Self {
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .unwrap();
        rustix::net::connect(&socket, &SocketAddrUnix::new(bundle.path(files::SOCKET)).unwrap()).unwrap();
        Self::new(socket)
    }

    pub fn ask_with(
        &mut self,
        request: Request,
        fd: Option<&OwnedFd>,
    ) -> Result<(Reply, Vec<OwnedFd>), protocol::Failure> {
        self.next += 1;
        let message = ToShim { v: protocol::VERSION, id: self.next, request };
        let fds: Vec<_> = fd.iter().map(|fd| fd.as_fd()).collect();
        wire::send(&self.socket, &message, &fds).unwrap();
        loop {
            let packet = wire::receive(&self.socket).unwrap().expect("the monitor closed");
            match packet.decode::<FromShim>().unwrap().body {
                Body::Event(event) => self.events.push(event),
                Body::Reply { id, result } => {
                    assert_eq!(id, self.next);
                    return result.map(|reply| (reply, packet.fds));
                }
            }
        }
    }

    pub fn ask(&mut self, request: Request) -> Reply {
        self.ask_with(request, None).unwrap().0
    }

    pub fn status(&mut self) -> Status {
        match self.ask(Request::Status) {
            Reply::Status(status) => *status,
            other => panic!("{other:?}"),
        }
    }

    pub fn event(&mut self) -> Event {
        if !self.events.is_empty() {
            return self.events.remove(0);
        }
        let packet = wire::receive(&self.socket).unwrap().expect("the monitor closed");
        match packet.decode::<FromShim>().unwrap().body {
            Body::Event(event) => event,
            Body::Reply { id, .. } => panic!("a reply to {id} nobody asked for"),
        }
    }

    pub fn exited(&mut self) -> Exit {
        loop {
            if let Event::Exited(exit) = self.event() {
                return exit;
            }
        }
    }

    pub fn run(&mut self, create: Create) {
        self.ask(Request::Create(create));
        self.ask(Request::Start);
    }

    pub fn attach(&mut self, streams: Streams) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        self.ask_with(Request::Attach(Attach { streams }), Some(&theirs.into())).unwrap();
        ours.set_read_timeout(Some(DEADLINE)).unwrap();
        ours
    }

    pub fn exec(
        &mut self,
        id: &str,
        args: &[&str],
        tty: bool,
        streams: Streams,
    ) -> Result<UnixStream, protocol::Failure> {
        let process =
            serde_json::json!({"args": args, "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}});
        let (ours, theirs) = UnixStream::pair().unwrap();
        let exec = Exec {
            exec_id: id.into(),
            process: serde_json::value::to_raw_value(&process).unwrap(),
            tty,
            size: None,
            attach: Some(streams),
            raw: None,
        };
        self.ask_with(Request::Exec(exec), Some(&theirs.into()))?;
        ours.set_read_timeout(Some(DEADLINE)).unwrap();
        Ok(ours)
    }
}

pub fn all_streams() -> Streams {
    Streams { stdin: true, stdout: true, stderr: true, detach_keys: Vec::new() }
}

pub fn output_streams() -> Streams {
    Streams { stdin: false, ..all_streams() }
}

/// Everything until the end of the stream.
pub fn rest(stream: &mut UnixStream) -> Vec<u8> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    all
}

/// Reads until `text` has come.
pub fn until(stream: &mut UnixStream, text: &str) -> String {
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        if String::from_utf8_lossy(&all).contains(text) {
            return String::from_utf8_lossy(&all).into_owned();
        }
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0, "ended with {:?}", String::from_utf8_lossy(&all));
        all.extend_from_slice(&buffer[..count]);
    }
}

/// Splits multiplexed output into its two streams.
pub fn demultiplex(mut bytes: &[u8]) -> (String, String) {
    let mut streams = [Vec::new(), Vec::new()];
    while !bytes.is_empty() {
        let length = u32::from_be_bytes(bytes[4..8].try_into().unwrap()) as usize;
        streams[usize::from(bytes[0]) - 1].extend_from_slice(&bytes[8..8 + length]);
        bytes = &bytes[8 + length..];
    }
    let [out, err] = streams.map(|s| String::from_utf8(s).unwrap());
    (out, err)
}

pub fn type_in(stream: &mut UnixStream, text: &str) {
    stream.write_all(text.as_bytes()).unwrap();
}
