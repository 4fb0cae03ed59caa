//! Containers of build steps: one program, run to its end on a tree that belongs to the build.
//!
//! A step is no container that anybody can name: it has no record, no owner task and no log. Its objects in the kernel
//! are named after its id as a container's are, and the id stands in the registry while the step runs, so that the
//! sweeper leaves them alone; after a daemon that died they belong to nobody and are swept.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::sync::Arc;

use corten_api::container::{Config, HostConfig};
use corten_sys::path::Root;
use corten_types::{ContainerId, Platform};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::record::Record;
use super::start::{Mounted, cgroup_path, cgroups_path, delete_cgroup, make_bundle, read_text, start_error};
use super::{ContainerError, Containers, Shared, create, endpoint, merge, user, validate};
use crate::shim::{Attach, Create, LogConfig, Shim, ShimEvent, ShimEvents, ShimSpec, Streams};

/// The largest piece of output that is given on at once.
const PIECE: usize = 32 << 10;

/// A program that a build runs.
pub struct StepContainer {
    /// The id; that of the step's snapshot too.
    pub id: ContainerId,
    /// The root file system, a detached mount.
    pub rootfs: OwnedFd,
    /// User, environment, working directory; the command is in `cmd`.
    pub config: Config,
    /// Network and limits.
    pub host: HostConfig,
}

/// A piece of a step's output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepOutput {
    /// Standard output.
    Stdout(Vec<u8>),
    /// Standard error.
    Stderr(Vec<u8>),
}

impl Containers {
    /// Runs a step to its end and gives its exit code. When `cancel` fires, it is killed. Nothing of it is left when
    /// this returns.
    pub async fn run_step(
        &self,
        step: StepContainer,
        output: mpsc::Sender<StepOutput>,
        cancel: &CancellationToken,
    ) -> Result<i64, ContainerError> {
        let shared = &self.shared;
        let StepContainer { id, rootfs, mut config, mut host } = step;
        host.restart_policy.name = "no".into();
        validate::config(&mut config)?;
        validate::host_config(&mut host, &shared.facts)?;
        merge::with_defaults(&mut host, &shared.facts, &shared.config)?;
        let (path, args) = merge::command(&config)?;
        create::set_hostname(&mut config, &host, id.short(), shared);
        let name = create::reserve(shared, "", id.as_str())?;
        let _named = Named { shared, name: &name, id: id.as_str() };
        let record = Record {
            id: id.as_str().to_owned(),
            name: name.clone(),
            created: jiff::Timestamp::now(),
            path,
            args,
            image: String::new(),
            manifest: None,
            platform: Platform::host(),
            networks: create::endpoints(&host, BTreeMap::new()),
            config,
            host,
            mounts: Vec::new(),
            anonymous_volumes: Vec::new(),
            unlimited_pids: false,
        };
        let folder = shared.paths.container(&record.id);
        create::make_folder(&folder)?;
        let ended = self.run_record(&record, rootfs, output, cancel).await;
        shared.networks.detach(&record.id).await;
        delete_cgroup(&cgroup_path(shared, &record));
        let _ = fs::remove_dir_all(shared.paths.container_exec(&record.id));
        let _ = fs::remove_dir_all(folder);
        ended
    }

    async fn run_record(
        &self,
        record: &Record,
        rootfs: OwnedFd,
        output: mpsc::Sender<StepOutput>,
        cancel: &CancellationToken,
    ) -> Result<i64, ContainerError> {
        let shared = &self.shared;
        let root = Root::new(rootfs.as_fd());
        let (passwd, group) = (read_text(root, "/etc/passwd"), read_text(root, "/etc/group"));
        let user = user::resolve(&record.config.user, &[], &passwd, &group)?;
        let sandbox = shared.networks.attach(&endpoint::request(shared, record)).await?;
        let cgroup = cgroup_path(shared, record);
        let mounted = Mounted { rootfs, user, mounts: Vec::new(), userns: None };
        let bundle = make_bundle(shared, record, &mounted, &sandbox, &cgroups_path(shared, record))?;
        let exec_dir = shared.paths.container_exec(&record.id);
        let failed =
            |source: io::Error| ContainerError::io(format!("prepare {}", exec_dir.display()), source);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&exec_dir).map_err(failed)?;
        let described = bundle.write(&exec_dir).map_err(failed)?;
        let spec = ShimSpec { id: record.id.clone(), exec_dir: exec_dir.clone(), cgroup: Some(cgroup) };
        let (shim, news) = Shim::spawn(shared.binary()?, spec).await?;
        let create = Create {
            bundle: exec_dir.clone(),
            rootfs_fd: true,
            spec: described,
            filter_fd: false,
            log: LogConfig::None,
            tty: false,
            size: None,
            open_stdin: false,
            stdin_once: false,
            spool_dir: shared.paths.container(&record.id),
            runtime: None,
        };
        let ended = run_init(&shim, news, (create, mounted.rootfs, bundle.program()), output, cancel).await;
        // It may be gone already, which is what is wanted.
        let _ = shim.shutdown().await;
        ended
    }
}

/// The name that keeps a step's id in the registry.
struct Named<'a> {
    shared: &'a Arc<Shared>,
    name: &'a str,
    id: &'a str,
}

impl Drop for Named<'_> {
    fn drop(&mut self) {
        self.shared.release_name(self.name, self.id);
    }
}

async fn run_init(
    shim: &Shim,
    mut news: ShimEvents,
    (create, rootfs, filter): (Create, OwnedFd, Option<BorrowedFd<'_>>),
    output: mpsc::Sender<StepOutput>,
    cancel: &CancellationToken,
) -> Result<i64, ContainerError> {
    shim.create(create, Some(rootfs), filter).await.map_err(start_error)?;
    let pair = || -> io::Result<(tokio::net::UnixStream, OwnedFd)> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        Ok((tokio::net::UnixStream::from_std(ours)?, theirs.into()))
    };
    let (stream, theirs) = pair().map_err(|source| ContainerError::io("make a socket pair", source))?;
    let streams = Streams { stdin: false, stdout: true, stderr: true, detach_keys: Vec::new() };
    shim.attach(Attach { streams }, theirs).await?;
    shim.start().await.map_err(start_error)?;
    let ended = async {
        loop {
            match news.recv().await {
                Some(ShimEvent::Exited(exit)) => break i64::from(exit.code),
                Some(_) => {}
                None => break 137,
            }
        }
    };
    let killed = async {
        cancel.cancelled().await;
        let _ = shim.shutdown().await;
        // Its end comes as news, like any other.
        std::future::pending::<()>().await;
    };
    // The monitor closes its clients once they have had everything.
    let finished = async { tokio::join!(ended, relay(stream, output)).0 };
    tokio::select! {
        code = finished => Ok(code),
        () = killed => Ok(137),
    }
}

/// Gives the frames of an attachment on: one byte stream number, three zeros, four bytes length, data.
async fn relay(mut stream: impl AsyncRead + Unpin, output: mpsc::Sender<StepOutput>) {
    let mut header = [0_u8; 8];
    while stream.read_exact(&mut header).await.is_ok() {
        let mut left = u32::from_be_bytes([header[4], header[5], header[6], header[7]]) as usize;
        while left > 0 {
            let mut piece = vec![0; left.min(PIECE)];
            if stream.read_exact(&mut piece).await.is_err() {
                return;
            }
            left -= piece.len();
            let piece = if header[0] == 2 { StepOutput::Stderr(piece) } else { StepOutput::Stdout(piece) };
            // Nobody listens any more; the program still has to be read to its end.
            let _ = output.send(piece).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_become_pieces_of_their_stream() {
        let mut bytes = vec![1, 0, 0, 0, 0, 0, 0, 3];
        bytes.extend(b"out");
        bytes.extend([2, 0, 0, 0, 0, 0, 0, 2]);
        bytes.extend(b"no");
        bytes.extend([1, 0, 0, 0, 0, 0, 0, 9, b'c']);
        let (sender, mut pieces) = mpsc::channel(8);
        relay(&bytes[..], sender).await;
        assert_eq!(pieces.recv().await, Some(StepOutput::Stdout(b"out".to_vec())));
        assert_eq!(pieces.recv().await, Some(StepOutput::Stderr(b"no".to_vec())));
        assert_eq!(pieces.recv().await, None);
    }
}
