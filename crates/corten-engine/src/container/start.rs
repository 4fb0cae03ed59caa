//! Starting a container: phases that consume the one before, and undo themselves when a later one fails.
//!
//! ```text
//!  Admitted ─▶ Mounted ─▶ Networked ─▶ Spawned ─▶ running
//!  (intent     root and    namespace,   monitor,   program
//!  recorded)   volumes     addresses    init       executed
//! ```
//!
//! The intent is on record before the first kernel object: a daemon that is killed in the middle finds a container
//! that is `Starting` and takes back what was made (see `restore`). Every object is named after the container's id.

use std::fs;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use corten_runtime::cgroup::Scope;
use corten_runtime::spec::Device;
use corten_store::Mapped;
use corten_sys::path::Root;
use corten_types::ErrorKind;
use rustix::fs::OFlags;

use super::bundle::Bundle;
use super::cdi::Registry;
use super::mounts::MountKind;
use super::oci_spec::{self, Input, Ns, Seccomp, SecurityOptions, SpecMount, SpecSource};
use super::owner::Owner;
use super::record::{NetworkView, Record};
use super::source::{self, Sources};
use super::state::{Refusal, Request, Run, State, admit};
use super::userns::Entered;
use super::{ContainerError, Containers, Shared, log, user};
use crate::config::CgroupDriver;
use crate::network::{Netns, NetworkMode, Sandbox};
use crate::shim::{self, Create, Shim, ShimBinary, ShimError, ShimEvents, ShimSpec, Size, StartFailure};

impl Containers {
    /// Starts a container.
    pub async fn start(&self, container: &str) -> Result<(), ContainerError> {
        let container = self.find(container)?;
        container.admit(Request::Start)?;
        container.ask(|owner| Box::pin(owner.start())).await?
    }
}

/// The root file system is mounted, detached, and what is mounted into it is there.
pub(super) struct Mounted {
    pub(super) rootfs: OwnedFd,
    pub(super) user: user::User,
    pub(super) mounts: Vec<SpecMount>,
    /// The user namespace, where the container has one.
    pub(super) userns: Option<Entered>,
}

/// The network stack is there.
struct Networked {
    mounted: Mounted,
    sandbox: Sandbox,
}

/// The monitor runs, and init waits before the program.
struct Spawned {
    sandbox: Sandbox,
    shim: Shim,
    news: ShimEvents,
    pid: i32,
}

impl Owner {
    /// Starts the container for somebody; its restarts are counted anew.
    pub(super) async fn start(&mut self) -> Result<(), ContainerError> {
        admit(self.id(), &self.view.live.state, Request::Start)?;
        self.restart_at = None;
        self.restart_delay = Duration::ZERO;
        let live = self.live();
        live.restart_count = 0;
        live.stopped_by_user = false;
        self.launch().await
    }

    /// Starts the container in whatever way; what fails is undone.
    pub(super) async fn launch(&mut self) -> Result<(), ContainerError> {
        let live = self.live();
        let before = match live.last.started_at {
            Some(_) => State::Exited,
            None => State::Created,
        };
        live.state = State::Starting;
        live.last.error.clear();
        live.last.exit_code = 0;
        self.persist().await;
        match Box::pin(self.phases()).await {
            Ok(()) => Ok(()),
            Err(error) => {
                self.failed(before, &error).await;
                Err(error)
            }
        }
    }

    async fn failed(&mut self, before: State, error: &ContainerError) {
        let exit_code = match error {
            ContainerError::Start { exit_code, .. } => *exit_code,
            _ => 128,
        };
        let live = self.live();
        live.state = before;
        live.last.exit_code = exit_code;
        live.last.error = error.to_string();
        live.network = NetworkView::default();
        self.container.waiting().dismiss();
        self.persist().await;
        self.publish();
        if self.view.record.host.auto_remove
            && let Err(error) = self.remove(true).await
        {
            tracing::warn!(container = self.id(), %error, "container not removed after a failed start");
        }
    }

    async fn phases(&mut self) -> Result<(), ContainerError> {
        // Whoever reads the tree of the stopped container finishes first.
        let _mounted_elsewhere = self.container.root_lock().lock_owned().await;
        let made = async {
            super::link::check(&self.shared, &self.view.record)?;
            self.reserve_ids().await?;
            let mounted = self.mount().await?;
            let networked = self.network(mounted).await?;
            self.spawn(networked).await
        };
        match made.await {
            Ok(spawned) => self.open_gate(spawned).await,
            Err(error) => {
                self.undo_kernel_objects(None).await;
                Err(error)
            }
        }
    }

    /// Mounts the root, reads the user from it and makes the working directory and missing bind sources.
    async fn mount(&mut self) -> Result<Mounted, ContainerError> {
        use corten_store::Sync;
        let record = self.view.record.clone();
        for point in record.mounts.iter().filter(|point| point.kind == MountKind::Volume) {
            self.shared.volumes.mount(&point.name, &record.id).await?;
        }
        let sync = if record.host.auto_remove { Sync::Volatile } else { Sync::Normal };
        let userns = self.user_namespace()?;
        let snapshot = self.shared.store.snapshots().get(&record.id)?;
        let rootfs = match &userns {
            None => snapshot.mount(sync)?,
            Some(userns) => {
                let root = (userns.ids.user, userns.ids.group);
                snapshot.mount_mapped(sync, Mapped { namespace: userns.namespace.as_fd(), root })?
            }
        };
        let root = Root::new(rootfs.as_fd());
        let groups = record.host.group_add.as_deref().unwrap_or_default();
        let passwd = read_text(root, "/etc/passwd");
        let group = read_text(root, "/etc/group");
        let user = user::resolve(&record.config.user, groups, &passwd, &group)?;
        if !record.config.working_dir.is_empty() {
            let made = match &userns {
                None => root.make_directories(&record.config.working_dir, 0o755).map(drop),
                Some(userns) => corten_sys::process::with_files_of(userns.ids.user, userns.ids.group, || {
                    root.make_directories(&record.config.working_dir, 0o755).map(drop)
                }),
            };
            made.map_err(|_| {
                ContainerError::Path(format!(
                    "Cannot mkdir: {} is not a directory",
                    record.config.working_dir
                ))
            })?;
        }
        let sources = Sources::at(self.shared.paths.mounts(&record.id));
        let mut mounts = Vec::new();
        for (place, point) in record.mounts.iter().enumerate() {
            let mut mount = source::spec_mount(&self.shared, &sources, &record.id, place, point)?;
            if let SpecSource::Bind { mapped, .. } = &mut mount.source {
                *mapped = match (&userns, point.kind) {
                    // An overlay cannot be mapped once it is one.
                    (None, _) | (_, MountKind::Image) => false,
                    (Some(userns), MountKind::Bind) => !userns.remapped,
                    (Some(_), _) => true,
                };
            }
            mounts.push(mount);
        }
        for (target, options) in record.host.tmpfs.iter().flatten() {
            let destination = super::mounts::clean(target);
            mounts.push(SpecMount { destination, source: SpecSource::Tmpfs(options.clone()) });
        }
        Ok(Mounted { rootfs, user, mounts, userns })
    }

    async fn network(&mut self, mounted: Mounted) -> Result<Networked, ContainerError> {
        let mut request = super::endpoint::request(&self.shared, &self.view.record);
        if let NetworkMode::Container(other) = &request.mode {
            let (id, _) = joined(&self.shared, other, self.id(), "network")?;
            request.mode = NetworkMode::Container(id);
        }
        request.namespace = mounted.userns.as_ref().and_then(|userns| userns.network.clone());
        let sandbox = self.shared.networks.attach(&request).await?;
        Ok(Networked { mounted, sandbox })
    }

    async fn spawn(&mut self, networked: Networked) -> Result<Spawned, ContainerError> {
        let Networked { mounted, sandbox } = networked;
        let (shim, news, pid) = self.make_init(mounted, &sandbox).await?;
        Ok(Spawned { sandbox, shim, news, pid })
    }

    async fn make_init(
        &mut self,
        mounted: Mounted,
        sandbox: &Sandbox,
    ) -> Result<(Shim, ShimEvents, i32), ContainerError> {
        let record = self.view.record.clone();
        let shared = self.shared.clone();
        let cgroup = cgroup_path(&shared, &record);
        let exec_dir = shared.paths.container_exec(&record.id);
        let runtime = foreign(&shared, &record, &exec_dir)?;
        let mut bundle = make_bundle(&shared, &record, &mounted, sandbox, &cgroups_path(&shared, &record))?;
        let sources = Sources::at(shared.paths.mounts(&record.id));
        // Another runtime knows its root by a path only, and may need it and the sources for as long as it runs.
        let rootfs = match (&runtime, &mut bundle.spec.root) {
            (Some(_), Some(root)) => {
                let path = sources.root(&mounted.rootfs)?;
                root.path = path.to_string_lossy().into_owned();
                None
            }
            _ => Some(mounted.rootfs),
        };
        let released = runtime.is_none();
        // What an earlier run left would be taken for this one's end.
        let _ = fs::remove_dir_all(&exec_dir);
        let io = |operation: &str, error: io::Error| {
            ContainerError::io(format!("{operation} {}", exec_dir.display()), error)
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&exec_dir).map_err(|e| io("create", e))?;
        let described = bundle.write(&exec_dir).map_err(|e| io("write the spec in", e))?;
        let spec = ShimSpec { id: record.id.clone(), exec_dir: exec_dir.clone(), cgroup: Some(cgroup) };
        let (shim, news) = Shim::spawn(shared.binary()?, spec).await?;
        let create = Create {
            bundle: exec_dir,
            rootfs_fd: rootfs.is_some(),
            spec: described.filter(|_| runtime.is_none()),
            filter_fd: false,
            log: log::monitor_config(&shared, &record),
            tty: record.config.tty,
            size: console_size(&record),
            open_stdin: record.config.open_stdin,
            stdin_once: record.config.stdin_once,
            spool_dir: shared.paths.container(&record.id),
            runtime,
        };
        // Another runtime compiles what it reads.
        let filter = if released { bundle.program() } else { None };
        let created = shim.create(create, rootfs, filter).await;
        if released {
            sources.release_bound();
        }
        match created {
            Ok(process) => Ok((shim, news, process.pid)),
            Err(error) => {
                let _ = shim.shutdown().await;
                Err(start_error(error))
            }
        }
    }

    async fn open_gate(&mut self, spawned: Spawned) -> Result<(), ContainerError> {
        let Spawned { sandbox, shim, news, pid } = spawned;
        // Whoever waits to attach needs the monitor before the program's first output.
        self.container.set_shim(Some(shim.clone()));
        self.container.waiting().deliver(&shim).await;
        let Err(error) = shim.start().await else {
            self.shim = Some(shim);
            self.news = Some(news);
            self.running(pid, sandbox).await;
            return Ok(());
        };
        self.container.set_shim(None);
        self.undo_kernel_objects(Some(shim)).await;
        Err(start_error(error))
    }

    async fn running(&mut self, pid: i32, sandbox: Sandbox) {
        let live = self.live();
        live.state = State::Running(Run { pid });
        live.last.started_at = Some(jiff::Timestamp::now());
        live.last.exit_code = 0;
        live.last.oom_killed = false;
        live.network = NetworkView {
            sandbox_id: sandbox.id,
            sandbox_key: sandbox.key.to_string_lossy().into_owned(),
            ports: sandbox.ports,
            endpoints: sandbox.endpoints,
        };
        self.start_health();
        self.persist().await;
        self.publish();
        self.keep_log();
        self.tell_parents();
        self.emit("start", &[]);
    }

    /// Takes back what a run of the container made in the kernel and below the exec root.
    pub(super) async fn undo_kernel_objects(&mut self, shim: Option<Shim>) {
        if let Some(shim) = shim {
            // It may be gone already, which is what is wanted.
            let _ = shim.shutdown().await;
        }
        let id = self.id().to_owned();
        self.shared.networks.detach(&id).await;
        if self.view.record.mounts.iter().any(|point| point.kind == MountKind::Volume) {
            self.shared.volumes.unmount(&id).await;
        }
        let cgroup = cgroup_path(&self.shared, &self.view.record);
        let folder = self.shared.paths.container_exec(&id);
        delete_cgroup(&cgroup);
        self.release_ids();
        Sources::at(self.shared.paths.mounts(&id)).release_all();
        let _ = fs::remove_dir_all(folder);
    }
}

/// The runtime that makes this container, where that is not our own.
fn foreign(
    shared: &Shared,
    record: &Record,
    exec_dir: &Path,
) -> Result<Option<shim::Runtime>, ContainerError> {
    let runtimes = shared.runtimes();
    let Some(program) = runtimes.get(&record.host.runtime)? else { return Ok(None) };
    let path = program.path.clone().map_err(|reason| {
        // Docker's text, which begins with where it looked for the runtime's own words.
        let log = exec_dir.join("log.json");
        let log = log.display();
        let message = format!("failed to create task for container: failed to create shim task: OCI runtime create failed: unable to retrieve OCI runtime error (open {log}: no such file or directory): {reason}");
        ContainerError::Start { message, exit_code: 127, kind: ErrorKind::InvalidArgument }
    })?;
    let by_systemd = shared.config.cgroup_driver == CgroupDriver::Systemd;
    Ok(Some(shim::Runtime {
        path,
        args: program.args.clone(),
        root: program.root.clone().unwrap_or_else(|| exec_dir.join("runtime")),
        systemd_cgroup: program.systemd_cgroup.unwrap_or(by_systemd),
        create_options: program.create_options.clone(),
    }))
}

/// How often, and how long apart, the removal of a cgroup is tried again while the kernel ends what was killed.
const CGROUP_ATTEMPTS: u32 = 20;
const CGROUP_PAUSE: Duration = Duration::from_millis(50);

/// Removes a cgroup whose processes have ended or were killed; goes on beside the caller where the kernel is not done
/// with them. What still stays is the sweeper's.
pub(super) fn delete_cgroup(path: &str) {
    let Ok(cgroup) = corten_runtime::cgroup::Cgroup::open(path) else { return };
    if cgroup.delete().is_ok() {
        return;
    }
    let path = path.to_owned();
    tokio::spawn(async move {
        for _ in 0..CGROUP_ATTEMPTS {
            // A container that has no init any more has nothing that may live.
            let _ = cgroup.kill_all();
            if cgroup.delete().is_ok() {
                return;
            }
            tokio::time::sleep(CGROUP_PAUSE).await;
        }
        tracing::debug!(cgroup = path, "cgroup not removed yet");
    });
}

/// The cgroup of a container as its specification names it: a path, or the scope that systemd is to make.
pub(super) fn cgroups_path(shared: &Shared, record: &Record) -> String {
    match shared.config.cgroup_driver {
        CgroupDriver::Cgroupfs => cgroup_path(shared, record),
        CgroupDriver::Systemd => {
            let parent = record.host.resources.cgroup_parent.as_str();
            let slice = if parent.is_empty() { shared.config.cgroup_parent.as_str() } else { parent };
            format!("{slice}:{SCOPE_PREFIX}:{}", record.id)
        }
    }
}

/// First part of the names of containers' scopes; tools of the machine know it.
const SCOPE_PREFIX: &str = "docker";

/// The scope of a container, where systemd makes the cgroups.
pub(super) fn cgroup_scope(shared: &Shared, record: &Record) -> Option<Scope> {
    match shared.config.cgroup_driver {
        CgroupDriver::Cgroupfs => None,
        CgroupDriver::Systemd => Scope::parse(&cgroups_path(shared, record), SCOPE_PREFIX, &record.id).ok(),
    }
}

/// The path of a container's cgroup: its parent's path and its id, or its scope's.
pub(super) fn cgroup_path(shared: &Shared, record: &Record) -> String {
    if let Some(scope) = cgroup_scope(shared, record) {
        return scope.path();
    }
    let parent = match record.host.resources.cgroup_parent.as_str() {
        "" => shared.config.cgroup_parent.as_str(),
        own => own,
    };
    // `..` in what a user gave must not lead out of the hierarchy.
    super::mounts::clean(&format!("/{parent}/{}", record.id))
}

/// A file of the image, up to [`user::LIMIT`]; empty if there is none.
pub(crate) fn read_text(root: Root<'_>, path: &str) -> String {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let Ok(fd) = root.open(path, flags) else { return String::new() };
    let file = fs::File::from(fd);
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return String::new();
    }
    let mut bytes = Vec::new();
    // A file that cannot be read whole resolves no names, as one that is not there.
    let _ = file.take(user::LIMIT).read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The running container whose namespace is joined: its id and the pid of its init.
fn joined(shared: &Shared, other: &str, own: &str, what: &str) -> Result<(String, i32), ContainerError> {
    let container = shared.find(other).map_err(|error| match what {
        "network" => ContainerError::Join(format!("joining network namespace of container: {error}")),
        _ => ContainerError::Join(error.to_string()),
    })?;
    if container.id() == own {
        return Err(ContainerError::Join(format!("cannot join own {what}")));
    }
    let view = container.view();
    if what == "IPC" && matches!(view.record.host.ipc_mode.as_str(), "private" | "none") {
        let hint = "non-shareable IPC (hint: use IpcMode:shareable for the donor container)";
        let text = format!("failed to join IPC namespace: container {}: {hint}", container.id());
        return Err(ContainerError::Join(text));
    }
    match &view.live.state {
        State::Running(run) | State::Paused(run) => Ok((container.id().to_owned(), run.pid)),
        State::Restarting => Err(Refusal::Restarting { id: container.id().to_owned() }.into()),
        _ => Err(ContainerError::Join(format!(
            "cannot join {what} of a non running container: {}",
            container.id()
        ))),
    }
}

pub(super) fn make_bundle(
    shared: &Shared,
    record: &Record,
    mounted: &Mounted,
    sandbox: &Sandbox,
    cgroup: &str,
) -> Result<Bundle, ContainerError> {
    let host = &record.host;
    let join = |mode: &str, what: &str, file: &str| match mode.strip_prefix("container:") {
        Some(other) => {
            joined(shared, other, &record.id, what).map(|(_, pid)| Ns::Path(format!("/proc/{pid}/ns/{file}")))
        }
        None if mode == "host" => Ok(Ns::Host),
        None => Ok(Ns::New),
    };
    let network = match &sandbox.netns {
        Netns::Host => Ns::Host,
        Netns::Path(path) => Ns::Path(path.to_string_lossy().into_owned()),
    };
    let pid = join(&host.pid_mode, "PID namespace", "pid")?;
    let init_wanted = host.init.unwrap_or(shared.config.init) && pid == Ns::New;
    let mut mounts = mounted.mounts.clone();
    mounts.extend(network_files(record, sandbox, mounted.userns.is_some()));
    if !mounts.iter().any(|mount| mount.destination == "/dev/shm")
        && let Some(path) = shared_memory(shared, record)?
    {
        mounts.push(bind("/dev/shm", &path, true, false));
    }
    let security = host.security_opt.as_deref().unwrap_or_default();
    let mut security = SecurityOptions::parse(security, shared.config.no_new_privileges)?;
    if security.seccomp == Seccomp::Default {
        security.seccomp = match host.privileged {
            true => Seccomp::Unconfined,
            false => shared.config.seccomp.clone(),
        };
    }
    let capabilities = oci_spec::capabilities(host, &shared.facts)?;
    let filter = shared.filters.get(&security.seccomp, &capabilities, &shared.facts)?;
    let refused =
        |message: String| ContainerError::Start { message, exit_code: 128, kind: ErrorKind::InvalidArgument };
    let devices = oci_spec::resolve_devices(host, look_for_devices).map_err(|error| {
        refused(format!("error gathering device information while adding custom device {error}"))
    })?;
    let block_devices = oci_spec::resolve_block_devices(&host.resources, device_number)
        .map_err(|error| refused(format!("stat {error}")))?;
    let init = if init_wanted { Some(init_program(shared)?) } else { None };
    let mut spec = oci_spec::build(Input {
        id: &record.id,
        config: &record.config,
        host,
        command: (&record.path, &record.args),
        user: &mounted.user,
        facts: &shared.facts,
        security: &security,
        mounts,
        devices,
        block_devices,
        network,
        ipc: join(&host.ipc_mode, "IPC", "ipc")?,
        pid,
        cgroup: cgroup.to_owned(),
        userns: mounted.userns.as_ref().map(|userns| (userns.path(), userns.ids)),
        init: init.as_deref(),
        links: super::link::environment(shared, record),
        default_pids: if record.unlimited_pids { None } else { shared.config.pids_limit },
        default_ulimits: shared
            .config
            .default_ulimits
            .iter()
            .map(|(name, (soft, hard))| (name.clone(), *soft, *hard))
            .collect(),
    })?;
    let requests = host.resources.device_requests.as_deref().unwrap_or_default();
    if !requests.is_empty() {
        Registry::read(&shared.config.cdi_folders).inject(requests, &mut spec)?;
    }
    Ok(Bundle { spec, filter })
}

/// What is bound at `/dev/shm` of a container that shares it; one that does not gets a tmpfs of its own.
fn shared_memory(shared: &Shared, record: &Record) -> Result<Option<PathBuf>, ContainerError> {
    let of = |id: &str| Sources::at(shared.paths.mounts(id));
    match record.host.ipc_mode.as_str() {
        "host" => Ok(Some(PathBuf::from("/dev/shm")).filter(|path| path.exists())),
        "shareable" => of(&record.id).make_shm(record.host.shm_size).map(Some),
        mode => Ok(mode.strip_prefix("container:").and_then(|other| of(other).shm())),
    }
}

/// The program that reaps in containers with an init: the monitor's own, which knows that role by its name.
fn init_program(shared: &Shared) -> Result<String, ShimError> {
    let path = match shared.config.shim.as_os_str().is_empty() {
        true => ShimBinary::locate()?,
        false => shared.config.shim.clone(),
    };
    Ok(path.to_string_lossy().into_owned())
}

fn bind(destination: &str, path: &Path, writable: bool, mapped: bool) -> SpecMount {
    let source = SpecSource::Bind {
        path: path.to_string_lossy().into_owned(),
        writable,
        recursive: true,
        shallow_read_only: true,
        propagation: "rprivate".into(),
        mapped,
    };
    SpecMount { destination: destination.into(), source }
}

/// `resolv.conf`, `hostname` and `hosts`, unless something of the container's own is there.
fn network_files(record: &Record, sandbox: &Sandbox, mapped: bool) -> Vec<SpecMount> {
    let files = ["resolv.conf", "hostname", "hosts"].into_iter().filter_map(|name| {
        let destination = format!("/etc/{name}");
        let path = sandbox.folder.join(name);
        let own = record.mounts.iter().any(|point| point.destination == destination);
        (!own && path.exists()).then(|| bind(&destination, &path, !record.host.readonly_rootfs, mapped))
    });
    files.collect()
}

fn console_size(record: &Record) -> Option<Size> {
    let [height, width] = record.host.console_size;
    (height > 0 && width > 0).then_some(Size { width, height })
}

/// A failure of the runtime as Docker words it, with the exit code that is recorded.
pub(super) fn start_error(error: ShimError) -> ContainerError {
    let ShimError::Refused(failure) = error else { return error.into() };
    let StartFailure { mut message, exit_code, kind } = StartFailure::of(&failure);
    if message.starts_with("OCI runtime create failed") {
        message = format!("failed to create task for container: failed to create shim task: {message}");
    }
    let exit_code = i64::from(exit_code);
    ContainerError::Start { message, exit_code, kind }
}

/// The device nodes at a path of the host: itself, or everything below a folder.
/// The error with what it is about, in the words that clients look for.
fn named(path: &str, error: &io::Error) -> io::Error {
    let text = match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        _ => error.to_string(),
    };
    io::Error::new(error.kind(), format!("{path}: {text}"))
}

fn look_for_devices(path: &str) -> io::Result<Vec<Device>> {
    let mut found = Vec::new();
    let metadata = fs::metadata(path).map_err(|error| named(&format!("{path:?}"), &error))?;
    if metadata.is_dir() {
        collect_devices(Path::new(path), 0, &mut found);
    } else {
        found.extend(device(Path::new(path), &metadata));
        if found.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{path:?}: not a device node")));
        }
    }
    Ok(found)
}

fn collect_devices(folder: &Path, depth: u32, found: &mut Vec<Device>) {
    // The container gets its own of these.
    const OWN: [&str; 8] = ["ptmx", "pts", "shm", "fd", "mqueue", "console", ".lxc", ".udev"];
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if OWN.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_dir() && depth < 8 => collect_devices(&path, depth + 1, found),
            Ok(metadata) => found.extend(device(&path, &metadata)),
            Err(_) => {}
        }
    }
}

fn device(path: &Path, metadata: &fs::Metadata) -> Option<Device> {
    let kind = metadata.file_type();
    let kind = if kind.is_char_device() {
        "c"
    } else if kind.is_block_device() {
        "b"
    } else {
        return None;
    };
    let number = metadata.rdev();
    Some(Device {
        path: path.to_string_lossy().into_owned(),
        kind: kind.into(),
        major: i64::from(rustix::fs::major(number)),
        minor: i64::from(rustix::fs::minor(number)),
        file_mode: Some(metadata.mode() & 0o7777),
        uid: Some(metadata.uid()),
        gid: Some(metadata.gid()),
    })
}

fn device_number(path: &str) -> io::Result<(i64, i64)> {
    let metadata = fs::metadata(path).map_err(|error| named(path, &error))?;
    let number = metadata.rdev();
    Ok((i64::from(rustix::fs::major(number)), i64::from(rustix::fs::minor(number))))
}
