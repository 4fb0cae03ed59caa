//! The compiler: rules become, for each architecture, ranges of call numbers with the same verdict, and these a binary
//! decision tree.
//!
//! ```text
//!   arch? ─┬─ x86-64 ─ number ≥ x32 bit? ─┬─ tree of x86-64       tree: compare with the middle range's first number
//!          │                              └─ tree of x32          leaf: one return, or the conditions of a call
//!          ├─ x86 ─ tree
//!          └─ else: end the thread
//! ```

use std::collections::BTreeMap;

use corten_sys::seccomp::{
    FLAG_LOG, FLAG_NEW_LISTENER, FLAG_SPEC_ALLOW, FLAG_TSYNC, FLAG_TSYNC_ESRCH, FLAG_WAIT_KILLABLE_RECV,
    Instruction,
};

use super::{Agent, Arch, Program, SeccompError, X32_BIT};
use crate::spec::{Action, ArgumentRule, LinuxSeccomp, Operator, SyscallRule};

/// The longest program that the kernel takes (`BPF_MAXINSNS`).
pub(super) const MAX_INSTRUCTIONS: usize = 4096;

pub(super) const RET_KILL_PROCESS: u32 = 0x8000_0000;
pub(super) const RET_KILL_THREAD: u32 = 0;
pub(super) const RET_TRAP: u32 = 0x0003_0000;
pub(super) const RET_ERRNO: u32 = 0x0005_0000;
pub(super) const RET_USER_NOTIFY: u32 = 0x7fc0_0000;
pub(super) const RET_TRACE: u32 = 0x7ff0_0000;
pub(super) const RET_LOG: u32 = 0x7ffc_0000;
pub(super) const RET_ALLOW: u32 = 0x7fff_0000;

/// Offsets in `struct seccomp_data`.
const OFFSET_NUMBER: u32 = 0;
const OFFSET_ARCH: u32 = 4;
const OFFSET_ARGUMENTS: u32 = 16;

/// `BPF_LD | BPF_W | BPF_ABS`.
pub(super) const LOAD: u16 = 0x20;
/// `BPF_ALU | BPF_AND | BPF_K`.
pub(super) const AND: u16 = 0x54;
/// `BPF_JMP | BPF_JA`.
pub(super) const JUMP: u16 = 0x05;
/// `BPF_JMP | BPF_JEQ | BPF_K`.
pub(super) const EQUAL: u16 = 0x15;
/// `BPF_JMP | BPF_JGT | BPF_K`.
pub(super) const GREATER: u16 = 0x25;
/// `BPF_JMP | BPF_JGE | BPF_K`.
pub(super) const GREATER_EQUAL: u16 = 0x35;
/// `BPF_RET | BPF_K`.
pub(super) const RETURN: u16 = 0x06;

/// What happens to one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Always the same.
    Always(u32),
    /// The first alternative whose conditions all hold, else the last value.
    Depends(Vec<(Vec<ArgumentRule>, u32)>, u32),
}

/// The verdicts of one architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    pub arch: Arch,
    /// By number, for the calls that rules name.
    pub calls: BTreeMap<u32, Verdict>,
    pub default: u32,
    /// For numbers beyond the highest that a rule names.
    pub beyond: u32,
}

/// Compiles the rules of a specification.
pub fn compile(rules: &LinuxSeccomp) -> Result<Program, SeccompError> {
    let tables = plan(rules)?;
    let mut instructions = vec![load(OFFSET_ARCH)];
    let x32 = tables.iter().find(|table| table.arch == Arch::X32);
    for table in tables.iter().filter(|table| table.arch != Arch::X32) {
        let mut section = Section::default();
        let entry = if table.arch == Arch::X86_64 {
            let other = x32.map_or(Target::Return(RET_KILL_THREAD), |table| section.tree(table));
            let own = section.tree(table);
            section.branch(X32_BIT, own, other)
        } else {
            section.tree(table)
        };
        let section = section.finish(entry);
        // Equal goes on here; unequal jumps over the section.
        instructions.push(Instruction { code: EQUAL, jt: 1, jf: 0, k: table.arch.audit() });
        instructions.push(Instruction { code: JUMP, jt: 0, jf: 0, k: section.len() as u32 });
        instructions.extend(section);
    }
    instructions.push(ret(RET_KILL_THREAD));
    if instructions.len() > MAX_INSTRUCTIONS {
        return Err(SeccompError::Length(instructions.len()));
    }
    let (agent, flags) = (agent(rules)?, flags(&rules.flags)?);
    let flags = match &agent {
        // The kernel reports a thread that cannot follow by an error number where it returns a descriptor.
        Some(_) if flags & FLAG_TSYNC != 0 => flags | FLAG_NEW_LISTENER | FLAG_TSYNC_ESRCH,
        Some(_) => flags | FLAG_NEW_LISTENER,
        None => flags,
    };
    Ok(Program { instructions, flags, agent })
}

/// System calls that the runtime itself makes between loading the filter and handing over its descriptor: nobody could
/// answer for them.
const NEEDED_FOR_AGENT: [&str; 4] = ["write", "sendmsg", "recvmsg", "read"];

/// Who is asked, when any rule says so.
fn agent(rules: &LinuxSeccomp) -> Result<Option<Agent>, SeccompError> {
    let refuse = |text: &str| Err(SeccompError::Agent(text.into()));
    if rules.default_action == Action::Notify {
        return refuse("SCMP_ACT_NOTIFY cannot be used as default action");
    }
    let mut asked = rules.syscalls.iter().filter(|rule| rule.action == Action::Notify).peekable();
    if asked.peek().is_none() {
        return match rules.listener_path.as_str() {
            "" if !rules.listener_metadata.is_empty() => {
                refuse("listenerMetadata is set without listenerPath")
            }
            _ => Ok(None),
        };
    }
    let mut names = asked.flat_map(|rule| &rule.names);
    if let Some(name) = names.find(|name| NEEDED_FOR_AGENT.contains(&name.as_str())) {
        return refuse(&format!("SCMP_ACT_NOTIFY cannot be used for the {name} syscall"));
    }
    if !rules.listener_path.starts_with('/') {
        return refuse("SCMP_ACT_NOTIFY needs listenerPath, an absolute path");
    }
    Ok(Some(Agent { path: rules.listener_path.clone(), metadata: rules.listener_metadata.clone() }))
}

/// Sorts the rules by architecture and call.
pub(super) fn plan(rules: &LinuxSeccomp) -> Result<Vec<Table>, SeccompError> {
    let mut arches = vec![Arch::NATIVE];
    for name in &rules.architectures {
        let arch = Arch::of_name(name).ok_or_else(|| SeccompError::Arch(name.clone()))?;
        if !arches.contains(&arch) {
            arches.push(arch);
        }
    }
    // x32 calls arrive under x86-64's number.
    if arches.contains(&Arch::X32) && !arches.contains(&Arch::X86_64) {
        arches.push(Arch::X86_64);
    }
    let default = value(rules.default_action, rules.default_errno_ret);
    for rule in &rules.syscalls {
        check(rule)?;
    }
    arches.into_iter().map(|arch| plan_arch(rules, arch, default)).collect()
}

fn check(rule: &SyscallRule) -> Result<(), SeccompError> {
    let call = || rule.names.first().cloned().unwrap_or_default();
    if let Some(argument) = rule.args.iter().find(|argument| argument.index > 5) {
        return Err(SeccompError::Argument { call: call(), index: argument.index });
    }
    Ok(())
}

fn plan_arch(rules: &LinuxSeccomp, arch: Arch, default: u32) -> Result<Table, SeccompError> {
    let mut calls: BTreeMap<u32, Verdict> = BTreeMap::new();
    for rule in &rules.syscalls {
        let value = value(rule.action, rule.errno_ret);
        for number in rule.names.iter().filter_map(|name| arch.number(name)) {
            let verdict = calls.entry(number).or_insert_with(|| Verdict::Depends(Vec::new(), default));
            let Verdict::Depends(alternatives, _) = verdict else { continue };
            if rule.args.is_empty() {
                *verdict = Verdict::Always(value);
            } else {
                alternatives.extend(conditions(&rule.args).into_iter().map(|all| (all, value)));
            }
        }
    }
    let permissive = matches!(rules.default_action, Action::Allow | Action::Log | Action::Trace);
    let beyond = if permissive || calls.is_empty() { default } else { RET_ERRNO | libc::ENOSYS as u32 };
    Ok(Table { arch, calls, default, beyond })
}

/// Conditions on different arguments must all hold; two on the same argument are alternatives of each other, and
/// then every condition stands alone (as runc has always read them).
fn conditions(args: &[ArgumentRule]) -> Vec<Vec<ArgumentRule>> {
    let repeated =
        args.iter().enumerate().any(|(at, one)| args[..at].iter().any(|other| other.index == one.index));
    if repeated { args.iter().map(|&one| vec![one]).collect() } else { vec![args.to_vec()] }
}

fn value(action: Action, errno: Option<u32>) -> u32 {
    let data = errno.unwrap_or(libc::EPERM as u32) & 0xffff;
    match action {
        Action::KillThread => RET_KILL_THREAD,
        Action::KillProcess => RET_KILL_PROCESS,
        Action::Trap => RET_TRAP,
        Action::Errno => RET_ERRNO | data,
        Action::Trace => RET_TRACE | data,
        Action::Log => RET_LOG,
        Action::Allow => RET_ALLOW,
        Action::Notify => RET_USER_NOTIFY,
    }
}

fn flags(names: &[String]) -> Result<u32, SeccompError> {
    names.iter().try_fold(0, |all, name| {
        Ok(all
            | match name.as_str() {
                "SECCOMP_FILTER_FLAG_TSYNC" => FLAG_TSYNC,
                "SECCOMP_FILTER_FLAG_LOG" => FLAG_LOG,
                "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => FLAG_SPEC_ALLOW,
                "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" => FLAG_WAIT_KILLABLE_RECV,
                _ => return Err(SeccompError::Flag(name.clone())),
            })
    })
}

const fn load(offset: u32) -> Instruction {
    Instruction { code: LOAD, jt: 0, jf: 0, k: offset }
}

const fn ret(value: u32) -> Instruction {
    Instruction { code: RETURN, jt: 0, jf: 0, k: value }
}

/// The part of a program about one architecture, built from its end, so that every jump's target is known and the
/// returns at the end of many branches are shared.
#[derive(Debug, Default)]
struct Section {
    /// Last instruction first.
    backwards: Vec<Instruction>,
    /// Where the newest return of a value is.
    returns: BTreeMap<u32, usize>,
}

/// Where a branch goes.
#[derive(Debug, Clone, Copy)]
enum Target {
    /// To a return of the value, wherever one is.
    Return(u32),
    /// To the instruction with this place from the end.
    At(usize),
}

impl Section {
    /// Farther than this a conditional jump is not relied on: it reaches 255, and others may still come in between.
    const REACH: usize = 240;

    /// The decision tree of an architecture, with the call's number in the accumulator.
    fn tree(&mut self, table: &Table) -> Target {
        let default = Verdict::Always(table.default);
        let beyond = Verdict::Always(table.beyond);
        let mut ranges: Vec<(u32, &Verdict)> = Vec::new();
        let mut next = if table.arch == Arch::X32 { X32_BIT } else { 0 };
        let mut push = |from: u32, verdict| match ranges.last() {
            // A neighbour with the same verdict is the same range.
            Some(&(_, last)) if last == verdict => {}
            _ => ranges.push((from, verdict)),
        };
        for (&number, verdict) in &table.calls {
            if number > next {
                push(next, &default);
            }
            push(number, verdict);
            next = number + 1;
        }
        push(next, &beyond);
        self.subtree(table.arch, &ranges)
    }

    /// Ranges by their first numbers; the last is open.
    fn subtree(&mut self, arch: Arch, ranges: &[(u32, &Verdict)]) -> Target {
        match ranges {
            [(_, Verdict::Always(value))] => Target::Return(*value),
            [(_, verdict)] => {
                self.backwards.extend(leaf(arch, verdict).into_iter().rev());
                Target::At(self.backwards.len() - 1)
            }
            _ => {
                let (low, high) = ranges.split_at(ranges.len() / 2);
                let (yes, no) = (self.subtree(arch, high), self.subtree(arch, low));
                self.branch(high[0].0, no, yes)
            }
        }
    }

    /// Puts a test in front: numbers from `first` on go to `yes`.
    fn branch(&mut self, first: u32, no: Target, yes: Target) -> Target {
        let (yes, no) = (self.near(yes), self.near(no));
        let here = self.backwards.len();
        let distance = |target: usize| (here - target - 1) as u8;
        self.backwards.push(Instruction {
            code: GREATER_EQUAL,
            jt: distance(yes),
            jf: distance(no),
            k: first,
        });
        Target::At(here)
    }

    /// A place within reach that is the target or leads to it.
    fn near(&mut self, target: Target) -> usize {
        let here = self.backwards.len();
        match target {
            Target::Return(value) => match self.returns.get(&value) {
                Some(&at) if here - at < Self::REACH => at,
                _ => {
                    self.backwards.push(ret(value));
                    self.returns.insert(value, here);
                    here
                }
            },
            Target::At(at) if here - at < Self::REACH => at,
            Target::At(at) => {
                self.backwards.push(Instruction { code: JUMP, jt: 0, jf: 0, k: (here - at - 1) as u32 });
                here
            }
        }
    }

    /// The section in order: it begins with loading the number and goes to `entry`.
    fn finish(mut self, entry: Target) -> Vec<Instruction> {
        let at = self.near(entry);
        let here = self.backwards.len();
        if here - at > 1 {
            self.backwards.push(Instruction { code: JUMP, jt: 0, jf: 0, k: (here - at - 1) as u32 });
        }
        self.backwards.push(load(OFFSET_NUMBER));
        self.backwards.reverse();
        self.backwards
    }
}

fn leaf(arch: Arch, verdict: &Verdict) -> Vec<Instruction> {
    match verdict {
        Verdict::Always(value) => vec![ret(*value)],
        Verdict::Depends(alternatives, otherwise) => {
            let mut code = vec![ret(*otherwise)];
            for (conditions, value) in alternatives.iter().rev() {
                let mut all = vec![ret(*value)];
                for condition in conditions.iter().rev() {
                    all = test(arch, condition, all);
                }
                all.extend(code);
                code = all;
            }
            code
        }
    }
}

/// Puts the test of one condition in front of `hold`. When it fails, it goes to what follows `hold`, as the tests
/// inside `hold` do.
///
/// A 64-bit argument is two words; the high one decides unless it is equal. Where arguments have 32 bits there is nothing
/// in the high word that the call would see.
fn test(arch: Arch, condition: &ArgumentRule, hold: Vec<Instruction>) -> Vec<Instruction> {
    let low = OFFSET_ARGUMENTS + condition.index * 8;
    let high = low + 4;
    let (value_low, value_high) = (condition.value as u32, (condition.value >> 32) as u32);
    let two = condition.value_two;
    let wide = arch.has_wide_arguments();
    let mut code = Code::default();
    match condition.op {
        Operator::Equal => {
            if wide {
                code.load(high).fail_unless(EQUAL, value_high);
            }
            code.load(low).fail_unless(EQUAL, value_low);
        }
        Operator::NotEqual => {
            if wide {
                code.load(high).hold_unless(EQUAL, value_high);
            }
            code.load(low).fail_if(EQUAL, value_low);
        }
        Operator::Greater | Operator::GreaterEqual => {
            let last = if condition.op == Operator::Greater { GREATER } else { GREATER_EQUAL };
            if wide {
                code.load(high).hold_if(GREATER, value_high).fail_unless(EQUAL, value_high);
            }
            code.load(low).fail_unless(last, value_low);
        }
        Operator::Less | Operator::LessEqual => {
            let last = if condition.op == Operator::Less { GREATER_EQUAL } else { GREATER };
            if wide {
                code.load(high).fail_if(GREATER, value_high).hold_unless(EQUAL, value_high);
            }
            code.load(low).fail_if(last, value_low);
        }
        Operator::MaskedEqual => {
            if wide {
                code.load(high).and(value_high).fail_unless(EQUAL, (two >> 32) as u32);
            }
            code.load(low).and(value_low).fail_unless(EQUAL, two as u32);
        }
    }
    code.finish(hold)
}

/// A test being built: straight instructions, and jumps to its two ends.
#[derive(Debug, Default)]
struct Code(Vec<Step>);

#[derive(Debug)]
enum Step {
    Plain(Instruction),
    /// Test, value, and where it goes when the test is true and when not: on, to `hold`, or to the failing end.
    Jump(u16, u32, To, To),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum To {
    Next,
    Hold,
    Fail,
}

impl Code {
    fn load(&mut self, offset: u32) -> &mut Self {
        self.0.push(Step::Plain(load(offset)));
        self
    }

    fn and(&mut self, mask: u32) -> &mut Self {
        self.0.push(Step::Plain(Instruction { code: AND, jt: 0, jf: 0, k: mask }));
        self
    }

    fn fail_unless(&mut self, test: u16, k: u32) -> &mut Self {
        self.0.push(Step::Jump(test, k, To::Next, To::Fail));
        self
    }

    fn fail_if(&mut self, test: u16, k: u32) -> &mut Self {
        self.0.push(Step::Jump(test, k, To::Fail, To::Next));
        self
    }

    fn hold_unless(&mut self, test: u16, k: u32) -> &mut Self {
        self.0.push(Step::Jump(test, k, To::Next, To::Hold));
        self
    }

    fn hold_if(&mut self, test: u16, k: u32) -> &mut Self {
        self.0.push(Step::Jump(test, k, To::Hold, To::Next));
        self
    }

    /// Lays the test before `hold`. The failing end lies right behind `hold`, and is near: a test has at most five
    /// instructions and a rule at most six tests.
    fn finish(self, hold: Vec<Instruction>) -> Vec<Instruction> {
        let length = self.0.len();
        let mut code = Vec::with_capacity(length + hold.len());
        for (at, step) in self.0.into_iter().enumerate() {
            let left = length - at - 1;
            let distance = |to| match to {
                To::Next => 0,
                To::Hold => left as u8,
                To::Fail => (left + hold.len()) as u8,
            };
            code.push(match step {
                Step::Plain(instruction) => instruction,
                Step::Jump(test, k, yes, no) => {
                    Instruction { code: test, jt: distance(yes), jf: distance(no), k }
                }
            });
        }
        code.extend(hold);
        code
    }
}
