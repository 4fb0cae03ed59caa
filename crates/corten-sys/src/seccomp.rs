//! Loading a seccomp filter program (`seccomp(2)`).

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use crate::syscall::check;

/// One instruction of a classic BPF program, laid out as the kernel's `struct sock_filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip when the condition holds.
    pub jt: u8,
    /// Instructions to skip when it does not.
    pub jf: u8,
    /// Immediate operand.
    pub k: u32,
}

/// The kernel's `struct sock_fprog`.
#[repr(C)]
struct Program {
    len: u16,
    filter: *const Instruction,
}

const SECCOMP_SET_MODE_FILTER: libc::c_uint = 1;
const SECCOMP_GET_ACTION_AVAIL: libc::c_uint = 2;

/// `SECCOMP_FILTER_FLAG_TSYNC`: the filter holds for every thread of the process.
pub const FLAG_TSYNC: u32 = 1 << 0;
/// `SECCOMP_FILTER_FLAG_LOG`: actions other than allow are logged.
pub const FLAG_LOG: u32 = 1 << 1;
/// `SECCOMP_FILTER_FLAG_SPEC_ALLOW`: no speculative store bypass mitigation for the task.
pub const FLAG_SPEC_ALLOW: u32 = 1 << 2;
/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`: return a notification descriptor.
pub const FLAG_NEW_LISTENER: u32 = 1 << 3;
/// `SECCOMP_FILTER_FLAG_TSYNC_ESRCH`: a thread that cannot follow is `ESRCH`, not its number.
pub const FLAG_TSYNC_ESRCH: u32 = 1 << 4;
/// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`: only a fatal signal interrupts a notified call.
pub const FLAG_WAIT_KILLABLE_RECV: u32 = 1 << 5;

/// Adds `program` to the filters of the calling thread. It cannot be taken back.
///
/// With [`FLAG_NEW_LISTENER`] the notification descriptor is returned, else `None`.
pub fn install(program: &[Instruction], flags: u32) -> io::Result<Option<OwnedFd>> {
    let len = u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let fprog = Program { len, filter: program.as_ptr() };
    // SAFETY: the kernel reads a `sock_fprog` and `len` instructions behind its pointer; both live across the call
    // and have the kernel's layout (repr(C)). It copies the program and keeps no pointer.
    let ret =
        check(unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &raw const fprog) })?;
    if flags & FLAG_NEW_LISTENER == 0 {
        return Ok(None);
    }
    // SAFETY: with NEW_LISTENER the call returns a new descriptor that nobody else owns.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(ret as i32) }))
}

/// Whether the kernel knows the filter action `action` (a `SECCOMP_RET_*` value).
pub fn action_available(action: u32) -> bool {
    // SAFETY: the kernel reads one u32 behind the pointer, which lives across the call.
    unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &raw const action) == 0 }
}
