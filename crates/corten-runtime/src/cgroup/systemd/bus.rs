//! A connection to systemd: over the system bus, or over its own socket where there is no bus.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::message::{FIXED, Incoming, Method, Writer, call, length, read};

const SYSTEM_BUS: &str = "/run/dbus/system_bus_socket";
const PRIVATE: &str = "/run/systemd/private";
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why systemd did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum BusError {
    /// It cannot be reached, or does not speak as it should.
    #[error("talk to systemd")]
    Talk(#[from] io::Error),
    /// It refused.
    #[error("{name}: {text}")]
    Refused {
        /// The error's D-Bus name.
        name: String,
        /// What systemd says about it.
        text: String,
    },
}

/// The connection.
#[derive(Debug)]
pub(super) struct Bus {
    stream: UnixStream,
    serial: u32,
    /// Signals that came while an answer was waited for.
    signals: VecDeque<(String, Vec<String>)>,
}

impl Bus {
    /// Connects and says who we are.
    pub(super) fn connect() -> Result<Self, BusError> {
        let (stream, on_bus) = match UnixStream::connect(SYSTEM_BUS) {
            Ok(stream) => (stream, true),
            Err(_) => (UnixStream::connect(PRIVATE)?, false),
        };
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut bus = Self { stream, serial: 0, signals: VecDeque::new() };
        bus.authenticate()?;
        if on_bus {
            let interface = "org.freedesktop.DBus";
            let hello = Method {
                destination: interface,
                path: "/org/freedesktop/DBus",
                interface,
                member: "Hello",
                signature: "",
            };
            bus.call(&hello, Writer::default())?;
            let mut rule = Writer::default();
            rule.text("type='signal',interface='org.freedesktop.systemd1.Manager',member='JobRemoved'");
            bus.call(&Method { member: "AddMatch", signature: "s", ..hello }, rule)?;
        }
        Ok(bus)
    }

    fn authenticate(&mut self) -> io::Result<()> {
        let uid = rustix::process::geteuid().as_raw().to_string();
        let hex: String = uid.bytes().map(|byte| format!("{byte:02x}")).collect();
        self.stream.write_all(format!("\0AUTH EXTERNAL {hex}\r\n").as_bytes())?;
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            self.stream.read_exact(&mut byte)?;
            line.push(byte[0]);
            if line.len() > 512 {
                return Err(io::Error::from_raw_os_error(libc::EBADMSG));
            }
        }
        if !line.starts_with(b"OK ") {
            return Err(io::Error::from_raw_os_error(libc::EACCES));
        }
        self.stream.write_all(b"BEGIN\r\n")
    }

    /// Calls a method; the texts at the beginning of the answer.
    pub(super) fn call(&mut self, method: &Method<'_>, body: Writer) -> Result<Vec<String>, BusError> {
        self.serial += 1;
        self.stream.write_all(&call(method, self.serial, body))?;
        loop {
            match self.receive()? {
                Incoming::Return(serial, texts) if serial == self.serial => return Ok(texts),
                Incoming::Error(serial, name, text) if serial == self.serial => {
                    return Err(BusError::Refused { name, text });
                }
                Incoming::Signal(name, texts) => self.signals.push_back((name, texts)),
                _ => {}
            }
        }
    }

    /// The next signal's name and texts.
    pub(super) fn signal(&mut self) -> Result<(String, Vec<String>), BusError> {
        loop {
            if let Some(signal) = self.signals.pop_front() {
                return Ok(signal);
            }
            if let Incoming::Signal(name, texts) = self.receive()? {
                return Ok((name, texts));
            }
        }
    }

    fn receive(&mut self) -> io::Result<Incoming> {
        let bad = || io::Error::from_raw_os_error(libc::EBADMSG);
        let mut fixed = [0; FIXED];
        self.stream.read_exact(&mut fixed)?;
        let mut message = fixed.to_vec();
        message.resize(length(&fixed).ok_or_else(bad)?, 0);
        self.stream.read_exact(&mut message[FIXED..])?;
        read(&message).ok_or_else(bad)
    }
}
