//! Descriptors whose readiness the runtime tells.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Hands a descriptor, which should be non-blocking, to the runtime's poller.
#[expect(
    deprecated,
    reason = "its successor is unsafe for types that lie about their descriptor; an OwnedFd does not"
)]
pub fn watched(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, interest)
}
