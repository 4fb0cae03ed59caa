//! Descriptors of the whole process: closing ranges, standard streams, sealed memory files.

use std::ffi::CStr;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

use crate::process::OneThread;
use crate::syscall::check;

/// `CLOSE_RANGE_CLOEXEC` of `<linux/close_range.h>`.
const CLOSE_RANGE_CLOEXEC: libc::c_uint = 1 << 2;

/// Marks every descriptor from `first` on as close-on-exec.
pub fn cloexec_from(first: u32) -> io::Result<()> {
    // SAFETY: close_range(2) with CLOSE_RANGE_CLOEXEC only sets a flag on descriptors; it closes nothing, touches
    // no memory, and so invalidates no owned descriptor of this process.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, CLOSE_RANGE_CLOEXEC) })?;
    Ok(())
}

/// Closes every descriptor from `first` on but those of `keep`.
///
/// For a copy of a process that goes on to execute a program or to end, and uses nothing of what it was copied with but
/// `keep`: whoever may look into it finds none of its origin's files. What owned the closed ones must not be dropped
/// afterwards; `alone` says that no other thread uses them.
pub fn close_all_but(first: u32, keep: &[BorrowedFd<'_>], _alone: &OneThread) -> io::Result<()> {
    let mut kept: Vec<u32> = keep.iter().filter_map(|fd| u32::try_from(fd.as_raw_fd()).ok()).collect();
    kept.sort_unstable();
    let mut from = first;
    for (low, next) in kept.iter().map(|&fd| (fd, fd + 1)).chain([(libc::c_uint::MAX, 0)]) {
        if low > from || next == 0 {
            let last = if next == 0 { libc::c_uint::MAX } else { low - 1 };
            // SAFETY: close_range(2) touches no memory. The owners of what it closes are values of the origin's, in frames
            // to which this copy never returns, since it ends by execve(2) or _exit(2); no other thread has any.
            check(unsafe { libc::syscall(libc::SYS_close_range, from, last, 0) })?;
        }
        from = from.max(next);
    }
    Ok(())
}

/// Closes every descriptor from `first` on that this process has inherited, so that no child holds it open either.
///
/// Inherited are those without the close-on-exec flag: what `std`, `rustix` (as it is called here) and this crate open
/// has it.
pub fn close_inherited_from(first: i32) -> io::Result<()> {
    let mut inherited = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let number = entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok());
        inherited.extend(number.filter(|&fd| fd >= first && !is_cloexec(fd)));
    }
    for fd in inherited {
        // SAFETY: the descriptor is not close-on-exec, so no owner in this process made it, and the standard streams,
        // which have no owner but users, lie below `first` (at least 3, checked here).
        if fd > 2 {
            unsafe { libc::close(fd) };
        }
    }
    Ok(())
}

fn is_cloexec(fd: i32) -> bool {
    // SAFETY: F_GETFD reads a flag of a number that may or may not be a descriptor; it touches no memory.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
    // What is no descriptor any more is nobody's business.
    flags < 0 || flags & libc::FD_CLOEXEC != 0
}

/// Makes the three descriptors this process's standard input, output and error.
///
/// The standard streams are inheritable by the next `execve`; the sources stay as they are.
pub fn set_stdio(stdin: impl AsFd, stdout: impl AsFd, stderr: impl AsFd) -> io::Result<()> {
    rustix::stdio::dup2_stdin(stdin)?;
    rustix::stdio::dup2_stdout(stdout)?;
    rustix::stdio::dup2_stderr(stderr)?;
    Ok(())
}

/// A memory file with the content of `source`, sealed against every further change.
///
/// Executing such a copy keeps the original out of reach of whoever can see `/proc/<pid>/exe`
/// (the CVE-2019-5736 class).
pub fn sealed_copy(name: &CStr, source: &mut impl Read) -> io::Result<OwnedFd> {
    let fd = memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = std::fs::File::from(fd);
    io::copy(source, &mut file)?;
    file.flush()?;
    file.rewind()?;
    fcntl_add_seals(&file, SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE)?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_copy_has_the_content_and_refuses_writes() {
        let fd = sealed_copy(c"copy", &mut &b"content"[..]).unwrap();
        let mut file = std::fs::File::from(fd);
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "content");
        file.rewind().unwrap();
        assert_eq!(file.write(b"x").unwrap_err().raw_os_error(), Some(libc::EPERM));
    }
}
