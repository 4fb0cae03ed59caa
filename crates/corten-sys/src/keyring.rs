//! Session keyrings (`keyctl(2)`): a process that joins a fresh one no longer sees its parent's keys.

use std::ffi::CStr;
use std::io;

use crate::syscall::check;

const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;
const KEYCTL_SETPERM: libc::c_int = 5;
const KEYCTL_DESCRIBE: libc::c_int = 6;

/// The serial number of a key or keyring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeySerial(i32);

/// Replaces this process's session keyring by the one called `name`, which is created when there is none that the
/// caller may join.
pub fn join_session(name: &CStr) -> io::Result<KeySerial> {
    // SAFETY: keyctl(2) reads `name` up to its terminating NUL, which CStr guarantees, and writes no memory.
    let serial = check(unsafe {
        libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr(), 0, 0, 0)
    })?;
    Ok(KeySerial(serial as i32))
}

/// Keeps the permission bits of `mask` and adds those of `set`.
pub fn adjust_permissions(key: KeySerial, mask: u32, set: u32) -> io::Result<()> {
    let mut buffer = [0u8; 256];
    // SAFETY: the kernel writes at most `buffer.len()` bytes into the buffer, which outlives the call.
    let len = check(unsafe {
        libc::syscall(libc::SYS_keyctl, KEYCTL_DESCRIBE, key.0, buffer.as_mut_ptr(), buffer.len(), 0)
    })? as usize;
    // "type;uid;gid;perm;description"
    let described = String::from_utf8_lossy(&buffer[..len.min(buffer.len())]).into_owned();
    let current = described
        .split(';')
        .nth(3)
        .and_then(|perm| u32::from_str_radix(perm, 16).ok())
        .ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?;
    // SAFETY: KEYCTL_SETPERM takes two integers and touches no memory.
    check(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_SETPERM, key.0, (current & mask) | set, 0, 0) })?;
    Ok(())
}
