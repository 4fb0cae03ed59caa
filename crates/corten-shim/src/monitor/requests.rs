//! What each request does in each state.

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Instant;

use rustix::event::epoll::EventFlags;

use super::client::{Client, Framing};
use super::launch::{self, Launched, failure, internal};
use super::poller::Token;
use super::process::{End, Input, Output, Process, Stdio};
use super::{IDLE, INIT, Monitor, Phase, Source, record};
use crate::clock;
use crate::log::Log;
use crate::protocol::{
    self, Attach, Body, Create, Exec, Failure, FailureClass, PidRecord, Reply, Request, Size, Streams,
    Target, ToShim, files, wire,
};

type Answer = Result<(Reply, Option<OwnedFd>), Failure>;

impl Monitor {
    /// Answers one packet of a daemon.
    pub(super) fn answer(&mut self, daemon: Token, mut packet: wire::Packet) {
        let message = match packet.decode::<ToShim>() {
            Ok(message) if message.v == protocol::VERSION => message,
            // Another version's daemon: it sees ours in the reply and lets us be.
            Ok(ToShim { id, .. }) => {
                let result = Err(failure(FailureClass::Invalid, "another version of the protocol".into()));
                return self.send(daemon, Body::Reply { id, result }, &[]);
            }
            Err(_) => return self.drop_daemon(daemon),
        };
        // What was read is not needed while a container is made.
        let fds = std::mem::take(&mut packet.fds).into_iter();
        drop(packet);
        let (result, fd) = match self.handle(message.request, fds) {
            Ok((reply, fd)) => (Ok(reply), fd),
            Err(failure) => (Err(failure), None),
        };
        let fds: Vec<_> = fd.iter().map(OwnedFd::as_fd).collect();
        self.send(daemon, Body::Reply { id: message.id, result }, &fds);
        self.idle_at = Some(Instant::now() + IDLE);
    }

    fn handle(&mut self, request: Request, mut fds: impl Iterator<Item = OwnedFd>) -> Answer {
        let done = Ok((Reply::Done, None));
        match request {
            Request::Create(create) => {
                let rootfs = create.rootfs_fd.then(|| fds.next()).flatten();
                let filter = create.filter_fd.then(|| fds.next()).flatten();
                self.create(create, rootfs, filter)
            }
            Request::Start => self.start().and(done),
            Request::Exec(exec) => self.exec(exec, fds.next()),
            Request::Attach(attach) => self.attach(attach, fds.next()).and(done),
            Request::Resize { target, size } => self.resize(&target, size).and(done),
            Request::CloseStdin { target } => {
                let key = self.find(&target)?;
                self.write_input(key, Input::end);
                done
            }
            Request::Signal { target, signal } => self.signal(&target, signal).and(done),
            Request::Status => {
                let pidfd =
                    self.init_pidfd().map(|fd| fd.try_clone_to_owned()).transpose().map_err(internal)?;
                Ok((Reply::Status(Box::new(self.status())), pidfd))
            }
            Request::ReopenLog => match &mut self.log {
                Some(log) => log.reopen().map_err(internal).and(done),
                None => done,
            },
            Request::Ack { exec_id } => {
                self.acknowledge(&exec_id);
                done
            }
            Request::Shutdown => {
                match self.processes.get(&INIT) {
                    Some(init) if matches!(self.phase, Phase::Created(_) | Phase::Running { .. }) => {
                        corten_sys::process::send_signal(&init.pidfd, libc::SIGKILL).ok();
                    }
                    _ => {
                        self.leave();
                        self.finished = true;
                    }
                }
                done
            }
        }
    }

    fn create(&mut self, create: Create, rootfs: Option<OwnedFd>, filter: Option<OwnedFd>) -> Answer {
        let whole = create.rootfs_fd == rootfs.is_some() && create.filter_fd == filter.is_some();
        if !matches!(self.phase, Phase::Empty) || !whole {
            return Err(failure(FailureClass::Conflict, "the container is made already".into()));
        }
        record::remove(&self.directory, files::EXIT);
        let log = Log::open(&create.log)
            .map_err(|error| failure(FailureClass::Runtime, format!("failed to create logger: {error}")))?;
        let (launched, gate, settings) = launch::create(&self.id, &create, rootfs, filter)?;
        let pidfd = launched.pidfd.try_clone().map_err(internal)?;
        let pid = launched.pid;
        self.log = log;
        self.memory_events = launch::memory_events(&settings);
        self.settings = Some(settings);
        self.phase = Phase::Created(Some(gate));
        self.add_process(Target::Init, launched)?;
        if let Some(events) = self.memory_events.take() {
            let token = self.token(Source::Memory);
            self.poller.watch(token, &events, EventFlags::IN | EventFlags::PRI).ok();
            self.memory_events = Some(events);
        }
        let monitor = rustix::process::getpid().as_raw_nonzero().get();
        let pids = PidRecord { monitor, init: Some(pid) };
        record::write(&self.directory, files::PID, &pids).map_err(internal)?;
        Ok((Reply::Created { pid }, Some(pidfd)))
    }

    fn start(&mut self) -> Result<(), Failure> {
        let Phase::Created(gate) = &mut self.phase else {
            return Err(failure(FailureClass::Conflict, "the container is not waiting to be started".into()));
        };
        let gate =
            gate.take().ok_or_else(|| failure(FailureClass::Conflict, "the container was started".into()))?;
        let started_at = clock::now();
        launch::start(gate, self.settings.as_ref())?;
        self.phase = Phase::Running { started_at };
        Ok(())
    }

    fn exec(&mut self, exec: Exec, client: Option<OwnedFd>) -> Answer {
        let stopped = || failure(FailureClass::Conflict, "the container does not run".into());
        if !matches!(self.phase, Phase::Running { .. }) || exec.attach.is_some() != client.is_some() {
            return Err(stopped());
        }
        if self.ended.contains_key(&exec.exec_id) || self.find(&Target::Exec(exec.exec_id.clone())).is_ok() {
            return Err(failure(FailureClass::Conflict, "the exec has run already".into()));
        }
        let (Some(settings), Some(init)) = (&self.settings, self.init_pidfd()) else { return Err(stopped()) };
        let launched = launch::exec(&self.id, settings, init, &exec)?;
        let pidfd = launched.pidfd.try_clone().map_err(internal)?;
        let pid = launched.pid;
        let key = self.add_process(Target::Exec(exec.exec_id), launched)?;
        if let (Some(client), Some(streams)) = (client, exec.attach) {
            self.add_client(key, client, streams, framing(exec.raw.unwrap_or(exec.tty)), None)?;
        }
        Ok((Reply::Created { pid }, Some(pidfd)))
    }

    fn attach(&mut self, attach: Attach, client: Option<OwnedFd>) -> Result<(), Failure> {
        let (Some(settings), Some(client), Phase::Created(_) | Phase::Running { .. }) =
            (&self.settings, client, &self.phase)
        else {
            return Err(failure(FailureClass::Conflict, "the container does not run".into()));
        };
        let framing = framing(settings.tty);
        let spool = settings.spool_dir.clone();
        self.add_client(INIT, client, attach.streams, framing, Some(spool))
    }

    fn resize(&mut self, target: &Target, size: Size) -> Result<(), Failure> {
        let key = self.find(target)?;
        match self.processes.get(&key).map(|p| p.stdio.resize(size)) {
            Some(Ok(true)) => Ok(()),
            Some(Err(error)) => Err(internal(error)),
            // Docker resizes what is no terminal without a complaint.
            Some(Ok(false)) | None => Ok(()),
        }
    }

    fn signal(&mut self, target: &Target, signal: i32) -> Result<(), Failure> {
        let key = self.find(target)?;
        let Some(process) = self.processes.get(&key).filter(|p| p.end == End::No) else {
            return Err(failure(FailureClass::NotFound, "the process has ended".into()));
        };
        if let (INIT, Some(result)) = (key, self.settings.as_ref().and_then(|s| launch::kill(s, signal))) {
            return result;
        }
        corten_sys::process::send_signal(&process.pidfd, signal).map_err(|error| {
            let class = match error.raw_os_error() {
                Some(libc::ESRCH) => FailureClass::NotFound,
                Some(libc::EINVAL) => FailureClass::Invalid,
                _ => FailureClass::Internal,
            };
            failure(class, error.to_string())
        })
    }

    fn find(&self, target: &Target) -> Result<u32, Failure> {
        let found = self.processes.iter().find(|(_, process)| process.target == *target);
        found
            .map(|(key, _)| *key)
            .ok_or_else(|| failure(FailureClass::NotFound, "there is no such process".into()))
    }

    fn add_process(&mut self, target: Target, launched: Launched) -> Result<u32, Failure> {
        let key = self.next_process;
        self.next_process += 1;
        let mut stdio = Stdio { console: launched.console, ..Stdio::default() };
        for (fd, stream) in launched.outputs {
            let token = self.token(Source::Output(key));
            self.poller.watch(token, &fd, EventFlags::IN).map_err(internal)?;
            stdio.outputs.push(Output { token, fd, stream });
        }
        if let Some(fd) = launched.input {
            let token = self.token(Source::Input(key));
            stdio.input = Some(Input::new(token, fd));
        }
        let process = Process { target, pid: launched.pid, pidfd: launched.pidfd, stdio, end: End::No };
        self.processes.insert(key, process);
        Ok(key)
    }

    fn add_client(
        &mut self,
        key: u32,
        socket: OwnedFd,
        streams: Streams,
        framing: Framing,
        spool: Option<std::path::PathBuf>,
    ) -> Result<(), Failure> {
        let client = Client::new(socket, streams, framing, spool);
        let token = self.token(Source::Client(key));
        self.poller.watch(token, &client, client.interest(true)).map_err(internal)?;
        self.clients.insert(token, client);
        Ok(())
    }
}

fn framing(tty: bool) -> Framing {
    if tty { Framing::Raw } else { Framing::Multiplexed }
}
