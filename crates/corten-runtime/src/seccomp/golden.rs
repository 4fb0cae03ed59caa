//! The proof that filters mean what Docker's mean: ours against the programs that runc and libseccomp gave the kernel,
//! for every call number of every architecture. `testdata/seccomp/golden.sh` says how those were made.

use std::collections::BTreeSet;

use corten_sys::seccomp::Instruction;

use super::{Arch, Program, X32_BIT, compile, docker_default};
use crate::capability::Capability;
use crate::spec::{Action, SyscallRule};

/// What a container has unless it is asked for something else.
const DEFAULT: &str = "CAP_CHOWN CAP_DAC_OVERRIDE CAP_FSETID CAP_FOWNER CAP_MKNOD CAP_NET_RAW CAP_SETGID CAP_SETUID \
    CAP_SETFCAP CAP_SETPCAP CAP_NET_BIND_SERVICE CAP_SYS_CHROOT CAP_KILL CAP_AUDIT_WRITE";
const SOME: &str = "CAP_BPF CAP_PERFMON CAP_SYSLOG CAP_SYS_TIME CAP_SYS_NICE CAP_SYS_CHROOT";

macro_rules! golden {
    ($name:literal) => {
        include_bytes!(concat!("../../testdata/seccomp/", $name, ".bpf"))
    };
}

fn read(bytes: &[u8]) -> Vec<Instruction> {
    let read = |i: &[u8]| Instruction {
        code: u16::from_le_bytes([i[0], i[1]]),
        jt: i[2],
        jf: i[3],
        k: u32::from_le_bytes([i[4], i[5], i[6], i[7]]),
    };
    bytes.chunks_exact(8).map(read).collect()
}

/// Runs a program of any compiler, as the kernel does. Says too whether it looked at an argument: if not, it would have
/// gone the same way with any others.
fn run(program: &[Instruction], words: &[u32; 16]) -> (u32, bool) {
    let mut looked = false;
    let (mut accumulator, mut at) = (0u32, 0usize);
    loop {
        let Instruction { code, jt, jf, k } = program[at];
        at += 1;
        let holds = match code {
            0x20 => {
                accumulator = words[k as usize / 4];
                looked |= k >= 16;
                continue;
            }
            0x54 => {
                accumulator &= k;
                continue;
            }
            0x05 => {
                at += k as usize;
                continue;
            }
            0x06 => return (k, looked),
            0x15 => accumulator == k,
            0x25 => accumulator > k,
            0x35 => accumulator >= k,
            0x45 => accumulator & k != 0,
            other => panic!("instruction {other:#x}"),
        };
        at += usize::from(if holds { jt } else { jf });
    }
}

/// Values of arguments: what either program compares with and what lies beside it, in each half.
fn values(ours: &Program, theirs: &[Instruction]) -> Vec<u64> {
    let mut words = BTreeSet::from([0u32, 1, 0x11, 38, u32::MAX]);
    for program in [&ours.instructions[..], theirs] {
        let mut of_argument = false;
        for i in program {
            match i.code {
                0x20 => of_argument = i.k >= 16,
                0x15 | 0x25 | 0x35 | 0x45 | 0x54 if of_argument => {
                    words.extend([i.k, i.k.wrapping_add(1), i.k.wrapping_sub(1), !i.k]);
                }
                _ => {}
            }
        }
    }
    // The single bits of flags.
    words.extend((0..32).map(|bit| 1 << bit));
    words.iter().flat_map(|&low| [0u64, 1, 0x8000_0000].map(|high| high << 32 | u64::from(low))).collect()
}

/// How many numbers an architecture is asked about: more than it has.
const NUMBERS: u32 = 700;

/// Where the answers differ: architecture, number, first argument, ours, theirs.
fn differences(ours: &Program, theirs: &[Instruction], arches: &[Arch]) -> Vec<(Arch, u32, u64, u32, u32)> {
    let values = values(ours, theirs);
    let mut found = Vec::new();
    for &arch in arches {
        let bottom = if arch == Arch::X32 { X32_BIT } else { 0 };
        // ARM's own calls lie far above the others.
        let numbers = (bottom..bottom + NUMBERS).chain(0x0f_0000..0x0f_0008).chain([bottom | 0x0fff_ffff]);
        for number in numbers {
            let ask = |args: [u64; 6]| {
                let mut words = [0; 16];
                (words[0], words[1]) = (number, arch.audit());
                for (at, arg) in args.iter().enumerate() {
                    (words[4 + 2 * at], words[5 + 2 * at]) = (*arg as u32, (*arg >> 32) as u32);
                }
                (run(&ours.instructions, &words), run(theirs, &words))
            };
            let ((_, we_look), (_, they_look)) = ask([0; 6]);
            let values = if we_look || they_look { &values[..] } else { &[0] };
            for &value in values {
                for args in [[value, 0, 0, 0, 0, 0], [value; 6]] {
                    let ((ours, _), (theirs, _)) = ask(args);
                    if ours != theirs {
                        found.push((arch, number, value, ours, theirs));
                    }
                }
            }
        }
    }
    found
}

fn capabilities(names: &str) -> Vec<Capability> {
    names.split_whitespace().map(|name| name.parse().unwrap()).collect()
}

const X86: [Arch; 3] = [Arch::X86_64, Arch::X86, Arch::X32];

#[cfg(target_arch = "x86_64")]
#[test]
fn docker_s_profile_gives_docker_s_verdicts() {
    let all: Vec<_> = Capability::all().collect();
    let with = |more: &str| [capabilities(DEFAULT), capabilities(more)].concat();
    for (name, golden, capabilities) in [
        ("default", &golden!("default")[..], with("")),
        ("none", golden!("none"), Vec::new()),
        ("all", golden!("all"), all),
        ("admin", golden!("admin"), with("CAP_SYS_ADMIN")),
        ("some", golden!("some"), capabilities(SOME)),
    ] {
        let ours = compile(&docker_default(&capabilities)).unwrap();
        assert_eq!(differences(&ours, &read(golden), &X86), [], "{name}");
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn every_architecture_has_libseccomp_s_verdicts() {
    let mut rules = docker_default(&capabilities(DEFAULT));
    rules.architectures.extend(["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"].map(String::from));
    let names = "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls";
    rules.syscalls.push(SyscallRule {
        names: names.split_whitespace().map(String::from).collect(),
        action: Action::Allow,
        ..SyscallRule::default()
    });
    let ours = compile(&rules).unwrap();
    assert_eq!(differences(&ours, &read(golden!("arches")), &Arch::ALL), []);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn the_comparison_sees_a_single_call() {
    let ours = compile(&docker_default(&capabilities(DEFAULT))).unwrap();
    let found = differences(&ours, &read(golden!("none")), &[Arch::X86_64]);
    let calls: BTreeSet<_> = found.iter().map(|(_, number, ..)| *number).collect();
    assert_eq!(calls.into_iter().collect::<Vec<_>>(), [Arch::X86_64.number("chroot").unwrap()]);
}

#[test]
fn an_architecture_that_is_not_listed_ends_the_thread_as_theirs_does() {
    let ours = compile(&docker_default(&[])).unwrap();
    let theirs = read(golden!("none"));
    for arch in [0, 1, 0xc000_00f3, 0x8000_0015] {
        let mut words = [0; 16];
        words[1] = arch;
        assert_eq!(run(&ours.instructions, &words), run(&theirs, &words), "{arch:#x}");
    }
}
