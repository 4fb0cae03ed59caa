//! Signal masks, default dispositions and signal descriptors.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

use crate::syscall::check;

/// The highest signal number of Linux.
const SIGNAL_MAX: i32 = 64;

fn empty_set() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the whole set it is given.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        set.assume_init()
    }
}

fn set_of(signals: &[i32]) -> libc::sigset_t {
    let mut set = empty_set();
    for &signal in signals {
        // SAFETY: `set` is initialised; a number that is no signal is refused with EINVAL and changes nothing.
        unsafe { libc::sigaddset(&raw mut set, signal) };
    }
    set
}

/// Blocks `signals` (numbers) in the calling thread, in addition to those already blocked.
pub fn block(signals: &[i32]) -> io::Result<()> {
    let set = set_of(signals);
    // SAFETY: reads an initialised set; the old mask is not asked for.
    match unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) } {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// Gives the calling process what a fresh program expects: nothing blocked, every signal at its default.
///
/// An ignored signal survives `execve`, and the Rust runtime ignores `SIGPIPE`: a program that is executed without
/// this never dies of a broken pipe.
pub fn reset() {
    for signal in 1..=SIGNAL_MAX {
        // SAFETY: setting a disposition to SIG_DFL installs no handler; SIGKILL, SIGSTOP and the numbers the C
        // library keeps for itself are refused with EINVAL, which is what is wanted.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    let set = empty_set();
    // SAFETY: reads an initialised set; the old mask is not asked for.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut()) };
}

/// A descriptor that becomes readable when one of `signals` (which must be blocked) is pending.
///
/// Close-on-exec and non-blocking.
pub fn descriptor(signals: &[i32]) -> io::Result<OwnedFd> {
    let set = set_of(signals);
    // SAFETY: reads an initialised set; -1 asks for a new descriptor.
    let fd = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    check(fd.into())?;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Takes one pending signal number from a [`descriptor`]; `None` when there is none.
pub fn take(descriptor: impl AsFd) -> io::Result<Option<i32>> {
    let mut info = MaybeUninit::<libc::signalfd_siginfo>::uninit();
    let size = size_of::<libc::signalfd_siginfo>();
    // SAFETY: the kernel writes at most `size` bytes into the structure, which has exactly that size.
    let read = unsafe { libc::read(descriptor.as_fd().as_raw_fd(), info.as_mut_ptr().cast(), size) };
    match check(read as libc::c_long) {
        Ok(n) if n as usize == size => {
            // SAFETY: a signalfd read returns whole structures: all of it is written.
            Ok(Some(unsafe { info.assume_init() }.ssi_signo as i32))
        }
        Ok(_) => Ok(None),
        Err(e) if matches!(Errno::from_io_error(&e), Some(Errno::AGAIN | Errno::INTR)) => Ok(None),
        Err(e) => Err(e),
    }
}
