//! Gives up, step by step, whatever a worker does not need. Each step holds for all threads made later.

use std::io;
use std::os::fd::AsFd;

use corten_sys::seccomp::{self, Instruction};
use rustix::process::{Resource, Rlimit, Signal};
use rustix::thread::{CapabilitySet, CapabilitySets};

/// What a layer may ask for: owners, modes and devices of others, and capabilities of files.
const CAPABILITIES: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::SETFCAP);

/// Most memory of its own, in bytes: the largest windows of two decompressors, and some.
const MEMORY_MAX: u64 = 384 << 20;
/// Most descriptors.
const FILES_MAX: u64 = 64;

/// Makes `tree` the root of this process, and leaves it nothing but what unpacking takes.
pub(crate) fn confine(tree: impl AsFd) -> io::Result<()> {
    limit(Resource::Data, MEMORY_MAX)?;
    limit(Resource::Nofile, FILES_MAX)?;
    limit(Resource::Core, 0)?;
    rustix::process::umask(rustix::fs::Mode::empty());
    rustix::process::fchdir(tree)?;
    rustix::process::chroot(".")?;
    rustix::process::chdir("/")?;
    rustix::thread::set_no_new_privs(true)?;
    let sets = CapabilitySets {
        effective: CAPABILITIES,
        permitted: CAPABILITIES,
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, sets)?;
    seccomp::install(&filter(), 0)?;
    Ok(())
}

/// Ends this process when the thread that started it ends.
pub(crate) fn die_with_parent() -> io::Result<()> {
    let parent = rustix::process::getppid();
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    if rustix::process::getppid() == parent { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
}

fn limit(resource: Resource, most: u64) -> io::Result<()> {
    let old = rustix::process::getrlimit(resource);
    let most = old.maximum.map_or(most, |maximum| maximum.min(most));
    Ok(rustix::process::setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?)
}

/// Offsets in the kernel's `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;
const THIRD_ARGUMENT: u32 = 32;

#[cfg(target_arch = "x86_64")]
const NATIVE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const NATIVE: u32 = 0xc000_00b7;

const ALLOW: u32 = 0x7fff_0000;
const KILL: u32 = 0x8000_0000;
const ERRNO: u32 = 0x0005_0000;

const LOAD: u16 = 0x20;
const RETURN: u16 = 0x06;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_BITS: u16 = 0x45;

/// Calls that take no more care than being named.
const CALLS: &[libc::c_long] = &[
    // The blob, the files of the tree, the socket that is there.
    libc::SYS_read,
    libc::SYS_pread64,
    libc::SYS_write,
    libc::SYS_pwrite64,
    libc::SYS_writev,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    libc::SYS_shutdown,
    // The tree.
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_fstatfs,
    libc::SYS_getdents64,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_readlinkat,
    libc::SYS_unlinkat,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    452, // fchmodat2
    libc::SYS_utimensat,
    libc::SYS_fsetxattr,
    // Memory, threads, time, the end.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigreturn,
    libc::SYS_tgkill,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_getrandom,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// The calls a worker may make. Others answer that there is no such call: the C library then falls back where it can,
/// and a stranger's code has nothing.
fn filter() -> Vec<Instruction> {
    let step = |code, jt, jf, k| Instruction { code, jt, jf, k };
    let number = |call: libc::c_long| u32::try_from(call).unwrap_or(u32::MAX);
    let mut program = vec![
        step(LOAD, 0, 0, ARCHITECTURE),
        step(JUMP_EQUAL, 1, 0, NATIVE),
        step(RETURN, 0, 0, KILL),
        step(LOAD, 0, 0, NUMBER),
    ];
    for &call in CALLS {
        program.push(step(JUMP_EQUAL, 0, 1, number(call)));
        program.push(step(RETURN, 0, 0, ALLOW));
    }
    // A thread of this process, never another process.
    program.extend([
        step(JUMP_EQUAL, 0, 4, number(libc::SYS_clone)),
        step(LOAD, 0, 0, FIRST_ARGUMENT),
        step(JUMP_BITS, 0, 1, libc::CLONE_THREAD.cast_unsigned()),
        step(RETURN, 0, 0, ALLOW),
        step(RETURN, 0, 0, ERRNO | libc::EPERM.cast_unsigned()),
    ]);
    // Memory that is never executed.
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        program.extend([
            step(JUMP_EQUAL, 0, 4, number(call)),
            step(LOAD, 0, 0, THIRD_ARGUMENT),
            step(JUMP_BITS, 1, 0, libc::PROT_EXEC.cast_unsigned()),
            step(RETURN, 0, 0, ALLOW),
            step(RETURN, 0, 0, ERRNO | libc::EPERM.cast_unsigned()),
        ]);
    }
    program.extend([
        step(JUMP_EQUAL, 0, 4, number(libc::SYS_prctl)),
        step(LOAD, 0, 0, FIRST_ARGUMENT),
        step(JUMP_EQUAL, 0, 1, libc::PR_SET_NAME.cast_unsigned()),
        step(RETURN, 0, 0, ALLOW),
        step(RETURN, 0, 0, ERRNO | libc::EPERM.cast_unsigned()),
    ]);
    program.push(step(RETURN, 0, 0, ERRNO | libc::ENOSYS.cast_unsigned()));
    program
}
