//! What a socket tells of its other end.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// How many bytes that were written to a unix stream socket have not been read by its other end; zero once that has closed.
pub fn unread(socket: impl AsFd) -> io::Result<usize> {
    let mut count: libc::c_int = 0;
    // SAFETY: SIOCOUTQ (the number of TIOCOUTQ) writes one int to the pointer, which is that of a live int; the descriptor is
    // borrowed for the call.
    let result = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut count) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(usize::try_from(count).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;

    #[test]
    fn what_was_written_is_unread_until_it_is_read() {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        assert_eq!(unread(&ours).unwrap(), 0);
        ours.write_all(b"head").unwrap();
        assert!(unread(&ours).unwrap() > 0);
        theirs.read_exact(&mut [0; 4]).unwrap();
        assert_eq!(unread(&ours).unwrap(), 0);
    }
}
