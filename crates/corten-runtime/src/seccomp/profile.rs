//! Profiles in Docker's own format, whose rules depend on capabilities, architecture and kernel, and the default one as
//! data.

use serde::Deserialize;

use super::{Arch, SeccompError};
use crate::capability::{Capability, CapabilitySet};
use crate::spec::{Action, ArgumentRule, LinuxSeccomp, Operator, SyscallRule};

/// A profile document, as `--security-opt seccomp=FILE` takes it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Profile {
    /// What happens when no rule matches.
    pub default_action: Option<Action>,
    /// Error number of the default action.
    pub default_errno_ret: Option<u32>,
    /// Architectures besides the native one.
    pub architectures: Option<Vec<String>>,
    /// Architectures by native one; excludes `architectures`.
    pub arch_map: Option<Vec<ProfileArch>>,
    /// `SECCOMP_FILTER_FLAG_*` names.
    pub flags: Option<Vec<String>>,
    /// Rules.
    pub syscalls: Option<Vec<ProfileRule>>,
}

/// What comes with a native architecture.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProfileArch {
    /// The native one.
    pub architecture: String,
    /// Those that come with it.
    pub sub_architectures: Option<Vec<String>>,
}

/// A rule and when it is part of the filter.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProfileRule {
    /// One call; excludes `names`.
    pub name: String,
    /// Calls.
    pub names: Option<Vec<String>>,
    /// What happens.
    pub action: Action,
    /// Error number of the action.
    pub errno_ret: Option<u32>,
    /// Conditions on arguments.
    pub args: Option<Vec<ArgumentRule>>,
    /// All of these must hold.
    pub includes: Option<Condition>,
    /// None of these may hold.
    pub excludes: Option<Condition>,
}

/// Facts about a container and its host.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    /// Capabilities of the bounding set.
    pub caps: Option<Vec<String>>,
    /// Native architectures, by Docker's names.
    pub arches: Option<Vec<String>>,
    /// The oldest kernel, `major.minor`.
    pub min_kernel: Option<String>,
}

impl Profile {
    /// Reads a document.
    pub fn parse(text: &str) -> Result<Self, SeccompError> {
        serde_json::from_str(text)
            .map_err(|e| SeccompError::Profile(format!("decoding seccomp profile failed: {e}")))
    }

    /// Picks the rules for a container with these capabilities in its bounding set; `None` when the document names
    /// neither a default action nor calls, which means no filter.
    pub fn resolve(&self, capabilities: CapabilitySet) -> Result<Option<LinuxSeccomp>, SeccompError> {
        let rules = self.syscalls.as_deref().unwrap_or_default();
        let Some(default_action) = self.default_action else {
            return if rules.is_empty() {
                Ok(None)
            } else {
                Err(SeccompError::Profile("no default action in the seccomp profile".into()))
            };
        };
        let listed = self.architectures.clone().unwrap_or_default();
        let map = self.arch_map.as_deref().unwrap_or_default();
        if !listed.is_empty() && !map.is_empty() {
            return Err(SeccompError::Profile(
                "both 'architectures' and 'archMap' are specified in the seccomp profile, use either 'architectures' or \
                 'archMap'"
                    .into(),
            ));
        }
        let mut architectures = listed;
        if let Some(own) = map.iter().find(|own| Arch::of_name(&own.architecture) == Some(Arch::NATIVE)) {
            architectures.push(own.architecture.clone());
            architectures.extend(own.sub_architectures.iter().flatten().cloned());
        }
        let mut syscalls = Vec::new();
        for rule in rules {
            let mut names = rule.names.clone().unwrap_or_default();
            if !rule.name.is_empty() {
                if !names.is_empty() {
                    return Err(SeccompError::Profile(
                        "both 'name' and 'names' are specified in the seccomp profile, use either 'name' or 'names'"
                            .into(),
                    ));
                }
                names.push(rule.name.clone());
            }
            let included = match &rule.includes {
                Some(condition) => condition.all(capabilities)?,
                None => true,
            };
            let excluded = match &rule.excludes {
                Some(condition) => condition.any(capabilities)?,
                None => false,
            };
            if included && !excluded {
                syscalls.push(SyscallRule {
                    names,
                    action: rule.action,
                    errno_ret: rule.errno_ret,
                    args: rule.args.clone().unwrap_or_default(),
                });
            }
        }
        Ok(Some(LinuxSeccomp {
            default_action,
            default_errno_ret: self.default_errno_ret,
            architectures,
            flags: self.flags.clone().unwrap_or_default(),
            syscalls,
            ..LinuxSeccomp::default()
        }))
    }
}

impl Condition {
    fn has_arch(&self) -> Option<bool> {
        let arches = self.arches.as_ref().filter(|list| !list.is_empty())?;
        Some(arches.iter().any(|name| name == native_name()))
    }

    fn new_enough(&self) -> Result<Option<bool>, SeccompError> {
        let Some(text) = &self.min_kernel else { return Ok(None) };
        let version = version(text)
            .ok_or_else(|| SeccompError::Profile(format!("invalid kernel version: {text:?}")))?;
        let running = rustix::system::uname().release().to_string_lossy().into_owned();
        let digits: String = running.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
        let mut parts = digits.splitn(3, '.').map(|part| part.trim_end_matches('.'));
        let own = parts.next().zip(parts.next()).and_then(|(major, minor)| version_of(major, minor));
        Ok(Some(own.is_some_and(|own| own >= version)))
    }

    fn all(&self, capabilities: CapabilitySet) -> Result<bool, SeccompError> {
        let caps = self.caps.iter().flatten().all(|name| has(capabilities, name));
        Ok(caps && self.has_arch().unwrap_or(true) && self.new_enough()?.unwrap_or(true))
    }

    fn any(&self, capabilities: CapabilitySet) -> Result<bool, SeccompError> {
        let caps = self.caps.iter().flatten().any(|name| has(capabilities, name));
        Ok(caps || self.has_arch().unwrap_or(false) || self.new_enough()?.unwrap_or(false))
    }
}

fn has(capabilities: CapabilitySet, name: &str) -> bool {
    name.parse::<Capability>().is_ok_and(|capability| capabilities.contains(capability))
}

fn native_name() -> &'static str {
    match Arch::NATIVE {
        Arch::Aarch64 => "arm64",
        _ => "amd64",
    }
}

fn version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    version_of(major, minor)
}

fn version_of(major: &str, minor: &str) -> Option<(u32, u32)> {
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Calls that are allowed with a capability.
const WITH_CAPABILITY: [(&str, &str); 14] = [
    ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    (
        "CAP_SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr \
         lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl \
         quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare",
    ),
    ("CAP_SYS_BOOT", "reboot"),
    ("CAP_SYS_CHROOT", "chroot"),
    ("CAP_SYS_MODULE", "delete_module init_module finit_module"),
    ("CAP_SYS_PACCT", "acct"),
    ("CAP_SYS_PTRACE", "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace"),
    ("CAP_SYS_RAWIO", "iopl ioperm"),
    ("CAP_SYS_TIME", "settimeofday stime clock_settime clock_settime64"),
    ("CAP_SYS_TTY_CONFIG", "vhangup"),
    ("CAP_SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    ("CAP_SYSLOG", "syslog"),
    ("CAP_BPF", "bpf"),
    ("CAP_PERFMON", "perf_event_open"),
];

/// The namespace flags of `clone`.
const CLONE_NAMESPACES: u64 = 0x7e02_0000;
/// `AF_VSOCK`, whose sockets reach the host past every network namespace.
const AF_VSOCK: u64 = 40;
/// Execution domains that a container may choose: Linux, 32 bits, no randomised addresses, both, and the question.
const PERSONALITIES: [u64; 5] = [0x0000_0000, 0x0000_0008, 0x0002_0000, 0x0002_0008, 0xffff_ffff];

/// Docker's default profile for a container with these capabilities in its bounding set.
pub fn docker_default(capabilities: &[Capability]) -> LinuxSeccomp {
    let capabilities: CapabilitySet = capabilities.iter().copied().collect();
    let arm = matches!(Arch::NATIVE, Arch::Aarch64 | Arch::Arm);
    let mut syscalls = vec![
        allow(ALLOWED, &[]),
        // Safe against escapes from the filter since Linux 4.8.
        allow("process_vm_readv process_vm_writev ptrace", &[]),
        allow("socket", &[(0, Operator::NotEqual, AF_VSOCK, 0)]),
    ];
    syscalls.extend(PERSONALITIES.map(|value| allow("personality", &[(0, Operator::Equal, value, 0)])));
    syscalls.push(if arm {
        allow("arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls", &[])
    } else {
        allow("arch_prctl modify_ldt", &[])
    });
    for (capability, names) in WITH_CAPABILITY {
        if has(capabilities, capability) {
            syscalls.push(allow(names, &[]));
        }
    }
    if !capabilities.contains(Capability::SYS_ADMIN) {
        syscalls.push(allow("clone", &[(0, Operator::MaskedEqual, CLONE_NAMESPACES, 0)]));
        // Its flags lie in memory, which a filter cannot see: programs fall back to `clone`.
        let names = vec!["clone3".into()];
        let errno_ret = Some(libc::ENOSYS as u32);
        syscalls.push(SyscallRule { names, action: Action::Errno, errno_ret, args: Vec::new() });
    }
    let architectures: &[&str] = if arm {
        &["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]
    } else {
        &["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]
    };
    LinuxSeccomp {
        default_action: Action::Errno,
        default_errno_ret: Some(libc::EPERM as u32),
        architectures: architectures.iter().map(|&name| name.into()).collect(),
        syscalls,
        ..LinuxSeccomp::default()
    }
}

fn allow(names: &str, args: &[(u32, Operator, u64, u64)]) -> SyscallRule {
    SyscallRule {
        names: names.split_whitespace().map(String::from).collect(),
        action: Action::Allow,
        errno_ret: None,
        args: args
            .iter()
            .map(|&(index, op, value, value_two)| ArgumentRule { index, value, value_two, op })
            .collect(),
    }
}

/// Calls that every container may make.
const ALLOWED: &str = "\
    accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown chown32 \
    clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64 \
    clock_nanosleep clock_nanosleep_time64 close close_range connect copy_file_range creat dup dup2 dup3 \
    epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old \
    eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate \
    fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr \
    flistxattr flock fork fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate \
    ftruncate64 futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake futimesat getcpu getcwd \
    getdents getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getitimer \
    getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid getresgid32 getresuid \
    getresuid32 getrlimit get_robust_list getrusage getsid getsockname getsockopt get_thread_area gettid \
    gettimeofday getuid getuid32 getxattr getxattrat inotify_add_watch inotify_init inotify_init1 \
    inotify_rm_watch io_cancel ioctl io_destroy io_getevents io_pgetevents io_pgetevents_time64 ioprio_get \
    ioprio_set io_setup io_submit ipc kill landlock_add_rule landlock_create_ruleset landlock_restrict_self \
    lchown lchown32 lgetxattr link linkat listen listmount listxattr listxattrat llistxattr _llseek \
    lremovexattr lseek lsetxattr lstat lstat64 madvise map_shadow_stack membarrier memfd_create memfd_secret \
    mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap mmap2 mprotect mq_getsetattr mq_notify \
    mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal \
    msgctl msgget msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at nanosleep newfstatat \
    _newselect open openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free \
    pkey_mprotect poll ppoll ppoll_time64 prctl pread64 preadv preadv2 prlimit64 process_mrelease pselect6 \
    pselect6_time64 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recv recvfrom recvmmsg \
    recvmmsg_time64 recvmsg remap_file_pages removexattr removexattrat rename renameat renameat2 \
    restart_syscall riscv_hwprobe rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo \
    rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_getaffinity \
    sched_getattr sched_getparam sched_get_priority_max sched_get_priority_min sched_getscheduler \
    sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam \
    sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop semtimedop_time64 send \
    sendfile sendfile64 sendmmsg sendmsg sendto setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 \
    setgroups setgroups32 setitimer setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid \
    setresuid32 setreuid setreuid32 setrlimit set_robust_list setsid setsockopt set_thread_area \
    set_tid_address setuid setuid32 setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaltstack \
    signalfd signalfd4 sigprocmask sigreturn socketcall socketpair splice stat stat64 statfs statfs64 \
    statmount statx symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill time timer_create \
    timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create \
    timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill truncate truncate64 \
    ugetrlimit umask uname unlink unlinkat uretprobe utime utimensat utimensat_time64 utimes vfork vmsplice \
    wait4 waitid waitpid write writev";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_s_list_has_its_size() {
        assert_eq!(ALLOWED.split_whitespace().count(), 361);
    }

    #[test]
    fn a_document_s_rules_depend_on_capabilities_and_kernel() {
        let profile = Profile::parse(
            r#"{"defaultAction":"SCMP_ACT_ERRNO","archMap":[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86"]},
                {"architecture":"SCMP_ARCH_AARCH64","subArchitectures":null}],
                "syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW"},
                {"name":"mount","action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_SYS_ADMIN"]},"args":null},
                {"names":["ptrace"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"4.8"}},
                {"names":["future"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"999.0"}},
                {"names":["clone"],"action":"SCMP_ACT_ALLOW","excludes":{"caps":["CAP_SYS_ADMIN"]}}]}"#,
        )
        .unwrap();
        let names = |set| -> Vec<String> {
            profile.resolve(set).unwrap().unwrap().syscalls.into_iter().flat_map(|rule| rule.names).collect()
        };
        assert_eq!(names(CapabilitySet::EMPTY), ["read", "ptrace", "clone"]);
        assert_eq!(names([Capability::SYS_ADMIN].into_iter().collect()), ["read", "mount", "ptrace"]);
    }

    #[test]
    fn an_empty_document_means_no_filter() {
        assert_eq!(Profile::parse("{}").unwrap().resolve(CapabilitySet::EMPTY).unwrap(), None);
        assert!(Profile::parse("{\"syscalls\":5}").is_err());
    }
}
