use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::batch::{Batch, Message, attributes, messages};

const ERROR: u16 = 2;
const DONE: u16 = 3;
/// The answer carries attributes after the error.
const ACK_TLVS: u16 = 0x200;
/// The dump changed while it was read.
const DUMP_INTERRUPTED: u16 = 0x10;

/// Which part of the kernel a socket talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Interfaces, addresses, routes.
    Route,
    /// Netfilter.
    Netfilter,
}

/// Why the kernel did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// The socket failed.
    #[error("netlink: cannot {operation}")]
    Socket {
        /// What was tried.
        operation: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// The kernel refused one request.
    #[error("cannot {what}: {errno}{}{detail}", if detail.is_empty() { "" } else { ": " })]
    Refused {
        /// What the request was to do.
        what: String,
        /// The kernel's error.
        errno: io::Error,
        /// The kernel's own explanation, or empty.
        detail: String,
    },
}

impl NetlinkError {
    /// The error number, if the kernel or the socket gave one.
    pub fn raw_os_error(&self) -> Option<i32> {
        match self {
            Self::Socket { source, .. } => source.raw_os_error(),
            Self::Refused { errno, .. } => errno.raw_os_error(),
        }
    }
}

/// A netlink socket, bound to the network namespace it was opened in.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
}

impl Socket {
    /// Opens one in the calling thread's network namespace.
    pub fn open(protocol: Protocol) -> Result<Self, NetlinkError> {
        let failed = |operation| {
            move |errno: rustix::io::Errno| NetlinkError::Socket { operation, source: errno.into() }
        };
        let number = match protocol {
            // NETLINK_ROUTE is number 0, the default.
            Protocol::Route => None,
            Protocol::Netfilter => Some(net::netlink::NETFILTER),
        };
        let fd = net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, number)
            .map_err(failed("open a socket"))?;
        // Both only improve error texts; very old kernels lack them.
        let _ = set_netlink_option(fd.as_fd(), libc::NETLINK_EXT_ACK);
        let _ = set_netlink_option(fd.as_fd(), libc::NETLINK_CAP_ACK);
        // An answer is there when send returns; the limit only keeps a defect from hanging the caller.
        net::sockopt::set_socket_timeout(&fd, net::sockopt::Timeout::Recv, Some(Duration::from_secs(10)))
            .map_err(failed("set a time limit"))?;
        // Big transactions are answered message by message.
        let _ = net::sockopt::set_socket_recv_buffer_size(&fd, 1 << 20);
        let _ = net::sockopt::set_socket_send_buffer_size(&fd, 4 << 20);
        Ok(Self { fd })
    }

    /// Opens a netfilter socket that hears of changes of firewall tables, and never blocks.
    pub(crate) fn open_listening(groups: u32) -> Result<Self, NetlinkError> {
        let socket = Self::open(Protocol::Netfilter)?;
        let failed =
            |errno: rustix::io::Errno| NetlinkError::Socket { operation: "listen", source: errno.into() };
        net::bind(&socket.fd, &net::netlink::SocketAddrNetlink::new(0, groups)).map_err(failed)?;
        rustix::io::ioctl_fionbio(&socket.fd, true).map_err(failed)?;
        Ok(socket)
    }

    /// Its number among the netlink sockets of the namespace; 0 before it has sent anything.
    pub fn port(&self) -> u32 {
        let address = net::getsockname(&self.fd).ok();
        address.and_then(|any| net::netlink::SocketAddrNetlink::try_from(any).ok()).map_or(0, |own| own.pid())
    }

    /// What has arrived; `None` when there is nothing.
    pub(crate) fn arrived<'a>(&self, buffer: &'a mut [u8]) -> io::Result<Option<&'a [u8]>> {
        match net::recv(&self.fd, &mut *buffer, RecvFlags::empty()) {
            Ok((length, _)) => Ok(Some(&buffer[..length])),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Sends all requests at once and waits for every acknowledgement; the first refusal is the error. Requests of an
    /// interface batch before and after the refused one have been carried out; an nftables batch is all or nothing.
    pub fn transact(&self, batch: &Batch) -> Result<(), NetlinkError> {
        if batch.is_empty() {
            return Ok(());
        }
        self.send(batch)?;
        let mut answered = 0;
        let mut first_refusal = None;
        let mut buffer = vec![0; 64 * 1024];
        while answered < batch.labels().len() {
            let length = self.receive(&mut buffer)?;
            for Message { kind, flags, sequence, payload, .. } in messages(&buffer[..length]) {
                if kind != ERROR {
                    continue;
                }
                let refusal = refusal(batch, flags, sequence, payload);
                // An error of the frame means that no single answer follows.
                if sequence == 0 {
                    return refusal.map_or(Ok(()), Err);
                }
                answered += 1;
                if first_refusal.is_none() {
                    first_refusal = refusal;
                }
            }
        }
        first_refusal.map_or(Ok(()), Err)
    }

    /// Asks for everything of one sort and hands each answer's payload to `each`. Starts again, clearing through
    /// `reset`, when the kernel says that the list changed underneath.
    pub(crate) fn dump<T>(
        &self,
        request: &Batch,
        mut parse: impl FnMut(&[u8]) -> Option<T>,
    ) -> Result<Vec<T>, NetlinkError> {
        let mut buffer = vec![0; 64 * 1024];
        'again: for _ in 0..16 {
            let mut found = Vec::new();
            let mut interrupted = false;
            self.send(request)?;
            loop {
                let length = self.receive(&mut buffer)?;
                for Message { kind, flags, sequence, payload, .. } in messages(&buffer[..length]) {
                    if sequence != 1 {
                        continue;
                    }
                    interrupted |= flags & DUMP_INTERRUPTED != 0;
                    match kind {
                        DONE if interrupted => continue 'again,
                        DONE => return Ok(found),
                        ERROR => {
                            return refusal(request, flags, sequence, payload).map_or(Ok(found), Err);
                        }
                        _ => found.extend(parse(payload)),
                    }
                }
            }
        }
        Err(NetlinkError::Socket {
            operation: "read a list that keeps changing",
            source: io::ErrorKind::TimedOut.into(),
        })
    }

    /// Asks for one thing; `None` when there is no such thing.
    pub(crate) fn query<T>(
        &self,
        request: &Batch,
        parse: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Result<Option<T>, NetlinkError> {
        self.send(request)?;
        let mut buffer = vec![0; 64 * 1024];
        let length = self.receive(&mut buffer)?;
        let Some(Message { kind, flags, sequence, payload, .. }) = messages(&buffer[..length]).next() else {
            return Ok(None);
        };
        if kind != ERROR {
            return Ok(parse(payload));
        }
        match refusal(request, flags, sequence, payload) {
            Some(error) if matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ENOENT)) => Ok(None),
            other => other.map_or(Ok(None), Err),
        }
    }

    fn send(&self, batch: &Batch) -> Result<(), NetlinkError> {
        net::send(&self.fd, batch.bytes(), SendFlags::empty())
            .map(drop)
            .map_err(|errno| NetlinkError::Socket { operation: "send", source: errno.into() })
    }

    fn receive(&self, buffer: &mut [u8]) -> Result<usize, NetlinkError> {
        loop {
            match net::recv(&self.fd, &mut *buffer, RecvFlags::empty()) {
                Ok((length, _)) => return Ok(length),
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => {
                    return Err(NetlinkError::Socket { operation: "receive", source: errno.into() });
                }
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// What an error message says; `None` is an acknowledgement.
fn refusal(batch: &Batch, flags: u16, sequence: u32, payload: &[u8]) -> Option<NetlinkError> {
    let code = i32::from_ne_bytes(payload.get(..4)?.try_into().ok()?);
    if code == 0 {
        return None;
    }
    let what = (sequence as usize).checked_sub(1).and_then(|index| batch.labels().get(index));
    // The code, then the refused message's header (its body is left out), then attributes.
    let detail = if flags & ACK_TLVS != 0 { payload.get(20..).unwrap_or_default() } else { &[] };
    let detail = attributes(detail).find(|(kind, _)| *kind == 1).map(|(_, text)| text).unwrap_or_default();
    Some(NetlinkError::Refused {
        what: what.cloned().unwrap_or_else(|| "start the transaction".into()),
        errno: io::Error::from_raw_os_error(-code),
        detail: String::from_utf8_lossy(detail).trim_end_matches('\0').to_owned(),
    })
}

fn set_netlink_option(fd: BorrowedFd<'_>, option: libc::c_int) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is open; the value is an int that lives through the call, and its size is its own.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_NETLINK,
            option,
            std::ptr::from_ref(&on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
