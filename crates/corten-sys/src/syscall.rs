//! The one place that turns a raw system call's return value into a `Result`.

use std::io;

/// `-1` becomes the thread's `errno`; everything else is the value.
pub(crate) fn check(ret: libc::c_long) -> io::Result<libc::c_long> {
    if ret == -1 { Err(io::Error::last_os_error()) } else { Ok(ret) }
}
