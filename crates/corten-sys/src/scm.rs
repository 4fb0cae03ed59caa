//! Messages with descriptors over a `SOCK_SEQPACKET` socket (`SCM_RIGHTS`).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

/// The most descriptors one message may carry.
pub const MAX_FDS: usize = 32;

/// One received message.
#[derive(Debug)]
pub struct Message {
    /// Bytes of the message; empty means that the peer has closed its end.
    pub len: usize,
    /// Descriptors that came with it, close-on-exec.
    pub fds: Vec<OwnedFd>,
}

/// A connected pair of sequenced-packet sockets, both close-on-exec.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Sends `data` as one message together with `fds`. Blocks when the socket does.
///
/// A peer that is gone is `EPIPE`, never a signal.
pub fn send(socket: impl AsFd, data: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    if fds.len() > MAX_FDS {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(fds));
    }
    loop {
        match sendmsg(socket.as_fd(), &[IoSlice::new(data)], &mut control, SendFlags::NOSIGNAL) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Receives one message into `buffer`. Blocks when the socket does.
///
/// A message that is longer than `buffer`, or carried more descriptors than [`MAX_FDS`], is `EMSGSIZE`.
pub fn recv(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<Message> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    loop {
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let got = match recvmsg(
            socket.as_fd(),
            &mut [IoSliceMut::new(buffer)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        ) {
            Ok(got) => got,
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno.into()),
        };
        let mut fds = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                fds.extend(received);
            }
        }
        if got.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
            return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
        }
        return Ok(Message { len: got.bytes, fds });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_carries_its_bytes_and_its_descriptors() {
        let (a, b) = pair().unwrap();
        let (r, w) = rustix::pipe::pipe().unwrap();
        send(&a, b"hello", &[w.as_fd()]).unwrap();
        drop(w);
        let mut buffer = [0; 16];
        let message = recv(&b, &mut buffer).unwrap();
        assert_eq!(&buffer[..message.len], b"hello");
        assert_eq!(message.fds.len(), 1);
        rustix::io::write(&message.fds[0], b"x").unwrap();
        drop(message);
        assert_eq!(rustix::io::read(&r, &mut buffer).unwrap(), 1);
        assert_eq!(rustix::io::read(&r, &mut buffer).unwrap(), 0);
    }

    #[test]
    fn a_closed_peer_is_an_empty_message_and_a_broken_pipe() {
        let (a, b) = pair().unwrap();
        drop(b);
        assert_eq!(recv(&a, &mut [0; 4]).unwrap().len, 0);
        assert_eq!(send(&a, b"x", &[]).unwrap_err().raw_os_error(), Some(libc::EPIPE));
    }

    #[test]
    fn a_message_that_does_not_fit_is_refused() {
        let (a, b) = pair().unwrap();
        send(&a, b"12345678", &[]).unwrap();
        assert_eq!(recv(&b, &mut [0; 4]).unwrap_err().raw_os_error(), Some(libc::EMSGSIZE));
    }
}
