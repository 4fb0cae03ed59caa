//! The proof that a compiled filter means what the rules say: an interpreter of the programs against a plain reading of
//! the rules, for every call of every architecture.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::compile::{RET_ALLOW, RET_ERRNO, RET_KILL_PROCESS, RET_KILL_THREAD, RET_LOG, RET_TRACE, RET_TRAP};
use super::verdict::interpret;
use super::{Arch, X32_BIT, compile, docker_default, names};
use crate::capability::Capability;
use crate::spec::{Action, ArgumentRule, LinuxSeccomp, Operator, SyscallRule};

fn verdict(action: Action, errno: Option<u32>) -> u32 {
    let errno = errno.unwrap_or(1);
    match action {
        Action::KillThread => RET_KILL_THREAD,
        Action::KillProcess => RET_KILL_PROCESS,
        Action::Trap => RET_TRAP,
        Action::Errno => RET_ERRNO + errno,
        Action::Trace => RET_TRACE + errno,
        Action::Log => RET_LOG,
        Action::Allow => RET_ALLOW,
        Action::Notify => unreachable!("not compiled"),
    }
}

fn holds(arch: Arch, condition: &ArgumentRule, args: &[u64; 6]) -> bool {
    let seen = |value: u64| if arch.has_wide_arguments() { value } else { value & 0xffff_ffff };
    let (arg, value) = (seen(args[condition.index as usize]), seen(condition.value));
    match condition.op {
        Operator::NotEqual => arg != value,
        Operator::Less => arg < value,
        Operator::LessEqual => arg <= value,
        Operator::Equal => arg == value,
        Operator::GreaterEqual => arg >= value,
        Operator::Greater => arg > value,
        Operator::MaskedEqual => arg & value == seen(condition.value_two),
    }
}

/// The numbers that each rule names on an architecture.
fn named(rules: &LinuxSeccomp, arch: Arch) -> Vec<BTreeSet<u32>> {
    rules
        .syscalls
        .iter()
        .map(|rule| rule.names.iter().filter_map(|name| arch.number(name)).collect())
        .collect()
}

/// Reads the rules one by one.
fn naive(rules: &LinuxSeccomp, arch: Arch, named: &[BTreeSet<u32>], number: u32, args: &[u64; 6]) -> u32 {
    let both = rules.syscalls.iter().zip(named);
    let about: Vec<_> = both.filter(|(_, numbers)| numbers.contains(&number)).map(|(rule, _)| rule).collect();
    if let Some(rule) = about.iter().find(|rule| rule.args.is_empty()) {
        return verdict(rule.action, rule.errno_ret);
    }
    for rule in &about {
        let mut indices: Vec<_> = rule.args.iter().map(|arg| arg.index).collect();
        indices.sort_unstable();
        indices.dedup();
        let hit = if indices.len() < rule.args.len() {
            rule.args.iter().any(|condition| holds(arch, condition, args))
        } else {
            rule.args.iter().all(|condition| holds(arch, condition, args))
        };
        if hit {
            return verdict(rule.action, rule.errno_ret);
        }
    }
    let refuses = !matches!(rules.default_action, Action::Allow | Action::Log | Action::Trace);
    match named.iter().flatten().max() {
        Some(&highest) if refuses && number > highest => RET_ERRNO + 38,
        _ => verdict(rules.default_action, rules.default_errno_ret),
    }
}

/// Every number that an architecture could have, its gaps and a few beyond.
fn numbers(arch: Arch) -> Vec<u32> {
    let bottom = if arch == Arch::X32 { X32_BIT } else { 0 };
    let mut numbers: Vec<u32> = (bottom..bottom + 600).collect();
    numbers.extend(names().filter_map(|name| arch.number(name)));
    numbers.extend([bottom + 0x0fff_ffff, bottom + 5000]);
    numbers
}

const ARCHES: [&str; 5] =
    ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"];

fn agree(rules: &LinuxSeccomp, arguments: &[[u64; 6]]) {
    let program = compile(rules).unwrap();
    for arch in Arch::ALL {
        let name = ARCHES[arch as usize];
        if arch != Arch::NATIVE && !rules.architectures.iter().any(|listed| listed == name) {
            continue;
        }
        let named = named(rules, arch);
        for number in numbers(arch) {
            for args in arguments {
                let got = interpret(&program, arch.audit(), number, *args);
                let want = naive(rules, arch, &named, number, args);
                assert_eq!(got, want, "{arch:?} call {number} {args:x?}");
            }
        }
    }
}

#[test]
fn docker_s_profile_is_compiled_faithfully() {
    let mut arguments =
        vec![[0; 6], [u64::MAX; 6], [40, 0, 0, 0, 0, 0], [u64::from(u32::MAX), 0, 0, 0, 0, 0]];
    for value in [8, 0x20000, 0x20008, 0x7e02_0000, 0x0200_0000, 0x11, 41, 1 << 32, (1 << 32) | 40] {
        arguments.push([value; 6]);
    }
    let all: Vec<_> = Capability::all().collect();
    for capabilities in [&[][..], &[Capability::SYS_ADMIN], &all] {
        agree(&docker_default(capabilities), &arguments);
    }
}

#[test]
fn docker_s_profile_has_the_known_verdicts() {
    let program = compile(&docker_default(&[])).unwrap();
    let judge = |name: &str, first: u64| {
        interpret(&program, Arch::X86_64.audit(), Arch::X86_64.number(name).unwrap(), [first, 0, 0, 0, 0, 0])
    };
    assert_eq!(judge("read", 0), RET_ALLOW);
    assert_eq!(judge("mount", 0), RET_ERRNO | 1);
    assert_eq!(judge("clone3", 0), RET_ERRNO | 38);
    assert_eq!(judge("clone", 0x11), RET_ALLOW);
    assert_eq!(judge("clone", 0x1000_0000), RET_ERRNO | 1);
    assert_eq!(judge("socket", 2), RET_ALLOW);
    assert_eq!(judge("socket", 40), RET_ERRNO | 1);
    assert_eq!(judge("personality", 0x20000), RET_ALLOW);
    assert_eq!(judge("personality", 1), RET_ERRNO | 1);
    assert_eq!(judge("keyctl", 0), RET_ERRNO | 1);
    assert_eq!(interpret(&program, Arch::X86_64.audit(), 9999, [0; 6]), RET_ERRNO | 38);
    assert_eq!(interpret(&program, Arch::Aarch64.audit(), 0, [0; 6]), RET_KILL_THREAD);
}

#[test]
fn a_high_word_that_the_call_does_not_see_hides_nothing() {
    let program = compile(&docker_default(&[])).unwrap();
    let number = Arch::X32.number("socket").unwrap();
    for family in [40, (1 << 32) | 40] {
        let got = interpret(&program, Arch::X32.audit(), number, [family, 0, 0, 0, 0, 0]);
        assert_eq!(got, RET_ERRNO | 1, "{family:#x}");
    }
}

#[test]
fn the_filter_is_short() {
    // Three architectures; a list of comparisons would have more than 950.
    let length = compile(&docker_default(&[])).unwrap().instructions.len();
    assert!(length < 420, "{length}");
}

fn any_rules() -> impl Strategy<Value = LinuxSeccomp> {
    let all: Vec<&'static str> = names().collect();
    let value = prop_oneof![Just(0u64), Just(1), Just(40), Just(1 << 32), Just(u64::MAX), any::<u64>()];
    let operator = prop_oneof![
        Just(Operator::NotEqual),
        Just(Operator::Less),
        Just(Operator::LessEqual),
        Just(Operator::Equal),
        Just(Operator::GreaterEqual),
        Just(Operator::Greater),
        Just(Operator::MaskedEqual)
    ];
    let condition = (0u32..3, value.clone(), value, operator)
        .prop_map(|(index, value, value_two, op)| ArgumentRule { index, value, value_two, op });
    let action = || {
        prop_oneof![
            Just(Action::Allow),
            Just(Action::Errno),
            Just(Action::KillProcess),
            Just(Action::KillThread),
            Just(Action::Trap),
            Just(Action::Log)
        ]
    };
    let rule = (
        proptest::collection::vec(proptest::sample::select(all), 1..12),
        action(),
        proptest::option::of(1u32..40),
        proptest::collection::vec(condition, 0..4),
    )
        .prop_map(|(names, action, errno_ret, args)| SyscallRule {
            names: names.into_iter().map(String::from).collect(),
            action,
            errno_ret,
            args,
        });
    let arches = proptest::sample::subsequence(ARCHES.to_vec(), 0..5);
    (action(), arches, proptest::collection::vec(rule, 0..7)).prop_map(
        |(default_action, architectures, syscalls)| LinuxSeccomp {
            default_action,
            architectures: architectures.into_iter().map(String::from).collect(),
            syscalls,
            ..LinuxSeccomp::default()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn any_rules_are_compiled_faithfully(
        rules in any_rules(),
        argument in prop_oneof![Just(0u64), Just(1), Just(40), Just(1 << 32), Just(u64::MAX), any::<u64>()],
    ) {
        agree(&rules, &[[argument; 6], [0, argument, 1, 0, 0, 0]]);
    }
}
