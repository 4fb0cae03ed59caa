//! Descriptors that a service manager passed at exec (`LISTEN_FDS`, sd_listen_fds(3)).

use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// The first passed descriptor; 0 to 2 are the standard streams.
const FIRST: RawFd = 3;

/// Takes the descriptors passed to this process, marked close-on-exec.
///
/// Empty when `LISTEN_PID` names another process, when there are none, and at every call but the first. It must be called before the
/// process opens anything of its own; a descriptor that the variables announce but that is not open is left out.
pub fn take_listen_fds() -> Vec<OwnedFd> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    let number = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    if number("LISTEN_PID") != Some(std::process::id()) || TAKEN.swap(true, Ordering::Relaxed) {
        return Vec::new();
    }
    let count = number("LISTEN_FDS").unwrap_or(0).min(1024);
    (0..count as RawFd).filter_map(|i| take(FIRST + i)).collect()
}

fn take(fd: RawFd) -> Option<OwnedFd> {
    // SAFETY: F_GETFD reads a flag of a number and touches no memory; a number that is not open fails with EBADF.
    if unsafe { libc::fcntl(fd, libc::F_GETFD) } < 0 {
        return None;
    }
    // SAFETY: `fd` is open (just checked) and, by the protocol of LISTEN_PID, was passed for this process to own; `take_listen_fds` runs
    // its body once, so no second owner is made.
    let owned = unsafe { OwnedFd::from_raw_fd(fd) };
    rustix::io::fcntl_setfd(&owned, rustix::io::FdFlags::CLOEXEC).ok()?;
    Some(owned)
}
