//! Opening the sockets that `--host` names.

use std::ffi::CString;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{Gid, Mode};
use rustix::net::AddressFamily;

use super::settings::{Host, Settings};

/// A socket bound before the runtime starts.
pub struct Bound {
    /// What it was named as.
    pub name: String,
    /// The socket.
    pub socket: BoundSocket,
    /// The path to remove at the end; `None` for sockets that are not ours.
    pub remove: Option<PathBuf>,
}

/// The socket of a [`Bound`].
pub enum BoundSocket {
    /// Unix.
    Unix(UnixListener),
    /// TCP.
    Tcp(TcpListener),
}

/// Why a socket cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The system refused.
    #[error("cannot listen at {host}: {source}")]
    Refused {
        /// As named.
        host: String,
        /// Why.
        source: io::Error,
    },
    /// Someone answers there.
    #[error("another daemon answers at {host}: stop it, or give this one a --host of its own")]
    Answered {
        /// As named.
        host: String,
    },
    /// The group of the socket does not exist.
    #[error("the group {0:?} of the socket does not exist: groupadd {0}, or --group another")]
    NoGroup(String),
    /// `fd://` without sockets.
    #[error("no sockets found via socket activation: make sure the service was started by systemd")]
    NoActivation,
}

/// Opens every socket. Called while the process has one thread, because it sets the umask for a moment.
pub fn open_all(settings: &Settings) -> Result<Vec<Bound>, ListenError> {
    let mut passed = corten_sys::activation::take_listen_fds();
    let mut bound = Vec::new();
    for host in &settings.hosts {
        match host {
            Host::Unix(path) => bound.push(open_unix(path, settings)?),
            Host::Tcp(address) => {
                let refused = |source| ListenError::Refused { host: host.to_string(), source };
                let listener = TcpListener::bind(address).map_err(refused)?;
                listener.set_nonblocking(true).map_err(refused)?;
                bound.push(Bound {
                    name: host.to_string(),
                    socket: BoundSocket::Tcp(listener),
                    remove: None,
                });
            }
            Host::Activation(which) => bound.extend(activated(&mut passed, which.as_deref())?),
        }
    }
    Ok(bound)
}

fn open_unix(path: &Path, settings: &Settings) -> Result<Bound, ListenError> {
    let name = Host::Unix(path.to_owned()).to_string();
    let refused = |source| ListenError::Refused { host: name.clone(), source };
    if UnixStream::connect(path).is_ok() {
        return Err(ListenError::Answered { host: name });
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(refused(error)),
        _ => {}
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(refused)?;
    }
    let group = match (group_id(&settings.group), settings.group_is_explicit) {
        (Some(gid), _) => Some(gid),
        (None, true) => return Err(ListenError::NoGroup(settings.group.clone())),
        (None, false) => None,
    };
    // Nobody may connect before the socket has its group.
    let before = rustix::process::umask(Mode::from_raw_mode(0o777));
    let listener = UnixListener::bind(path);
    rustix::process::umask(before);
    let listener = listener.map_err(refused)?;
    if let Some(gid) = group {
        rustix::fs::chown(path, None, Some(gid)).map_err(|e| refused(e.into()))?;
    }
    rustix::fs::chmod(path, Mode::from_raw_mode(0o660)).map_err(|e| refused(e.into()))?;
    listener.set_nonblocking(true).map_err(refused)?;
    Ok(Bound { name, socket: BoundSocket::Unix(listener), remove: Some(path.to_owned()) })
}

/// A group's number, by name or as a number, from `/etc/group`.
fn group_id(name: &str) -> Option<Gid> {
    if let Ok(number) = name.parse() {
        return Some(Gid::from_raw(number));
    }
    // A name with a NUL or a separator cannot be in the file.
    CString::new(name).ok().filter(|_| !name.contains([':', '\n']))?;
    find_group(&std::fs::read_to_string("/etc/group").ok()?, name)
}

fn find_group(file: &str, name: &str) -> Option<Gid> {
    file.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then(|| fields.nth(1)?.parse().ok().map(Gid::from_raw))?
    })
}

fn activated(passed: &mut Vec<OwnedFd>, which: Option<&str>) -> Result<Vec<Bound>, ListenError> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let names: Vec<&str> = names.split(':').collect();
    let all = std::mem::take(passed).into_iter().enumerate();
    let wanted =
        |index: usize| which.is_none_or(|w| names.get(index) == Some(&w) || w == (index + 3).to_string());
    let mut bound = Vec::new();
    for (index, fd) in all.filter(|(index, _)| wanted(*index)) {
        let name = format!("fd://{}", index + 3);
        let refused = |source: io::Error| ListenError::Refused { host: name.clone(), source };
        rustix::io::ioctl_fionbio(fd.as_fd(), true).map_err(|e| refused(e.into()))?;
        let address = rustix::net::getsockname(&fd).map_err(|e| refused(e.into()))?;
        let socket = match address.address_family() {
            AddressFamily::UNIX => BoundSocket::Unix(fd.into()),
            AddressFamily::INET | AddressFamily::INET6 => BoundSocket::Tcp(fd.into()),
            _ => return Err(refused(io::Error::other("it is neither a unix nor a TCP socket"))),
        };
        bound.push(Bound { name, socket, remove: None });
    }
    if bound.is_empty() { Err(ListenError::NoActivation) } else { Ok(bound) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_found_by_whole_name() {
        let file = "root:x:0:\ndocker:x:998:me\ndock:x:5:\n";
        assert_eq!(find_group(file, "docker"), Some(Gid::from_raw(998)));
        assert_eq!(find_group(file, "dock"), Some(Gid::from_raw(5)));
        assert_eq!(find_group(file, "dockers"), None);
    }
}
