//! What a pidfd tells beyond polling: how a process ended, even if somebody else reaped it.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// `struct pidfd_info` of `linux/pidfd.h`, version 0 (64 bytes).
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroupid: u64,
    ids: [u32; 11],
    exit_code: i32,
}

/// `PIDFD_INFO_EXIT`: `exit_code` is valid.
const INFO_EXIT: u64 = 1 << 3;
/// `PIDFD_GET_INFO`: `_IOWR(0xFF, 11, struct pidfd_info)`.
const GET_INFO: libc::c_ulong =
    0xC000_0000 | ((size_of::<PidfdInfo>() as libc::c_ulong) << 16) | (0xFF << 8) | 11;

/// The wait status of the process behind `pidfd`, once it was reaped by whoever its parent is; `None` before that.
///
/// Needs Linux 6.15; older kernels answer with an error.
pub fn exit_status(pidfd: impl AsFd) -> io::Result<Option<i32>> {
    let mut info = PidfdInfo { mask: INFO_EXIT, ..PidfdInfo::default() };
    // SAFETY: the request number carries the size of `info`, which is a live, writable, plain-data value of the
    // layout the kernel documents; the descriptor is borrowed for the call.
    let result = unsafe { libc::ioctl(pidfd.as_fd().as_raw_fd(), GET_INFO as _, &raw mut info) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((info.mask & INFO_EXIT != 0).then_some(info.exit_code))
}

/// The number of the process behind `pidfd`, in the pid namespace of the caller's procfs.
///
/// `ESRCH` when it has been reaped.
pub fn number(pidfd: impl AsFd) -> io::Result<i32> {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_fd().as_raw_fd()))?;
    let number = text.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse::<i32>().ok());
    number.filter(|&pid| pid > 0).ok_or_else(|| io::Error::from_raw_os_error(libc::ESRCH))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Pid, PidfdFlags, pidfd_open};

    #[test]
    fn a_reaped_child_still_tells_how_it_ended() {
        let mut child = std::process::Command::new("/bin/sh").args(["-c", "exit 7"]).spawn().unwrap();
        let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).unwrap();
        child.wait().unwrap();
        match exit_status(&pidfd) {
            Ok(status) => assert_eq!(status, Some(7 << 8)),
            Err(error) => println!("skipped: this kernel has no PIDFD_INFO_EXIT ({error})"),
        }
    }
}
