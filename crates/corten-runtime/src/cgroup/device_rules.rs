//! Device rules: the list of the specification becomes one policy, which both cgroup versions can express.
//!
//! A policy is a default and exceptions from it, as the device controller of cgroup v1 keeps it: a rule for all devices
//! starts over, a rule that agrees with the default takes back an exception, one that does not adds one.

use corten_sys::bpf::Instruction;

use crate::spec::DeviceRule;

/// Devices of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Block = 1,
    Character = 2,
}

const MKNOD: u32 = 1;
const READ: u32 = 2;
const WRITE: u32 = 4;
const ALL: u32 = MKNOD | READ | WRITE;

/// Devices with the same numbers, and what is excepted about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Exception {
    kind: Kind,
    major: Option<u32>,
    minor: Option<u32>,
    access: u32,
}

/// What a container may do with device nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Policy {
    allow: bool,
    exceptions: Vec<Exception>,
}

/// What every container may use: making nodes (of whatever cannot be opened), and the devices of its `/dev`.
const DEFAULTS: [(Kind, Option<u32>, Option<u32>, u32); 11] = [
    (Kind::Character, None, None, MKNOD),
    (Kind::Block, None, None, MKNOD),
    (Kind::Character, Some(1), Some(3), ALL),
    (Kind::Character, Some(1), Some(5), ALL),
    (Kind::Character, Some(1), Some(7), ALL),
    (Kind::Character, Some(1), Some(8), ALL),
    (Kind::Character, Some(1), Some(9), ALL),
    (Kind::Character, Some(5), Some(0), ALL),
    (Kind::Character, Some(5), Some(1), ALL),
    (Kind::Character, Some(5), Some(2), ALL),
    (Kind::Character, Some(136), None, ALL),
];

impl Policy {
    /// Reads the rules; `None` when there are none. What every container needs is allowed after them.
    pub(super) fn plan(rules: &[DeviceRule]) -> Result<Option<Self>, String> {
        if rules.is_empty() {
            return Ok(None);
        }
        let mut policy = Self { allow: false, exceptions: Vec::new() };
        for rule in rules {
            let access = access(&rule.access)?;
            let kinds: &[Kind] = match rule.kind.as_str() {
                "" | "a" => &[Kind::Block, Kind::Character],
                "c" => &[Kind::Character],
                "b" => &[Kind::Block],
                other => return Err(format!("device rule type {other:?} is not known")),
            };
            let (major, minor) = (number(rule.major)?, number(rule.minor)?);
            if kinds.len() == 2 && major.is_none() && minor.is_none() && access == ALL {
                policy = Self { allow: rule.allow, exceptions: Vec::new() };
                continue;
            }
            for &kind in kinds {
                policy.apply(rule.allow, Exception { kind, major, minor, access });
            }
        }
        for (kind, major, minor, access) in DEFAULTS {
            policy.apply(true, Exception { kind, major, minor, access });
        }
        Ok(Some(policy))
    }

    fn apply(&mut self, allow: bool, rule: Exception) {
        let same = |e: &&mut Exception| (e.kind, e.major, e.minor) == (rule.kind, rule.major, rule.minor);
        let known = self.exceptions.iter_mut().find(same);
        match (known, allow == self.allow) {
            (Some(exception), true) => exception.access &= !rule.access,
            (Some(exception), false) => exception.access |= rule.access,
            (None, false) => self.exceptions.push(rule),
            (None, true) => {}
        }
        self.exceptions.retain(|exception| exception.access != 0);
    }

    /// Whether nothing is forbidden.
    pub(super) fn allows_everything(&self) -> bool {
        self.allow && self.exceptions.is_empty()
    }

    /// What is written to `devices.deny` and `devices.allow` (cgroup v1): file and line, in order.
    pub(super) fn lines(&self) -> Vec<(&'static str, String)> {
        let (reset, except) =
            if self.allow { ("devices.allow", "devices.deny") } else { ("devices.deny", "devices.allow") };
        let any = |n: Option<u32>| n.map_or_else(|| "*".to_owned(), |n| n.to_string());
        let exceptions = self.exceptions.iter().map(|e| {
            let kind = if e.kind == Kind::Block { 'b' } else { 'c' };
            let mut access = String::new();
            for (bit, letter) in [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')] {
                if e.access & bit != 0 {
                    access.push(letter);
                }
            }
            (except, format!("{kind} {}:{} {access}", any(e.major), any(e.minor)))
        });
        std::iter::once((reset, "a".to_owned())).chain(exceptions).collect()
    }

    /// The program for `BPF_CGROUP_DEVICE` (cgroup v2).
    ///
    /// It gets `struct { u32 access << 16 | type; u32 major; u32 minor }` in R1 and answers 1 (allow) or 0 in R0.
    pub(super) fn program(&self) -> Vec<Instruction> {
        let mut code =
            vec![load(2, 0), and(2, 0xffff), load(3, 0), shift_right(3, 16), load(4, 4), load(5, 8)];
        for e in &self.exceptions {
            let mut tests: Vec<Test> = vec![Test::Unequal { register: 2, value: e.kind as u32 }];
            if e.access != ALL {
                // An exception that allows must cover all that is wanted; one that forbids, any of it.
                tests.push(if self.allow { Test::Disjoint(e.access) } else { Test::NotCovered(e.access) });
            }
            tests.extend(e.major.map(|value| Test::Unequal { register: 4, value }));
            tests.extend(e.minor.map(|value| Test::Unequal { register: 5, value }));
            let length: usize = tests.iter().map(Test::length).sum::<usize>() + 2;
            let mut at = 0;
            for test in &tests {
                at += test.length();
                test.emit(&mut code, (length - at) as i16);
            }
            code.extend([set(0, u32::from(!self.allow)), EXIT]);
        }
        code.extend([set(0, u32::from(self.allow)), EXIT]);
        code
    }
}

/// A test that jumps over the rest of an exception's block.
enum Test {
    /// The register differs from the value.
    Unequal { register: u8, value: u32 },
    /// Something is wanted that the mask does not have.
    NotCovered(u32),
    /// Nothing is wanted that the mask has.
    Disjoint(u32),
}

impl Test {
    fn length(&self) -> usize {
        match self {
            Self::Unequal { .. } => 1,
            Self::NotCovered(_) | Self::Disjoint(_) => 3,
        }
    }

    fn emit(&self, code: &mut Vec<Instruction>, over: i16) {
        match *self {
            Self::Unequal { register, value } => code.push(encode(0x55, register, 0, over, value)),
            Self::NotCovered(mask) => {
                code.extend([copy(1, 3), and(1, mask), encode(0x5d, 1, 3, over, 0)]);
            }
            Self::Disjoint(mask) => code.extend([copy(1, 3), and(1, mask), encode(0x15, 1, 0, over, 0)]),
        }
    }
}

const fn encode(code: u8, dst: u8, src: u8, offset: i16, immediate: u32) -> Instruction {
    code as u64
        | (dst as u64) << 8
        | (src as u64) << 12
        | (offset as u16 as u64) << 16
        | (immediate as u64) << 32
}

/// `BPF_EXIT`.
const EXIT: Instruction = encode(0x95, 0, 0, 0, 0);

/// `dst = *(u32 *)(R1 + offset)`.
const fn load(dst: u8, offset: i16) -> Instruction {
    encode(0x61, dst, 1, offset, 0)
}

/// `dst &= mask`, 32 bits.
const fn and(dst: u8, mask: u32) -> Instruction {
    encode(0x54, dst, 0, 0, mask)
}

/// `dst >>= bits`, 32 bits.
const fn shift_right(dst: u8, bits: u32) -> Instruction {
    encode(0x74, dst, 0, 0, bits)
}

/// `dst = src`, 32 bits.
const fn copy(dst: u8, src: u8) -> Instruction {
    encode(0xbc, dst, src, 0, 0)
}

/// `dst = value`, 32 bits.
const fn set(dst: u8, value: u32) -> Instruction {
    encode(0xb4, dst, 0, 0, value)
}

fn access(text: &str) -> Result<u32, String> {
    if text.is_empty() {
        return Ok(ALL);
    }
    text.chars().try_fold(0, |all, letter| {
        Ok(all
            | match letter {
                'r' => READ,
                'w' => WRITE,
                'm' => MKNOD,
                // The letter of a rule's type, which existing bundles write here as well.
                'a' => 0,
                other => return Err(format!("device access {other:?} is not known")),
            })
    })
}

fn number(of: Option<i64>) -> Result<Option<u32>, String> {
    match of {
        None | Some(..0) => Ok(None),
        Some(n) => u32::try_from(n).map(Some).map_err(|_| format!("device number {n} is out of range")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rule(allow: bool, kind: &str, major: Option<i64>, minor: Option<i64>, access: &str) -> DeviceRule {
        DeviceRule { allow, kind: kind.into(), major, minor, access: access.into() }
    }

    /// What cgroup v1 would answer.
    fn judge(policy: &Policy, kind: Kind, major: u32, minor: u32, wanted: u32) -> bool {
        let hit = policy.exceptions.iter().any(|e| {
            e.kind == kind
                && e.major.is_none_or(|m| m == major)
                && e.minor.is_none_or(|m| m == minor)
                && if policy.allow { e.access & wanted != 0 } else { wanted & !e.access == 0 }
        });
        hit != policy.allow
    }

    /// Runs the few instructions that the programs consist of.
    fn interpret(code: &[Instruction], kind: Kind, major: u32, minor: u32, wanted: u32) -> bool {
        let context = [(wanted << 16) | kind as u32, major, minor];
        let mut registers = [0u64; 10];
        let mut at = 0usize;
        loop {
            let i = code[at];
            let (dst, src) = ((i >> 8 & 0xf) as usize, (i >> 12 & 0xf) as usize);
            let (offset, immediate) = ((i >> 16) as u16 as i16, (i >> 32) as u32);
            at += 1;
            match i as u8 {
                0x61 => registers[dst] = u64::from(context[offset as usize / 4]),
                0x54 => registers[dst] = u64::from(registers[dst] as u32 & immediate),
                0x74 => registers[dst] = u64::from(registers[dst] as u32 >> immediate),
                0xbc => registers[dst] = u64::from(registers[src] as u32),
                0xb4 => registers[dst] = u64::from(immediate),
                0x55 if registers[dst] != u64::from(immediate) => at += offset as usize,
                0x15 if registers[dst] == u64::from(immediate) => at += offset as usize,
                0x5d if registers[dst] != registers[src] => at += offset as usize,
                0x55 | 0x15 | 0x5d => {}
                0x95 => return registers[0] == 1,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    #[test]
    fn docker_s_rules_allow_the_fixed_devices_only() {
        let rules = [rule(false, "", None, None, "rwm"), rule(false, "c", Some(10), Some(229), "rwm")];
        let policy = Policy::plan(&rules).unwrap().unwrap();
        let lines = policy.lines();
        assert_eq!(lines[0], ("devices.deny", "a".into()));
        assert_eq!(lines[1], ("devices.allow", "c *:* m".into()));
        assert_eq!(lines.len(), 12);
        assert!(judge(&policy, Kind::Character, 1, 3, READ | WRITE));
        assert!(!judge(&policy, Kind::Character, 10, 229, READ));
        assert!(!judge(&policy, Kind::Block, 8, 0, READ));
    }

    #[test]
    fn a_privileged_container_has_no_exceptions() {
        let policy = Policy::plan(&[rule(true, "a", None, None, "rwm")]).unwrap().unwrap();
        assert!(policy.allows_everything());
    }

    #[test]
    fn access_given_in_parts_counts_together() {
        let rules = [
            rule(false, "a", None, None, ""),
            rule(true, "c", Some(7), Some(7), "r"),
            rule(true, "c", Some(7), Some(7), "w"),
        ];
        let policy = Policy::plan(&rules).unwrap().unwrap();
        assert!(interpret(&policy.program(), Kind::Character, 7, 7, READ | WRITE));
    }

    fn any_rule() -> impl Strategy<Value = DeviceRule> {
        let number = || prop_oneof![Just(None), (0i64..4).prop_map(Some)];
        (any::<bool>(), prop_oneof![Just("a"), Just("b"), Just("c")], number(), number(), "[rwm]{1,3}")
            .prop_map(|(allow, kind, major, minor, access)| rule(allow, kind, major, minor, &access))
    }

    proptest! {
        #[test]
        fn the_program_judges_as_cgroup_v1_does(
            rules in proptest::collection::vec(any_rule(), 1..8),
            block in any::<bool>(), major in 0u32..5, minor in 0u32..5, wanted in 1u32..8,
        ) {
            let policy = Policy::plan(&rules).unwrap().unwrap();
            let kind = if block { Kind::Block } else { Kind::Character };
            prop_assert_eq!(
                interpret(&policy.program(), kind, major, minor, wanted),
                judge(&policy, kind, major, minor, wanted)
            );
        }
    }
}
