//! What a compiled filter says about a call: an interpreter of the programs, as the kernel has one.

use super::compile::{AND, EQUAL, GREATER, GREATER_EQUAL, JUMP, LOAD, RET_ALLOW, RET_LOG, RETURN};
use super::{Arch, Program};

/// Runs a program of [`super::compile`] as the kernel does.
pub(super) fn interpret(program: &Program, arch: u32, number: u32, args: [u64; 6]) -> u32 {
    let mut words = vec![number, arch, 0, 0];
    words.extend(args.iter().flat_map(|arg| [*arg as u32, (arg >> 32) as u32]));
    let (mut accumulator, mut at) = (0u32, 0usize);
    loop {
        let i = program.instructions[at];
        at += 1;
        let holds = match i.code {
            LOAD => {
                accumulator = words[i.k as usize / 4];
                continue;
            }
            AND => {
                accumulator &= i.k;
                continue;
            }
            JUMP => {
                at += i.k as usize;
                continue;
            }
            RETURN => return i.k,
            EQUAL => accumulator == i.k,
            GREATER => accumulator > i.k,
            GREATER_EQUAL => accumulator >= i.k,
            other => unreachable!("instruction {other:#x} is never compiled"),
        };
        at += usize::from(if holds { i.jt } else { i.jf });
    }
}

impl Program {
    /// Whether this program's own architecture may make the call `name` with these arguments.
    pub(crate) fn allows(&self, name: &str, args: [u64; 6]) -> bool {
        let arch = Arch::NATIVE;
        arch.number(name)
            .is_some_and(|number| matches!(interpret(self, arch.audit(), number, args), RET_ALLOW | RET_LOG))
    }
}
