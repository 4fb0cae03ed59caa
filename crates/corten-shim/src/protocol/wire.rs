//! One message = one packet: sending and receiving on a `SOCK_SEQPACKET` socket, synchronous or non-blocking as the
//! socket is.
//!
//! ```text
//!  packet:  'j' JSON…                          descriptors: the message's own
//!           'm' length (8 bytes, LE)           descriptors: a sealed memfd with the JSON, then the message's own
//! ```
//!
//! Lengths are checked against [`LIMIT`] on both sides; a packet that was cut, or whose descriptors were cut, is an
//! error, never a shorter message.

use std::io::{self, IoSlice, IoSliceMut, Read as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The longest JSON text of a message, in bytes.
pub const LIMIT: usize = 16 << 20;
/// The longest JSON text that travels inside its packet, in bytes (well below the kernel's default send buffer).
const INLINE: usize = 64 << 10;
/// The most descriptors of one message.
const MAX_FDS: usize = 8;

/// A message as it arrived.
#[derive(Debug)]
pub struct Packet {
    body: Vec<u8>,
    /// The descriptors that came with it, in their order, all close-on-exec.
    pub fds: Vec<OwnedFd>,
}

impl Packet {
    /// The message itself.
    pub fn decode<T: DeserializeOwned>(&self) -> io::Result<T> {
        serde_json::from_slice(&self.body).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
    }
}

/// Sends one message. `WouldBlock` if the socket is non-blocking and its peer does not read; nothing is sent then.
pub fn send<T: Serialize>(socket: impl AsFd, message: &T, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let text = serde_json::to_vec(message)?;
    if text.len() > LIMIT || fds.len() >= MAX_FDS {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "message too long"));
    }
    if text.len() <= INLINE {
        return send_packet(socket.as_fd(), &[IoSlice::new(b"j"), IoSlice::new(&text)], fds);
    }
    let memfd = rustix::fs::memfd_create("message", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = std::fs::File::from(memfd);
    io::Write::write_all(&mut file, &text)?;
    rustix::fs::fcntl_add_seals(
        &file,
        SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL,
    )?;
    let mut all = vec![file.as_fd()];
    all.extend_from_slice(fds);
    let length = (text.len() as u64).to_le_bytes();
    send_packet(socket.as_fd(), &[IoSlice::new(b"m"), IoSlice::new(&length)], &all)
}

fn send_packet(socket: BorrowedFd<'_>, parts: &[IoSlice<'_>], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors"));
    }
    loop {
        match rustix::net::sendmsg(socket, parts, &mut ancillary, SendFlags::NOSIGNAL) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// Receives one message; `None` when the peer has closed.
pub fn receive(socket: impl AsFd) -> io::Result<Option<Packet>> {
    let socket = socket.as_fd();
    let mut body = vec![0_u8; waiting(socket)?];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let got = loop {
        let mut parts = [IoSliceMut::new(&mut body)];
        match rustix::net::recvmsg(socket, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Ok(got) => break got,
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    };
    let mut fds: Vec<OwnedFd> = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            fds.extend(received);
        }
    }
    if got.bytes == 0 {
        return Ok(None);
    }
    if got.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(invalid("a message was cut"));
    }
    body.truncate(got.bytes);
    match body.first() {
        Some(b'j') => {
            body.remove(0);
            Ok(Some(Packet { body, fds }))
        }
        Some(b'm') => large(&body[1..], fds).map(Some),
        _ => Err(invalid("unknown kind of packet")),
    }
}

/// The length of the next packet; at least 1, so that a closed peer is seen by the read that follows.
fn waiting(socket: BorrowedFd<'_>) -> io::Result<usize> {
    let mut nothing: [u8; 0] = [];
    loop {
        match rustix::net::recv(socket, &mut nothing[..], RecvFlags::PEEK | RecvFlags::TRUNC) {
            Ok((_, length)) if length > INLINE + 1 => return Err(invalid("a packet is too long")),
            Ok((_, length)) => return Ok(length.max(1)),
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

fn large(header: &[u8], mut fds: Vec<OwnedFd>) -> io::Result<Packet> {
    let length = header.try_into().map(u64::from_le_bytes).map_err(|_| invalid("a header is too short"))?;
    if length > LIMIT as u64 || fds.is_empty() {
        return Err(invalid("a message is too long"));
    }
    let mut file = std::fs::File::from(fds.remove(0));
    let seals = rustix::fs::fcntl_get_seals(&file)?;
    if !seals.contains(SealFlags::WRITE | SealFlags::SHRINK) {
        return Err(invalid("a message is not sealed"));
    }
    io::Seek::rewind(&mut file)?;
    let mut body = Vec::new();
    file.by_ref().take(length).read_to_end(&mut body)?;
    if body.len() as u64 != length {
        return Err(invalid("a message is shorter than it says"));
    }
    Ok(Packet { body, fds })
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType};

    fn pair() -> (OwnedFd, OwnedFd) {
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .unwrap()
    }

    #[test]
    fn a_message_of_any_length_arrives_whole_with_its_descriptors() {
        let (a, b) = pair();
        let null = std::fs::File::open("/dev/null").unwrap();
        for length in [0, 1, 1000, INLINE - 2, INLINE - 1, INLINE, 200 << 10, LIMIT - 2] {
            let text = "x".repeat(length);
            send(&a, &text, &[null.as_fd(), null.as_fd()]).unwrap();
            let packet = receive(&b).unwrap().unwrap();
            assert_eq!(packet.decode::<String>().unwrap().len(), length);
            assert_eq!(packet.fds.len(), 2);
        }
    }

    #[test]
    fn too_long_a_message_is_refused_before_it_is_sent() {
        let (a, _b) = pair();
        assert_eq!(send(&a, &"x".repeat(LIMIT), &[]).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn a_closed_peer_is_the_end_and_not_an_error() {
        let (a, b) = pair();
        drop(a);
        assert!(receive(&b).unwrap().is_none());
    }

    #[test]
    fn a_memfd_that_may_still_change_is_refused() {
        let (a, b) = pair();
        let memfd = rustix::fs::memfd_create("message", MemfdFlags::CLOEXEC).unwrap();
        send_packet(a.as_fd(), &[IoSlice::new(b"m"), IoSlice::new(&1_u64.to_le_bytes())], &[memfd.as_fd()])
            .unwrap();
        assert!(receive(&b).is_err());
    }

    #[test]
    fn a_length_that_lies_is_refused() {
        let (a, b) = pair();
        send_packet(a.as_fd(), &[IoSlice::new(b"m"), IoSlice::new(&u64::MAX.to_le_bytes())], &[]).unwrap();
        assert!(receive(&b).is_err());
    }
}
