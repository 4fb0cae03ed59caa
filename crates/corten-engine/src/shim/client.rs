use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use corten_shim::protocol::{self, Body, FromShim, Reply, Request, ToShim, files, wire};
use parking_lot::Mutex;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot};

use super::{
    Adopted, Attach, Create, Exec, ExitRecord, Failure, Process, ShimBinary, ShimError, ShimEvent,
    ShimEvents, ShimSpec, Size, Status, Target, lost,
};

/// How long a monitor may take between its daemon's `execve` and its own first answer, or to end.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long apart it is looked for.
const PAUSE: Duration = Duration::from_millis(5);

type Answer = Result<(Reply, Vec<OwnedFd>), ShimError>;

/// A connection to one monitor. Cheap to clone; the connection closes (and the monitor lives on) with the last clone.
#[derive(Clone, Debug)]
pub struct Shim(Arc<Handle>);

/// What the clones of a [`Shim`] share; the listening task holds the connection alone.
#[derive(Debug)]
struct Handle(Arc<Connection>);

#[derive(Debug)]
struct Connection {
    spec: ShimSpec,
    socket: AsyncFd<OwnedFd>,
    next: AtomicU64,
    /// `None` once the monitor is gone.
    waiting: Mutex<Option<HashMap<u64, oneshot::Sender<Answer>>>>,
    init: Mutex<Option<OwnedFd>>,
}

impl Shim {
    /// Executes a monitor. It does nothing yet: [`Shim::create`] comes next.
    pub async fn spawn(binary: &ShimBinary, spec: ShimSpec) -> Result<(Self, ShimEvents), ShimError> {
        let failed = |operation| {
            let id = spec.id.clone();
            move |source: io::Error| ShimError::Io { id, operation, source }
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (ours, theirs) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
            .map_err(|e| failed("socket pair")(e.into()))?;
        let lock = lock(&spec.exec_dir).and_then(|lock| lock.ok_or(io::ErrorKind::ResourceBusy.into()));
        let lock = lock.map_err(failed("lock the directory"))?;
        let child = Command::new(format!("/proc/self/fd/{}", binary.as_fd().as_raw_fd()))
            .arg0("corten-shim")
            .arg(&spec.id)
            .arg(&spec.exec_dir)
            .env_clear()
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::from(lock))
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed("execute"))?;
        Self::connect(spec, ours, Some(child))
    }

    /// Finds the monitor of a container whose daemon was restarted, or what it left. One that is on its way, or about to
    /// end, is waited for: with [`Adopted::Ended`] and [`Adopted::Gone`] nothing of the container is touched any more.
    pub async fn adopt(spec: ShimSpec) -> Result<Adopted, ShimError> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(socket) = dial(&spec.exec_dir.join(files::SOCKET)) {
                let (shim, events) = Self::connect(spec.clone(), socket, None)?;
                match shim.status().await {
                    Ok(status) => return Ok(Adopted::Living { shim, events, status: Box::new(status) }),
                    // It ended between the two.
                    Err(ShimError::Gone { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            match lock(&spec.exec_dir) {
                Ok(None) if Instant::now() < until => tokio::time::sleep(PAUSE).await,
                Ok(None) => return Err(ShimError::Silent { id: spec.id }),
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(ShimError::Io { id: spec.id, operation: "lock the directory", source });
                }
                // Free: what is on record now is final.
                Ok(Some(_)) | Err(_) => break,
            }
        }
        Ok(exit_record(&spec.exec_dir).map_or(Adopted::Gone, |record| Adopted::Ended(Box::new(record))))
    }

    fn connect(
        spec: ShimSpec,
        socket: OwnedFd,
        child: Option<Child>,
    ) -> Result<(Self, ShimEvents), ShimError> {
        let socket =
            crate::ready::watched(socket, Interest::READABLE | Interest::WRITABLE).map_err(|source| {
                ShimError::Io { id: spec.id.clone(), operation: "register the socket", source }
            })?;
        let connection = Arc::new(Connection {
            spec,
            socket,
            next: AtomicU64::new(1),
            waiting: Mutex::new(Some(HashMap::new())),
            init: Mutex::new(None),
        });
        let (news, events) = mpsc::unbounded_channel();
        tokio::spawn(listen(connection.clone(), news, child));
        Ok((Self(Arc::new(Handle(connection))), events))
    }

    /// The container's id.
    pub fn id(&self) -> &str {
        &self.0.0.spec.id
    }

    /// Makes the container up to its start gate; `rootfs` is the detached mount of its root file system.
    /// `config.json` (the OCI spec) must be in the bundle; `filter` is its filter, compiled.
    pub async fn create(
        &self,
        create: Create,
        rootfs: Option<OwnedFd>,
        filter: Option<BorrowedFd<'_>>,
    ) -> Result<Process, ShimError> {
        let create = Create { rootfs_fd: rootfs.is_some(), filter_fd: filter.is_some(), ..create };
        let fds: Vec<_> = rootfs.iter().map(AsFd::as_fd).chain(filter).collect();
        let process = self.process(Request::Create(create), &fds).await?;
        *self.0.0.init.lock() = process.pidfd.try_clone().ok();
        Ok(process)
    }

    /// Opens the start gate; returns when the user's program was executed, or with why it could not be.
    pub async fn start(&self) -> Result<(), ShimError> {
        self.ask(Request::Start, &[]).await.map(drop)
    }

    /// Runs one more process; `client` carries its stdio ([`Exec::attach`]).
    pub async fn exec(&self, exec: Exec, client: Option<OwnedFd>) -> Result<Process, ShimError> {
        self.process(Request::Exec(exec), client.as_ref().map(AsFd::as_fd).as_slice()).await
    }

    /// Connects a client's socket to the container's stdio.
    pub async fn attach(&self, attach: Attach, client: OwnedFd) -> Result<(), ShimError> {
        self.ask(Request::Attach(attach), &[client.as_fd()]).await.map(drop)
    }

    /// Sets the size of a terminal.
    pub async fn resize(&self, target: Target, size: Size) -> Result<(), ShimError> {
        self.ask(Request::Resize { target, size }, &[]).await.map(drop)
    }

    /// Ends the standard input of a process.
    pub async fn close_stdin(&self, target: Target) -> Result<(), ShimError> {
        self.ask(Request::CloseStdin { target }, &[]).await.map(drop)
    }

    /// Sends a signal to a process.
    pub async fn signal(&self, target: Target, signal: i32) -> Result<(), ShimError> {
        self.ask(Request::Signal { target, signal }, &[]).await.map(drop)
    }

    /// The monitor's whole state.
    pub async fn status(&self) -> Result<Status, ShimError> {
        match self.ask(Request::Status, &[]).await? {
            (Reply::Status(status), fds) => {
                if let Some(pidfd) = fds.into_iter().next() {
                    *self.0.0.init.lock() = Some(pidfd);
                }
                Ok(*status)
            }
            _ => Err(self.gone()),
        }
    }

    /// Closes and opens the log file again.
    pub async fn reopen_log(&self) -> Result<(), ShimError> {
        self.ask(Request::ReopenLog, &[]).await.map(drop)
    }

    /// Tells the monitor that the end of an exec is recorded.
    pub async fn ack(&self, exec_id: &str) -> Result<(), ShimError> {
        self.ask(Request::Ack { exec_id: exec_id.to_owned() }, &[]).await.map(drop)
    }

    /// Kills what lives and ends the monitor.
    pub async fn shutdown(&self) -> Result<(), ShimError> {
        self.ask(Request::Shutdown, &[]).await.map(drop)
    }

    async fn process(&self, request: Request, fds: &[BorrowedFd<'_>]) -> Result<Process, ShimError> {
        let (reply, fds) = self.ask(request, fds).await?;
        match (reply, fds.into_iter().next()) {
            (Reply::Created { pid }, Some(pidfd)) => Ok(Process { pid, pidfd }),
            _ => Err(self.gone()),
        }
    }

    async fn ask(&self, request: Request, fds: &[BorrowedFd<'_>]) -> Answer {
        let connection = &self.0.0;
        let id = connection.next.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        match connection.waiting.lock().as_mut() {
            Some(waiting) => waiting.insert(id, answer),
            None => return Err(self.gone()),
        };
        let message = ToShim { v: protocol::VERSION, id, request };
        let sent =
            connection.socket.async_io(Interest::WRITABLE, |socket| wire::send(socket, &message, fds)).await;
        if let Err(source) = sent {
            if let Some(waiting) = connection.waiting.lock().as_mut() {
                waiting.remove(&id);
            }
            if matches!(source.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) {
                return Err(self.gone());
            }
            return Err(ShimError::Io { id: self.id().to_owned(), operation: "send a request", source });
        }
        answered.await.unwrap_or_else(|_| Err(self.gone()))
    }

    fn gone(&self) -> ShimError {
        ShimError::Gone { id: self.id().to_owned() }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // Wakes the listening task, which then lets the connection go.
        rustix::net::shutdown(self.0.socket.get_ref(), rustix::net::Shutdown::Read).ok();
    }
}

/// Reads the monitor's messages until it is gone, then makes sure that the container's end is known.
async fn listen(connection: Arc<Connection>, news: mpsc::UnboundedSender<ShimEvent>, child: Option<Child>) {
    let id = connection.spec.id.clone();
    let mut exited = false;
    loop {
        match connection.socket.async_io(Interest::READABLE, |s| wire::receive(s.as_fd())).await {
            Ok(Some(mut packet)) => match packet.decode::<FromShim>() {
                Ok(FromShim { v, .. }) if v != protocol::VERSION => {
                    tracing::error!(container = id, version = v, "monitor of another version");
                    break;
                }
                Ok(FromShim { body: Body::Reply { id, result }, .. }) => {
                    let answer = result.map(|reply| (reply, std::mem::take(&mut packet.fds)));
                    let waiter = connection.waiting.lock().as_mut().and_then(|waiting| waiting.remove(&id));
                    if let Some(waiter) = waiter {
                        waiter.send(answer.map_err(refused)).ok();
                    }
                }
                Ok(FromShim { body: Body::Event(event), .. }) => {
                    exited |= matches!(event, ShimEvent::Exited(_));
                    news.send(event).ok();
                }
                Err(error) => tracing::error!(container = id, %error, "unreadable message of a monitor"),
            },
            Ok(None) => break,
            // It ended with a request of ours unread: an end like any other.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(error) => {
                tracing::error!(container = id, %error, "connection to a monitor");
                break;
            }
        }
    }
    connection.waiting.lock().take();
    let init = connection.init.lock().take();
    // Nobody holds the connection any more: the daemon let the monitor go on its own.
    let abandoned = Arc::strong_count(&connection) == 1 && news.is_closed();
    if let (false, false, Some(init)) = (exited, abandoned, init) {
        let exit = lost::container(&connection.spec, init).await;
        news.send(ShimEvent::Exited(exit)).ok();
    }
    if let Some(mut child) = child {
        // The socket's end precedes the process's end by a moment; a monitor that lingers for a slow client longer.
        tokio::task::spawn_blocking(move || child.wait()).await.ok();
    }
}

fn refused(failure: Failure) -> ShimError {
    ShimError::Refused(failure)
}

/// Connects to a monitor's socket; `None` when nobody listens there.
fn dial(path: &Path) -> Option<OwnedFd> {
    // The path may be longer than a socket address holds: it is reached through its directory's descriptor.
    let directory = rustix::fs::open(
        path.parent()?,
        rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )
    .ok()?;
    let short = format!("/proc/self/fd/{}/{}", directory.as_raw_fd(), path.file_name()?.to_str()?);
    let address = SocketAddrUnix::new(short).ok()?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).ok()?;
    rustix::net::connect(&socket, &address).ok()?;
    Some(socket)
}

/// Takes the lock that a monitor holds on its container's directory while it owns the container; `None` while one does.
/// The lock belongs to the open file, so a process inherits it before it runs and it ends with its last holder.
fn lock(exec_dir: &Path) -> io::Result<Option<OwnedFd>> {
    let directory = std::fs::File::open(exec_dir)?;
    match rustix::fs::flock(&directory, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(directory.into())),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The record of the container's end, if the monitor wrote one.
pub fn exit_record(exec_dir: &Path) -> Option<ExitRecord> {
    let text = std::fs::read(exec_dir.join(files::EXIT)).ok()?;
    serde_json::from_slice(&text).ok()
}
