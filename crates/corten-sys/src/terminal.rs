//! Pseudo-terminals beyond what `rustix` offers: a pair from a given `ptmx`, ownership, controlling terminal.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// Both ends of a pseudo-terminal, close-on-exec.
#[derive(Debug)]
pub struct Pty {
    /// The end that the engine keeps.
    pub master: OwnedFd,
    /// The end that becomes a process's terminal.
    pub slave: OwnedFd,
}

/// Opens a new pair through the multiplexer `name` in the directory `devpts`.
///
/// The slave comes from the master itself (`TIOCGPTPEER`), never from a path that somebody could exchange
/// (the CVE-2025-52565 class).
pub fn open_in(devpts: impl AsFd, name: &str) -> io::Result<Pty> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let master = rustix::fs::openat(devpts, name, flags, Mode::empty())?;
    unlockpt(&master)?;
    let slave = ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    Ok(Pty { master, slave })
}

/// Sets the size of a terminal in characters.
pub fn resize(terminal: impl AsFd, columns: u16, rows: u16) -> io::Result<()> {
    Ok(tcsetwinsize(terminal, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })?)
}

/// Makes the calling process the leader of a new session with `slave` as its controlling terminal.
pub fn become_session_leader(slave: impl AsFd) -> io::Result<()> {
    rustix::process::setsid()?;
    rustix::process::ioctl_tiocsctty(slave)?;
    Ok(())
}
