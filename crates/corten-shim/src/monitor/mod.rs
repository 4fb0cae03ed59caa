//! The monitor: one process, one thread, one container.
//!
//! ```text
//!          requests, replies, events                    SIGCHLD
//!  daemons ◀──────────────▶ ┌──────────┐ ◀───────────── children
//!  (any number, any time)   │ Monitor  │ ──▶ log file
//!                           │  epoll   │ ──▶ exit.json
//!  clients ◀── stdio ─────▶ └──────────┘ ◀── stdio ───▶ init, execs
//! ```
//!
//! ```text
//!  Empty ── create ──▶ Created ── start ──▶ Running ── init ended ──▶ Exited ── clients served ──▶ (the monitor ends)
//!    └──── no daemon left ────┴──▶ (the monitor ends)
//! ```
//!
//! Invariants:
//! * nothing a client or a daemon does (or does not do) blocks the container, except that an exec waits for its own
//!   client, and init for a client that reads slowly but reads ([`client::PATIENCE`]);
//! * how init ended is on disk before it is told;
//! * at rest it holds no buffers, no parsed specification, no threads, and no stack that it used while it was busy;
//! * while the directory is locked, a monitor owns the container; once it is not, none will touch anything of it;
//! * a monitor is never in its container's cgroup, and its descriptors are all close-on-exec.
//!
//! It refuses to decide: what an exit means (restart, removal) is the daemon's business.

mod client;
mod escape;
mod filter;
mod foreign;
mod launch;
mod poller;
mod process;
mod queue;
mod record;
mod requests;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;

use crate::clock;
use crate::log::{Log, Stream};
use crate::protocol::{
    self, Body, Event, ExecState, Exit, ExitRecord, FromShim, ShimState, Status, Target, files, wire,
};
use client::{Client, Input as ClientInput};
use poller::{Poller, Token};
use process::{DRAIN, End, Process, Written};

/// How long buffers are kept after the last activity.
const IDLE: Duration = Duration::from_millis(500);
/// How much is read from a stream at once.
const CHUNK: usize = 64 << 10;
/// How many chunks of one stream are read before others get their turn.
const TURNS: usize = 8;

/// What a [`Token`] stands for.
#[derive(Debug, Clone, Copy)]
enum Source {
    Signals,
    Listener,
    Daemon,
    Output(u32),
    Input(u32),
    Client(u32),
    Memory,
}

/// The number of init among the processes; execs count on from it.
const INIT: u32 = 0;

/// Where the container stands.
#[derive(Debug)]
enum Phase {
    Empty,
    Created(Option<launch::Gate>),
    Running { started_at: u64 },
    Exited(Exit),
}

/// An exec that ended.
#[derive(Debug, Clone, Copy)]
struct Ended {
    exit: Exit,
    /// Its number among the processes, which its clients still carry.
    process: u32,
}

/// See the [module](self).
pub struct Monitor {
    id: String,
    directory: PathBuf,
    poller: Poller,
    sources: BTreeMap<Token, Source>,
    signals: corten_sys::signals::SignalFd,
    listener: Option<OwnedFd>,
    /// The container's directory, locked.
    lock: OwnedFd,
    daemons: BTreeMap<Token, OwnedFd>,
    phase: Phase,
    processes: BTreeMap<u32, Process>,
    next_process: u32,
    /// Ends of execs that no daemon acknowledged.
    ended: BTreeMap<String, Ended>,
    clients: BTreeMap<Token, Client>,
    log: Option<Log>,
    settings: Option<launch::Settings>,
    oom: bool,
    memory_events: Option<OwnedFd>,
    /// The read buffer; empty at rest.
    buffer: Vec<u8>,
    /// When buffers are given back; `None` when there are none.
    idle_at: Option<Instant>,
    finished: bool,
}

impl Monitor {
    /// A monitor for container `id`, whose first daemon is at the other end of `daemon`.
    ///
    /// `lock` is the directory, locked by the daemon (flock(2)) before it made this process: so a daemon that finds the
    /// lock free knows that no monitor is on its way either.
    pub fn new(
        id: String,
        directory: PathBuf,
        daemon: OwnedFd,
        lock: OwnedFd,
        listener: OwnedFd,
    ) -> io::Result<Self> {
        let signals = corten_sys::signals::SignalFd::new(&[
            libc::SIGCHLD,
            libc::SIGHUP,
            libc::SIGINT,
            libc::SIGQUIT,
            libc::SIGTERM,
        ])?;
        let mut monitor = Self {
            id,
            directory,
            poller: Poller::new()?,
            sources: BTreeMap::new(),
            signals,
            listener: None,
            lock,
            daemons: BTreeMap::new(),
            phase: Phase::Empty,
            processes: BTreeMap::new(),
            next_process: INIT,
            ended: BTreeMap::new(),
            clients: BTreeMap::new(),
            log: None,
            settings: None,
            oom: false,
            memory_events: None,
            buffer: Vec::new(),
            idle_at: None,
            finished: false,
        };
        let token = monitor.token(Source::Signals);
        monitor.poller.watch(token, &monitor.signals, EventFlags::IN)?;
        let token = monitor.token(Source::Listener);
        monitor.poller.watch(token, &listener, EventFlags::IN)?;
        monitor.listener = Some(listener);
        monitor.add_daemon(daemon)?;
        Ok(monitor)
    }

    /// Serves until the container has ended and nobody waits for anything of it.
    pub fn run(mut self) -> io::Result<()> {
        while !self.finished {
            for (token, flags) in self.poller.wait(self.timeout())? {
                self.dispatch(token, flags);
            }
            self.settle();
        }
        Ok(())
    }

    fn token(&mut self, source: Source) -> Token {
        let token = self.poller.token();
        self.sources.insert(token, source);
        token
    }

    fn dispatch(&mut self, token: Token, flags: EventFlags) {
        match self.sources.get(&token).copied() {
            Some(Source::Signals) => self.reap(),
            Some(Source::Listener) => self.accept(),
            Some(Source::Daemon) => self.read_daemon(token),
            Some(Source::Output(process)) => self.read_output(process, token),
            Some(Source::Input(process)) => self.write_input(process, |input| input.flush()),
            Some(Source::Client(process)) => self.serve_client(process, token, flags),
            Some(Source::Memory) => self.memory_ran_out(),
            None => {}
        }
    }

    // Daemons.

    fn add_daemon(&mut self, socket: OwnedFd) -> io::Result<()> {
        let token = self.token(Source::Daemon);
        self.poller.watch(token, &socket, EventFlags::IN)?;
        self.daemons.insert(token, socket);
        Ok(())
    }

    fn accept(&mut self) {
        let Some(listener) = &self.listener else { return };
        let flags = rustix::net::SocketFlags::CLOEXEC | rustix::net::SocketFlags::NONBLOCK;
        let Ok(socket) = rustix::net::accept_with(listener, flags) else { return };
        let own = rustix::process::geteuid();
        if rustix::net::sockopt::socket_peercred(&socket)
            .is_ok_and(|peer| peer.uid == own || peer.uid.is_root())
        {
            self.add_daemon(socket).ok();
        }
    }

    fn read_daemon(&mut self, token: Token) {
        // A request may end the connection, or the monitor.
        while let Some(socket) = self.daemons.get(&token) {
            match wire::receive(socket) {
                Ok(Some(packet)) => self.answer(token, packet),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Ok(None) | Err(_) => self.drop_daemon(token),
            }
        }
    }

    fn drop_daemon(&mut self, token: Token) {
        if let Some(socket) = self.daemons.remove(&token) {
            self.poller.forget(token, &socket);
            self.sources.remove(&token);
        }
    }

    /// Sends to one daemon. One that does not read is let go: it gets everything again from [`Status`].
    fn send(&mut self, token: Token, body: Body, fds: &[BorrowedFd<'_>]) {
        let Some(socket) = self.daemons.get(&token) else { return };
        if wire::send(socket, &FromShim { v: protocol::VERSION, body }, fds).is_err() {
            self.drop_daemon(token);
        }
    }

    fn tell(&mut self, event: &Event) {
        let tokens: Vec<Token> = self.daemons.keys().copied().collect();
        for token in tokens {
            self.send(token, Body::Event(event.clone()), &[]);
        }
    }

    // Processes.

    /// Collects every ended child, the container's orphans included.
    fn reap(&mut self) {
        while let Ok(Some(_)) = self.signals.take() {}
        while let Ok(Some((pid, status))) = rustix::process::wait(rustix::process::WaitOptions::NOHANG) {
            let pid = pid.as_raw_nonzero().get();
            let signal = status.terminating_signal();
            let code = status.exit_status().unwrap_or_else(|| 128 + signal.unwrap_or(libc::SIGKILL));
            let found = self.processes.iter_mut().find(|(_, p)| p.pid == pid && p.end == End::No);
            if let Some((&key, process)) = found {
                let exit = Exit { code, signal, oom: false, at: clock::now() };
                process.end = End::Draining(exit, Instant::now() + DRAIN);
                if key == INIT {
                    self.init_ended(exit);
                }
            }
        }
    }

    /// Init is gone: so is the container. Its end is written down before anything else can happen to us.
    fn init_ended(&mut self, mut exit: Exit) {
        self.look_for_oom();
        exit.oom = self.oom;
        if let Some(init) = self.processes.get_mut(&INIT) {
            init.end = End::Draining(exit, Instant::now() + DRAIN);
        }
        self.record_exit(exit);
        if let Some(settings) = &self.settings
            && settings.shares_pids
        {
            launch::kill_rest(settings);
        }
        for process in self.processes.values() {
            if process.end == End::No {
                corten_sys::process::send_signal(&process.pidfd, libc::SIGKILL).ok();
            }
        }
    }

    fn record_exit(&self, exit: Exit) {
        let started_at = match self.phase {
            Phase::Running { started_at } => Some(started_at),
            _ => None,
        };
        let execs = self.ended.iter().map(|(id, ended)| (id.clone(), ended.exit)).collect();
        let record = ExitRecord { v: protocol::VERSION, exit, started_at, execs };
        record::write(&self.directory, files::EXIT, &record).ok();
    }

    fn look_for_oom(&mut self) {
        if !self.oom && self.settings.as_ref().is_some_and(launch::oom_killed) {
            self.oom = true;
            self.tell(&Event::Oom);
        }
    }

    fn memory_ran_out(&mut self) {
        if let Some(events) = &self.memory_events {
            // v1: the eventfd's counter; v2's file needs no reading.
            rustix::io::read(events, &mut [0_u8; 8]).ok();
        }
        self.look_for_oom();
    }

    // Streams.

    fn read_output(&mut self, key: u32, token: Token) {
        for _ in 0..TURNS {
            if self.buffer.is_empty() {
                self.buffer = vec![0; CHUNK];
            }
            let Some(process) = self.processes.get(&key) else { return };
            let Some(output) = process.stdio.outputs.iter().find(|o| o.token == token) else { return };
            let stream = output.stream;
            match rustix::io::read(&output.fd, &mut self.buffer[..]) {
                Ok(0) => return self.output_ended(key, token),
                Ok(count) => {
                    self.deliver(key, stream, count);
                    if count < CHUNK || self.held_up(key) {
                        return;
                    }
                }
                Err(Errno::AGAIN | Errno::INTR) => return,
                // EIO: the last slave of a terminal was closed.
                Err(_) => return self.output_ended(key, token),
            }
        }
    }

    /// Hands the first `count` bytes of the buffer to the log and to whoever is attached.
    fn deliver(&mut self, key: u32, stream: Stream, count: usize) {
        let data = &self.buffer[..count];
        if key == INIT
            && let Some(log) = &mut self.log
        {
            log.write(stream, data);
        }
        for (token, client) in &mut self.clients {
            if matches!(self.sources.get(token), Some(Source::Client(of)) if *of == key) {
                client.offer(stream, data);
            }
        }
        self.idle_at = Some(Instant::now() + IDLE);
    }

    fn output_ended(&mut self, key: u32, token: Token) {
        let Some(process) = self.processes.get_mut(&key) else { return };
        let Some(at) = process.stdio.outputs.iter().position(|o| o.token == token) else { return };
        let output = process.stdio.outputs.remove(at);
        self.poller.forget(token, &output.fd);
        self.sources.remove(&token);
        if key == INIT
            && let Some(log) = &mut self.log
        {
            log.end(output.stream);
        }
    }

    fn held_up(&self, key: u32) -> bool {
        self.clients_of(key).any(|(_, client)| client.holds_up())
    }

    fn clients_of(&self, key: u32) -> impl Iterator<Item = (Token, &Client)> {
        self.clients.iter().filter_map(move |(token, client)| match self.sources.get(token) {
            Some(Source::Client(of)) if *of == key => Some((*token, client)),
            _ => None,
        })
    }

    fn write_input(&mut self, key: u32, write: impl FnOnce(&mut process::Input) -> Written) {
        let Some(process) = self.processes.get_mut(&key) else { return };
        let Some(input) = &mut process.stdio.input else { return };
        if write(input) == Written::Finished {
            self.poller.forget(input.token, &input.fd);
            self.sources.remove(&input.token);
            process.stdio.input = None;
        }
    }

    fn serve_client(&mut self, key: u32, token: Token, flags: EventFlags) {
        if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            self.read_client(key, token);
        }
        let Some(client) = self.clients.get_mut(&token) else { return };
        client.flush();
        if flags.intersects(EventFlags::HUP | EventFlags::ERR) {
            client.hang_up();
        }
    }

    fn read_client(&mut self, key: u32, token: Token) {
        for _ in 0..TURNS {
            let Some(client) = self.clients.get_mut(&token).filter(|c| c.has_input()) else { return };
            let room = match self.processes.get(&key).and_then(|p| p.stdio.input.as_ref()) {
                Some(input) => input.room(),
                // Nobody reads it: it is taken and dropped, so that its end is seen.
                None => CHUNK,
            };
            if room == 0 {
                return;
            }
            if self.buffer.is_empty() {
                self.buffer = vec![0; CHUNK];
            }
            self.idle_at = Some(Instant::now() + IDLE);
            match client.read(&mut self.buffer[..room.min(CHUNK)]) {
                ClientInput::Nothing => return,
                ClientInput::End => return self.client_input_ended(key, token),
                ClientInput::Bytes(bytes) => self.write_input(key, |input| input.push(&bytes)),
                ClientInput::Detach(bytes) => {
                    self.write_input(key, |input| input.push(&bytes));
                    if let Some(process) = self.processes.get(&key) {
                        let target = process.target.clone();
                        self.tell(&Event::Detached { target });
                    }
                    return;
                }
            }
        }
    }

    /// As Docker does: the end of a client's input ends the process's input where that is wanted and there is no
    /// terminal; else it ends the attachment.
    fn client_input_ended(&mut self, key: u32, token: Token) {
        let Some(process) = self.processes.get(&key) else { return };
        let closes = key != INIT || self.settings.as_ref().is_some_and(|s| s.stdin_once);
        if closes && process.stdio.console.is_none() {
            self.write_input(key, process::Input::end);
        } else if let Some(client) = self.clients.get_mut(&token) {
            client.close();
        }
    }

    // After each round.

    fn settle(&mut self) {
        let now = Instant::now();
        self.finish_processes(now);
        if self.daemons.is_empty() || matches!(self.phase, Phase::Exited(_)) {
            // Nobody will acknowledge, or needs to: it is in the record.
            let ended: Vec<u32> = self.ended.values().map(|ended| ended.process).collect();
            ended.into_iter().for_each(|process| self.close_clients(process));
        }
        for client in self.clients.values_mut() {
            client.cut_if_stuck(now);
        }
        let gone: Vec<Token> =
            self.clients.iter().filter(|(_, c)| c.is_gone()).map(|(token, _)| *token).collect();
        for token in gone {
            if let Some(client) = self.clients.remove(&token) {
                self.poller.forget(token, &client);
                self.sources.remove(&token);
            }
        }
        self.watch_streams();
        if self.idle_at.is_some_and(|at| at <= now) {
            self.idle_at = None;
            self.buffer = Vec::new();
            if let Some(log) = &mut self.log {
                log.shrink();
            }
            // Only a wish: what was touched once would stay with every monitor.
            corten_sys::memory::release_stack().ok();
        }
        self.finished |= match self.phase {
            Phase::Empty => self.daemons.is_empty(),
            Phase::Created(_) => self.daemons.is_empty() && self.abandon(),
            Phase::Running { .. } => false,
            Phase::Exited(_) => self.clients.is_empty(),
        };
    }

    /// Takes back a container that nobody started: its daemon is gone, and the next one starts anew. Always true.
    fn abandon(&mut self) -> bool {
        if let Some(init) = self.processes.get(&INIT) {
            corten_sys::process::send_signal(&init.pidfd, libc::SIGKILL).ok();
            rustix::process::waitid(
                rustix::process::WaitId::PidFd(init.pidfd.as_fd()),
                rustix::process::WaitIdOptions::EXITED,
            )
            .ok();
        }
        if let Some(settings) = &self.settings {
            launch::delete_cgroup(settings);
        }
        self.leave();
        true
    }

    /// Tells the end of each process whose output is over, execs first.
    fn finish_processes(&mut self, now: Instant) {
        let over: Vec<(u32, Exit)> = self
            .processes
            .iter()
            .rev()
            .filter_map(|(key, process)| match process.end {
                End::Draining(exit, until) if process.stdio.outputs.is_empty() || until <= now => {
                    Some((*key, exit))
                }
                _ => None,
            })
            .collect();
        for (key, exit) in over {
            // Init's record holds the ends of the execs: they come first, if the kernel lets them go in time.
            let in_time = matches!(self.processes.get(&INIT), Some(Process { end: End::Draining(_, until), .. }) if now < *until);
            if key == INIT && self.processes.len() > 1 && in_time {
                continue;
            }
            self.finish(key, exit);
        }
    }

    fn finish(&mut self, key: u32, exit: Exit) {
        let Some(process) = self.processes.get_mut(&key) else { return };
        process.end = End::Told(exit);
        let stdio = std::mem::take(&mut process.stdio);
        let target = process.target.clone();
        for output in &stdio.outputs {
            self.poller.forget(output.token, &output.fd);
            self.sources.remove(&output.token);
        }
        if let Some(input) = &stdio.input {
            self.poller.forget(input.token, &input.fd);
            self.sources.remove(&input.token);
        }
        match target {
            Target::Exec(exec_id) => {
                self.processes.remove(&key);
                self.ended.insert(exec_id.clone(), Ended { exit, process: key });
                self.tell(&Event::ExecExited { exec_id, exit });
            }
            Target::Init => {
                if let Some(log) = &mut self.log {
                    log.end(Stream::Stdout);
                    log.end(Stream::Stderr);
                }
                self.log = None;
                self.look_for_oom();
                let exit = Exit { oom: self.oom, ..exit };
                self.record_exit(exit);
                if let Some(settings) = &self.settings {
                    launch::forget(settings);
                }
                self.phase = Phase::Exited(exit);
                // First the files, then the news: whoever hears it may make the next run's.
                self.leave();
                self.tell(&Event::Exited(exit));
                self.close_clients(INIT);
            }
        }
    }

    fn close_clients(&mut self, key: u32) {
        let sources = &self.sources;
        for (token, client) in &mut self.clients {
            if matches!(sources.get(token), Some(Source::Client(of)) if *of == key) {
                client.close();
            }
        }
    }

    /// Forgets how an exec ended: its daemon knows.
    fn acknowledge(&mut self, exec_id: &str) {
        if let Some(ended) = self.ended.remove(exec_id) {
            self.close_clients(ended.process);
        }
    }

    /// Gives the container's files to whoever comes next; the monitor itself may stay for slow clients.
    fn leave(&mut self) {
        record::remove(&self.directory, files::SOCKET);
        record::remove(&self.directory, files::PID);
        self.listener = None;
        rustix::fs::flock(&self.lock, rustix::fs::FlockOperation::Unlock).ok();
    }

    fn watch_streams(&mut self) {
        for (key, process) in &self.processes {
            let held_up = self.held_up(*key);
            for output in &process.stdio.outputs {
                if held_up {
                    self.poller.forget(output.token, &output.fd);
                } else {
                    self.poller.watch(output.token, &output.fd, EventFlags::IN).ok();
                }
            }
        }
        let room = |process: Option<&Process>| {
            process.and_then(|p| p.stdio.input.as_ref()).is_none_or(|input| input.room() > 0)
        };
        for process in self.processes.values() {
            if let Some(input) = &process.stdio.input {
                if input.is_empty() {
                    self.poller.forget(input.token, &input.fd);
                } else {
                    self.poller.watch(input.token, &input.fd, EventFlags::OUT).ok();
                }
            }
        }
        for (token, client) in &self.clients {
            let Some(Source::Client(key)) = self.sources.get(token) else { continue };
            self.poller.watch(*token, client, client.interest(room(self.processes.get(key)))).ok();
        }
    }

    fn timeout(&self) -> Option<Duration> {
        let now = Instant::now();
        let drains = self.processes.values().filter_map(|p| match p.end {
            End::Draining(_, until) => Some(until),
            _ => None,
        });
        let stuck = self.clients.values().any(Client::holds_up).then(|| now + Duration::from_secs(1));
        drains.chain(self.idle_at).chain(stuck).min().map(|at| at.saturating_duration_since(now))
    }

    fn status(&self) -> Status {
        let init = self.processes.get(&INIT).map_or(0, |init| init.pid);
        let state = match self.phase {
            Phase::Empty => ShimState::Empty,
            Phase::Created(_) => ShimState::Created { pid: init },
            Phase::Running { started_at } => ShimState::Running { pid: init, started_at },
            Phase::Exited(exit) => ShimState::Exited(exit),
        };
        let running = self.processes.values().filter_map(|process| match &process.target {
            Target::Exec(id) => Some((id.clone(), ExecState::Running { pid: process.pid })),
            Target::Init => None,
        });
        let ended = self.ended.iter().map(|(id, ended)| (id.clone(), ExecState::Exited(ended.exit)));
        Status {
            container: self.id.clone(),
            monitor_pid: rustix::process::getpid().as_raw_nonzero().get(),
            state,
            oom: self.oom,
            execs: ended.chain(running).collect(),
        }
    }

    fn init_pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.processes.get(&INIT).filter(|p| p.end == End::No).map(|p| p.pidfd.as_fd())
    }
}
