//! A root filesystem that holds this program and what it is linked to, and a container around it.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use corten_runtime::cgroup::Cgroup;
use corten_runtime::spec::{
    Capabilities, Linux, LinuxResources, Mount, Namespace, NamespaceKind, Process, Root, Spec,
};
use corten_runtime::{
    CreateError, CreateRequest, Created, ExecError, ExecRequest, Execed, Filter, Pivot, Rootfs, Stdio,
    create, exec,
};
use corten_sys::process::{Exit, Wait, send_signal, wait};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// The longest that anything in a test may take, seconds.
const DEADLINE: i64 = 20;

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A bundle in a temporary directory, removed at the end.
pub struct Bundle {
    pub id: String,
    pub directory: PathBuf,
    pub spec: Spec,
}

/// Docker's fourteen default capabilities.
pub const DEFAULT_CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

fn mount(destination: &str, kind: &str, options: &[&str]) -> Mount {
    Mount {
        destination: destination.into(),
        kind: kind.into(),
        source: kind.into(),
        options: options.iter().map(|&option| option.into()).collect(),
        ..Mount::default()
    }
}

impl Bundle {
    /// A container like Docker's default one, whose program is `probe args…`.
    pub fn new(args: &[&str]) -> Self {
        let id = format!("corten-rt-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let directory = std::env::temp_dir().join(&id);
        std::fs::create_dir_all(directory.join("rootfs")).unwrap();
        let bundle = Self { id, directory, spec: default_spec(args) };
        install(&bundle.rootfs());
        bundle
    }

    pub fn rootfs(&self) -> PathBuf {
        self.directory.join("rootfs")
    }

    pub fn process(&mut self) -> &mut Process {
        self.spec.process.as_mut().unwrap()
    }

    pub fn linux(&mut self) -> &mut Linux {
        self.spec.linux.as_mut().unwrap()
    }

    pub fn create_with(&self, stdio: Stdio, cgroup: Option<&Cgroup>) -> Result<Created, CreateError> {
        create(CreateRequest {
            id: &self.id,
            spec: &self.spec,
            filter: Filter::Rules,
            bundle: &self.directory,
            rootfs: Rootfs::Path("rootfs".into()),
            stdio,
            cgroup,
            preserve_fds: 0,
            parent_death_signal: Some(libc::SIGKILL),
            new_keyring: true,
            pivot: Pivot::Root,
        })
    }

    /// Makes and starts the container.
    pub fn start_in(&self, cgroup: Option<&Cgroup>) -> Running {
        let (stdio, output) = pipes();
        let created = self.create_with(stdio, cgroup).unwrap();
        created.gate.start().unwrap();
        Running { pidfd: created.pidfd, pid: created.pid, output }
    }

    pub fn start(&self) -> Running {
        self.start_in(None)
    }

    /// Runs the container to its end.
    pub fn run(&self) -> Finished {
        self.start().finish()
    }

    pub fn exec_with(&self, running: &Running, process: &Process, stdio: Stdio) -> Result<Execed, ExecError> {
        self.exec_in(running, process, stdio, None)
    }

    pub fn exec_in(
        &self,
        running: &Running,
        process: &Process,
        stdio: Stdio,
        cgroup: Option<&Cgroup>,
    ) -> Result<Execed, ExecError> {
        exec(ExecRequest {
            id: &self.id,
            init: running.pidfd.as_fd(),
            process,
            spec: &self.spec,
            filter: Filter::Rules,
            stdio,
            bundle: &self.directory,
            cgroup,
            follow_init: true,
            preserve_fds: 0,
            parent_death_signal: Some(libc::SIGKILL),
            new_keyring: true,
        })
    }

    /// Runs `probe args…` inside the running container to its end.
    pub fn exec(&self, running: &Running, args: &[&str]) -> Finished {
        let mut process = self.spec.process.clone().unwrap();
        process.args = ["/probe", "probe"].iter().chain(args).map(|&arg| arg.into()).collect();
        let (stdio, output) = pipes();
        let execed = self.exec_with(running, &process, stdio).unwrap();
        Running { pidfd: execed.pidfd, pid: execed.pid, output }.finish()
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// A cgroup of a test, removed with everything inside at the end.
pub struct Group(pub Cgroup);

impl Group {
    pub fn new(bundle: &Bundle, limits: &LinuxResources) -> Self {
        Self(Cgroup::create(&format!("/corten-test-{}/{}", std::process::id(), bundle.id), limits).unwrap())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = self.0.kill_all();
        let _ = self.0.delete();
        if let Ok(parent) = Cgroup::open(&format!("/corten-test-{}", std::process::id())) {
            let _ = parent.delete();
        }
    }
}

/// A process whose output is collected.
pub struct Running {
    pub pidfd: OwnedFd,
    pub pid: i32,
    output: OwnedFd,
}

/// What a process has left.
#[derive(Debug)]
pub struct Finished {
    pub exit: Exit,
    pub output: String,
}

impl Running {
    /// A process whose output nobody wants.
    pub fn of(pidfd: OwnedFd) -> Self {
        Self { pidfd, pid: 0, output: pipes().1 }
    }

    /// Waits until the process has written `text`.
    pub fn wait_for(&self, text: &str) -> String {
        let mut seen = String::new();
        while !seen.contains(text) {
            let chunk = read_some(&self.output);
            assert!(!chunk.is_empty(), "ended after {seen:?}");
            seen.push_str(&chunk);
        }
        seen
    }

    pub fn signal(&self, signal: i32) {
        send_signal(&self.pidfd, signal).unwrap();
    }

    pub fn finish(self) -> Finished {
        let mut output = String::new();
        loop {
            match read_some(&self.output) {
                chunk if chunk.is_empty() => break,
                chunk => output.push_str(&chunk),
            }
        }
        Finished { exit: wait(&self.pidfd, Wait::Block).unwrap().unwrap(), output }
    }

    pub fn kill(self) -> Exit {
        self.signal(libc::SIGKILL);
        wait(&self.pidfd, Wait::Block).unwrap().unwrap()
    }
}

/// Reads once, with the deadline.
pub fn read_some(fd: impl AsFd) -> String {
    let timeout = Timespec { tv_sec: DEADLINE, tv_nsec: 0 };
    let ready = poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timeout)).unwrap();
    assert!(ready > 0, "nothing to read after {DEADLINE} s");
    let mut buffer = [0; 65536];
    match rustix::io::read(&fd, &mut buffer) {
        Ok(n) => String::from_utf8_lossy(&buffer[..n]).into_owned(),
        // The other side of a terminal is gone.
        Err(rustix::io::Errno::IO) => String::new(),
        Err(e) => panic!("{e}"),
    }
}

/// Standard streams whose output and errors come out of one pipe.
pub fn pipes() -> (Stdio, OwnedFd) {
    use rustix::pipe::{PipeFlags, pipe_with};
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    let stdin = rustix::fs::open(
        "/dev/null",
        rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    );
    let stderr = write.try_clone().unwrap();
    (Stdio::Pipes { stdin: stdin.unwrap(), stdout: write, stderr }, read)
}

/// Copies this program, its interpreter and its libraries into `root`.
fn install(root: &Path) {
    let mut files: BTreeSet<PathBuf> = std::fs::read_to_string("/proc/self/maps")
        .unwrap()
        .lines()
        .filter_map(|line| line.split_whitespace().nth(5))
        .filter(|path| path.contains(".so"))
        .map(PathBuf::from)
        .collect();
    for interpreter in ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"] {
        if Path::new(interpreter).exists() {
            files.insert(interpreter.into());
        }
    }
    for file in files {
        let to = root.join(file.strip_prefix("/").unwrap());
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(&file, to).unwrap();
    }
    std::fs::copy("/proc/self/exe", root.join("probe")).unwrap();
    std::fs::create_dir_all(root.join("etc")).unwrap();
    std::fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:\n")
        .unwrap();
}

fn default_spec(args: &[&str]) -> Spec {
    let capabilities: Vec<String> = DEFAULT_CAPABILITIES.iter().map(|&name| name.into()).collect();
    let new = |kind| Namespace { kind, path: String::new() };
    Spec {
        oci_version: corten_runtime::spec::VERSION.into(),
        process: Some(Process {
            args: ["/probe", "probe"].iter().chain(args).map(|&arg| arg.into()).collect(),
            env: vec!["PATH=/bin:/usr/bin".into()],
            cwd: "/".into(),
            capabilities: Some(Capabilities {
                bounding: capabilities.clone(),
                effective: capabilities.clone(),
                permitted: capabilities,
                ..Capabilities::default()
            }),
            ..Process::default()
        }),
        root: Some(Root { path: "rootfs".into(), readonly: false }),
        hostname: "corten-test".into(),
        mounts: vec![
            mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
            mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount(
                "/dev/pts",
                "devpts",
                &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
            ),
            mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
            mount("/sys/fs/cgroup", "cgroup", &["ro", "nosuid", "noexec", "nodev"]),
            mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
            mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", "size=67108864"]),
        ],
        linux: Some(Linux {
            namespaces: [
                NamespaceKind::Mount,
                NamespaceKind::Network,
                NamespaceKind::Uts,
                NamespaceKind::Pid,
                NamespaceKind::Ipc,
            ]
            .map(new)
            .to_vec(),
            masked_paths: ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/scsi", "/sys/firmware"]
                .map(String::from)
                .to_vec(),
            readonly_paths: ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
                .map(String::from)
                .to_vec(),
            ..Linux::default()
        }),
        ..Spec::default()
    }
}
