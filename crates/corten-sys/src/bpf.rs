//! eBPF programs for the cgroup v2 device controller (`BPF_PROG_TYPE_CGROUP_DEVICE`).

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use crate::syscall::check;

const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_ATTACH: libc::c_int = 8;
const BPF_PROG_DETACH: libc::c_int = 9;
const BPF_PROG_GET_FD_BY_ID: libc::c_int = 13;
const BPF_PROG_QUERY: libc::c_int = 16;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 1 << 1;
const BPF_F_REPLACE: u32 = 1 << 2;
/// The most programs looked at when an earlier one is to be replaced.
const QUERY_MAX: usize = 64;

/// One eBPF instruction in the kernel's encoding.
pub type Instruction = u64;

#[repr(C)]
#[derive(Default)]
struct LoadAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
}

#[repr(C)]
#[derive(Default)]
struct AttachAttr {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
    replace_bpf_fd: u32,
}

#[repr(C)]
#[derive(Default)]
struct QueryAttr {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    pad: u32,
    prog_attach_flags: u64,
}

fn bpf<T>(command: libc::c_int, attr: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: `attr` is a repr(C) prefix of `union bpf_attr`, and its size is passed with it, so the kernel reads and
    // writes within it only. Pointers inside are set by the callers below to memory that outlives the call.
    check(unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>()) })
}

/// Loads a device program.
pub fn load_device_program(instructions: &[Instruction]) -> io::Result<OwnedFd> {
    let license = c"Apache";
    let mut attr = LoadAttr {
        prog_type: BPF_PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: u32::try_from(instructions.len()).map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?,
        insns: instructions.as_ptr() as u64,
        license: license.as_ptr() as u64,
        prog_name: *b"corten_device\0\0\0",
        ..LoadAttr::default()
    };
    let fd = bpf(BPF_PROG_LOAD, &mut attr)?;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Attaches `program` to `cgroup`, in the place of a device program that is attached there already.
pub fn attach_device_program(cgroup: impl AsFd, program: impl AsFd) -> io::Result<()> {
    let cgroup = cgroup.as_fd();
    let earlier = attached(cgroup.as_raw_fd())?;
    let mut attr = AttachAttr {
        target_fd: cgroup.as_raw_fd() as u32,
        attach_bpf_fd: program.as_fd().as_raw_fd() as u32,
        attach_type: BPF_CGROUP_DEVICE,
        attach_flags: BPF_F_ALLOW_MULTI,
        replace_bpf_fd: 0,
    };
    if let [only] = &earlier[..] {
        attr.attach_flags |= BPF_F_REPLACE;
        attr.replace_bpf_fd = only.as_raw_fd() as u32;
    }
    bpf(BPF_PROG_ATTACH, &mut attr)?;
    if earlier.len() > 1 {
        // All of several programs must agree, so the old ones would go on refusing what the new one allows.
        for old in &earlier {
            let mut attr = AttachAttr {
                target_fd: cgroup.as_raw_fd() as u32,
                attach_bpf_fd: old.as_raw_fd() as u32,
                attach_type: BPF_CGROUP_DEVICE,
                ..AttachAttr::default()
            };
            bpf(BPF_PROG_DETACH, &mut attr)?;
        }
    }
    Ok(())
}

fn attached(cgroup: i32) -> io::Result<Vec<OwnedFd>> {
    let mut ids = [0u32; QUERY_MAX];
    let mut query = QueryAttr {
        target_fd: cgroup as u32,
        attach_type: BPF_CGROUP_DEVICE,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: QUERY_MAX as u32,
        ..QueryAttr::default()
    };
    bpf(BPF_PROG_QUERY, &mut query)?;
    let mut programs = Vec::new();
    for &id in &ids[..(query.prog_cnt as usize).min(QUERY_MAX)] {
        // `struct { prog_id; next_id; open_flags }`
        let mut by_id = [id, 0, 0];
        let fd = bpf(BPF_PROG_GET_FD_BY_ID, &mut by_id)?;
        // SAFETY: a new descriptor that nobody else owns.
        programs.push(unsafe { OwnedFd::from_raw_fd(fd as i32) });
    }
    Ok(programs)
}
