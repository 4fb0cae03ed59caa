//! `corten-shim <id> <directory>`: the monitor of one container. Standard input is the first daemon's socket, standard
//! output the directory, locked (see [`corten_shim::monitor::Monitor::new`]).
//! Under the name `docker-init` it is the init of a container instead.

use std::error::Error;
use std::ffi::OsString;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use corten_shim::init;
use corten_shim::monitor::Monitor;
use corten_shim::protocol::files;
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    if Path::new(&name).file_name().is_some_and(|name| name == init::NAME) {
        return init::run(arguments);
    }
    match monitor(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("corten-shim: {error}");
            ExitCode::FAILURE
        }
    }
}

fn monitor(mut arguments: impl Iterator<Item = OsString>) -> Result<(), Box<dyn Error>> {
    let (Some(id), Some(directory), None) = (arguments.next(), arguments.next(), arguments.next()) else {
        return Err("usage: corten-shim <container id> <directory>; the daemon starts it".into());
    };
    // Before anything of a container exists: nobody may look into this process or trace it.
    corten_sys::process::set_dumpable(false)?;
    rustix::thread::set_name(c"corten-shim")?;
    rustix::process::setsid().ok();
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let (daemon, lock) = take_stdio()?;
    let directory = PathBuf::from(directory);
    let listener = listen(&directory)?;
    Monitor::new(id.to_string_lossy().into_owned(), directory, daemon, lock, listener)?.run()?;
    Ok(())
}

/// Moves the daemon's socket and the locked directory out of the way of standard input and output.
fn take_stdio() -> Result<(OwnedFd, OwnedFd), Box<dyn Error>> {
    let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    let lock = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    Ok((socket, lock))
}

/// Listens for the next daemon, for root only. The path is reached through its directory's descriptor, since a socket
/// address holds no more than 107 bytes.
fn listen(directory: &Path) -> Result<OwnedFd, Box<dyn Error>> {
    std::fs::remove_file(directory.join(files::SOCKET)).ok();
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(directory, flags, Mode::empty())?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    let old = rustix::process::umask(Mode::from_raw_mode(0o177));
    let path = format!("/proc/self/fd/{}/{}", directory.as_raw_fd(), files::SOCKET);
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::process::umask(old);
    rustix::net::listen(&socket, 8)?;
    Ok(socket)
}
