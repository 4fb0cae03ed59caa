//! Who the process is: ids, capabilities, limits, labels. The same for a container's first process and for one that
//! joins it.
//!
//! ```text
//!   limits, scheduling      while still privileged
//!   bounding set ─▶ groups ─▶ gid ─▶ uid         capabilities are kept over the change of the uid
//!   parent-death signal                          a change of credentials clears it
//!   filter                                       the last step that needs a privilege
//!   permitted, effective, inheritable, ambient   exactly what was asked for
//! ```

use std::io::{self, Write as _};
use std::os::fd::{AsFd, OwnedFd};

use corten_sys::process::{
    Scheduling, set_io_priority, set_parent_death_signal, set_personality, set_scheduling,
};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Resource, Rlimit as KernelLimit, getrlimit, setrlimit};
use rustix::thread::{
    CapabilitySet as KernelSet, CapabilitySets, clear_ambient_capability_set,
    configure_capability_in_ambient_set, remove_capability_from_bounding_set, set_capabilities,
    set_keep_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};
use rustix::thread::{Gid, Uid};

use super::error::InitFailure;
use crate::capability::CapabilitySet;
use crate::spec::{IoPriority, Personality, Process, Scheduler};

/// The highest id: the kernel's word for "leave it".
const NO_ID: u32 = u32::MAX;

/// What a process is to be.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Identity {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    umask: u32,
    capabilities: Option<Sets>,
    no_new_privileges: bool,
    limits: Vec<(Resource, KernelLimit)>,
    oom_score_adj: Option<i32>,
    apparmor: Option<String>,
    selinux: Option<String>,
    scheduling: Option<(u32, Scheduler)>,
    io_priority: Option<(u32, u32)>,
    personality: Option<u64>,
}

/// The five capability sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Sets {
    bounding: CapabilitySet,
    effective: CapabilitySet,
    permitted: CapabilitySet,
    inheritable: CapabilitySet,
    ambient: CapabilitySet,
}

impl Identity {
    /// Checks what `process` asks for. The error says what cannot be met.
    pub(super) fn plan(process: &Process, personality: Option<&Personality>) -> Result<Self, String> {
        let user = &process.user;
        for id in [user.uid, user.gid].into_iter().chain(user.additional_gids.iter().copied()) {
            if id == NO_ID {
                return Err(format!("id {id} is out of range"));
            }
        }
        let limits = process.rlimits.iter().map(|limit| {
            let kind = resource(&limit.kind).ok_or_else(|| format!("invalid rlimit type: {}", limit.kind))?;
            let value = |n: u64| (n != u64::MAX).then_some(n);
            Ok((kind, KernelLimit { current: value(limit.soft), maximum: value(limit.hard) }))
        });
        let named = |text: &String| (!text.is_empty()).then(|| text.clone());
        Ok(Self {
            uid: user.uid,
            gid: user.gid,
            groups: user.additional_gids.clone(),
            umask: user.umask.unwrap_or(0o022) & 0o777,
            capabilities: process.capabilities.as_ref().map(|sets| Sets {
                bounding: CapabilitySet::from_names(&sets.bounding),
                effective: CapabilitySet::from_names(&sets.effective),
                permitted: CapabilitySet::from_names(&sets.permitted),
                inheritable: CapabilitySet::from_names(&sets.inheritable),
                ambient: CapabilitySet::from_names(&sets.ambient),
            }),
            no_new_privileges: process.no_new_privileges,
            limits: limits.collect::<Result<_, String>>()?,
            oom_score_adj: process.oom_score_adj,
            apparmor: named(&process.apparmor_profile),
            selinux: named(&process.selinux_label),
            scheduling: process.scheduler.as_ref().map(plan_scheduling).transpose()?,
            io_priority: process.io_priority.as_ref().map(plan_io_priority).transpose()?,
            personality: personality.map(plan_personality).transpose()?,
        })
    }

    /// Whether a filter is loaded without a privilege, because nothing can be gained any more.
    pub(super) fn no_new_privileges(&self) -> bool {
        self.no_new_privileges
    }

    /// The user id inside the container.
    pub(super) fn uid(&self) -> u32 {
        self.uid
    }

    /// Opens what has to be written in the procfs of the runtime's own world, before that is left behind.
    pub(super) fn open_attributes(&self) -> Result<Attributes, InitFailure> {
        let open = |path: &str| {
            rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()).map_err(io::Error::from)
        };
        let exec = match (&self.apparmor, &self.selinux) {
            (Some(profile), _) => {
                let file = open("/proc/self/attr/apparmor/exec").or_else(|_| open("/proc/self/attr/exec"));
                let file = file.map_err(|e| InitFailure::system("unable to apply apparmor profile", &e))?;
                Some((file, format!("exec {profile}")))
            }
            (None, Some(label)) => {
                let file = open("/proc/self/attr/exec")
                    .map_err(|e| InitFailure::system("can't set process label", &e))?;
                Some((file, label.clone()))
            }
            (None, None) => None,
        };
        Ok(Attributes { exec })
    }

    /// Writes the score by which the kernel picks a victim when memory runs out.
    ///
    /// Lowering it needs a privilege that the runtime may lack itself; then it stays as it is.
    pub(super) fn apply_oom_score(&self) -> Result<(), InitFailure> {
        let Some(score) = self.oom_score_adj else { return Ok(()) };
        let write = || -> io::Result<()> {
            let fd = rustix::fs::open(
                "/proc/self/oom_score_adj",
                OFlags::WRONLY | OFlags::CLOEXEC,
                Mode::empty(),
            )?;
            std::fs::File::from(fd).write_all(score.to_string().as_bytes())
        };
        match write() {
            Err(e) if e.raw_os_error() != Some(libc::EACCES) => {
                Err(InitFailure::system(format_args!("write oom_score_adj {score}"), &e))
            }
            _ => Ok(()),
        }
    }

    /// Sets limits and scheduling. Needs the privileges that [`Identity::become_user`] gives up.
    pub(super) fn apply_limits(&self) -> Result<(), InitFailure> {
        for (kind, limit) in &self.limits {
            set_limit(*kind, *limit).map_err(|e| InitFailure::system("error setting rlimit", &e))?;
        }
        if let Some((policy, scheduler)) = &self.scheduling {
            let scheduling = Scheduling {
                policy: *policy,
                flags: scheduler_flags(scheduler),
                nice: scheduler.nice,
                priority: scheduler.priority as u32,
                runtime: scheduler.runtime,
                deadline: scheduler.deadline,
                period: scheduler.period,
            };
            set_scheduling(&scheduling).map_err(|e| InitFailure::system("error setting scheduler", &e))?;
        }
        if let Some((class, level)) = self.io_priority {
            set_io_priority(class, level)
                .map_err(|e| InitFailure::system("failed to set io priority", &e))?;
        }
        if self.no_new_privileges {
            set_no_new_privs(true).map_err(|e| InitFailure::system("prctl(SET_NO_NEW_PRIVS)", &e.into()))?;
        }
        if let Some(persona) = self.personality {
            set_personality(persona).map_err(|e| InitFailure::system("unable to set personality", &e))?;
        }
        Ok(())
    }

    /// Drops the bounding set and takes the ids. Permitted capabilities stay until [`Identity::apply_capabilities`].
    pub(super) fn become_user(&self) -> Result<(), InitFailure> {
        if let Some(sets) = self.capabilities {
            for capability in (0..64).filter(|n| sets.bounding.bits() & (1 << n) == 0) {
                match remove_capability_from_bounding_set(KernelSet::from_bits_retain(1 << capability)) {
                    Ok(()) => {}
                    // The first number that this kernel does not have.
                    Err(rustix::io::Errno::INVAL) => break,
                    Err(e) => return Err(InitFailure::system("unable to apply bounding set", &e.into())),
                }
            }
        }
        let user = |e: rustix::io::Errno| InitFailure::system("unable to setup user", &e.into());
        if self.uid != 0 {
            set_keep_capabilities(true)
                .map_err(|e| InitFailure::system("unable to set keep caps", &e.into()))?;
        }
        let list: Vec<Gid> = self.groups.iter().map(|&gid| Gid::from_raw(gid)).collect();
        match set_thread_groups(&list) {
            // A user namespace that forbids groups has none to take away either.
            Err(rustix::io::Errno::PERM) if list.is_empty() => {}
            other => other.map_err(user)?,
        }
        let gid = Gid::from_raw(self.gid);
        set_thread_res_gid(gid, gid, gid).map_err(user)?;
        let uid = Uid::from_raw(self.uid);
        set_thread_res_uid(uid, uid, uid).map_err(user)?;
        rustix::process::umask(Mode::from_raw_mode(self.umask));
        Ok(())
    }

    /// Asks for `signal` at the parent's end. After the change of ids, which clears it.
    pub(super) fn apply_death_signal(signal: Option<i32>) -> Result<(), InitFailure> {
        match signal {
            Some(signal) => set_parent_death_signal(signal)
                .map_err(|e| InitFailure::system("can't restore pdeath signal", &e)),
            None => Ok(()),
        }
    }

    /// Makes the permitted capabilities effective, which a change of the user id has put to sleep.
    pub(super) fn wake_capabilities(&self) -> Result<(), InitFailure> {
        if self.uid == 0 {
            return Ok(());
        }
        let caps = |e: rustix::io::Errno| InitFailure::system("unable to apply caps", &e.into());
        let now = rustix::thread::capabilities(None).map_err(caps)?;
        set_capabilities(None, CapabilitySets { effective: now.permitted, ..now }).map_err(caps)
    }

    /// Takes exactly the capabilities that were asked for, out of those that are there.
    pub(super) fn apply_capabilities(&self) -> Result<(), InitFailure> {
        let caps = |e: rustix::io::Errno| InitFailure::system("unable to apply caps", &e.into());
        let Some(sets) = self.capabilities else { return Ok(()) };
        let have =
            CapabilitySet::from_bits(rustix::thread::capabilities(None).map_err(caps)?.permitted.bits());
        let kernel = |set: CapabilitySet| KernelSet::from_bits_retain(set.bits());
        let permitted = sets.permitted.and(have);
        let wanted = CapabilitySets {
            effective: kernel(sets.effective.and(permitted)),
            permitted: kernel(permitted),
            inheritable: kernel(sets.inheritable),
        };
        set_capabilities(None, wanted).map_err(caps)?;
        clear_ambient_capability_set().map_err(caps)?;
        let possible = sets.ambient.and(permitted).and(sets.inheritable);
        for capability in possible.iter() {
            let one = KernelSet::from_bits_retain(1 << capability.number());
            configure_capability_in_ambient_set(one, true).map_err(caps)?;
        }
        Ok(())
    }
}

/// Files that wait to be written until the process is about to execute.
#[derive(Debug)]
pub(super) struct Attributes {
    exec: Option<(OwnedFd, String)>,
}

impl Attributes {
    /// Writes the label or profile that the next execution takes. One that cannot be applied is an error.
    pub(super) fn apply(self) -> Result<(), InitFailure> {
        let Some((file, text)) = self.exec else { return Ok(()) };
        match rustix::io::write(file.as_fd(), text.as_bytes()) {
            Ok(_) => Ok(()),
            Err(e) => Err(InitFailure::system(format_args!("unable to apply label {text:?}"), &e.into())),
        }
    }
}

/// Sets a limit, going as high as the runtime itself may when it may not go all the way.
fn set_limit(kind: Resource, limit: KernelLimit) -> io::Result<()> {
    match setrlimit(kind, limit) {
        Err(rustix::io::Errno::PERM) => {
            let ceiling = getrlimit(kind).maximum;
            let lower = |wanted: Option<u64>| match (wanted, ceiling) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (None, bound) | (bound, None) => bound,
            };
            Ok(setrlimit(kind, KernelLimit { current: lower(limit.current), maximum: lower(limit.maximum) })?)
        }
        other => Ok(other?),
    }
}

fn resource(name: &str) -> Option<Resource> {
    Some(match name {
        "RLIMIT_CPU" => Resource::Cpu,
        "RLIMIT_FSIZE" => Resource::Fsize,
        "RLIMIT_DATA" => Resource::Data,
        "RLIMIT_STACK" => Resource::Stack,
        "RLIMIT_CORE" => Resource::Core,
        "RLIMIT_RSS" => Resource::Rss,
        "RLIMIT_NPROC" => Resource::Nproc,
        "RLIMIT_NOFILE" => Resource::Nofile,
        "RLIMIT_MEMLOCK" => Resource::Memlock,
        "RLIMIT_AS" => Resource::As,
        "RLIMIT_LOCKS" => Resource::Locks,
        "RLIMIT_SIGPENDING" => Resource::Sigpending,
        "RLIMIT_MSGQUEUE" => Resource::Msgqueue,
        "RLIMIT_NICE" => Resource::Nice,
        "RLIMIT_RTPRIO" => Resource::Rtprio,
        "RLIMIT_RTTIME" => Resource::Rttime,
        _ => return None,
    })
}

fn plan_scheduling(scheduler: &Scheduler) -> Result<(u32, Scheduler), String> {
    let policy = match scheduler.policy.as_str() {
        "SCHED_OTHER" => 0,
        "SCHED_FIFO" => 1,
        "SCHED_RR" => 2,
        "SCHED_BATCH" => 3,
        "SCHED_ISO" => 4,
        "SCHED_IDLE" => 5,
        "SCHED_DEADLINE" => 6,
        other => return Err(format!("scheduler policy {other:?} is not known")),
    };
    for flag in &scheduler.flags {
        if scheduler_flag(flag).is_none() {
            return Err(format!("scheduler flag {flag:?} is not known"));
        }
    }
    Ok((policy, scheduler.clone()))
}

fn scheduler_flag(name: &str) -> Option<u64> {
    Some(match name {
        "SCHED_FLAG_RESET_ON_FORK" => 0x01,
        "SCHED_FLAG_RECLAIM" => 0x02,
        "SCHED_FLAG_DL_OVERRUN" => 0x04,
        "SCHED_FLAG_KEEP_POLICY" => 0x08,
        "SCHED_FLAG_KEEP_PARAMS" => 0x10,
        "SCHED_FLAG_UTIL_CLAMP_MIN" => 0x20,
        "SCHED_FLAG_UTIL_CLAMP_MAX" => 0x40,
        _ => return None,
    })
}

fn scheduler_flags(scheduler: &Scheduler) -> u64 {
    scheduler.flags.iter().filter_map(|flag| scheduler_flag(flag)).fold(0, |all, flag| all | flag)
}

fn plan_io_priority(priority: &IoPriority) -> Result<(u32, u32), String> {
    let class = match priority.class.as_str() {
        "IOPRIO_CLASS_RT" => 1,
        "IOPRIO_CLASS_BE" => 2,
        "IOPRIO_CLASS_IDLE" => 3,
        other => return Err(format!("invalid io priority class: {other}")),
    };
    match u32::try_from(priority.priority) {
        Ok(level @ 0..=7) => Ok((class, level)),
        _ => Err(format!("io priority {} is not between 0 and 7", priority.priority)),
    }
}

fn plan_personality(personality: &Personality) -> Result<u64, String> {
    if !personality.flags.is_empty() {
        return Err("personality flags are not supported".into());
    }
    match personality.domain.as_str() {
        "LINUX" => Ok(0x0000),
        "LINUX32" => Ok(0x0008),
        other => Err(format!("personality domain {other:?} is not known")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Rlimit, User};

    #[test]
    fn an_id_that_means_nothing_to_the_kernel_is_refused() {
        for user in [
            User { uid: u32::MAX, ..User::default() },
            User { gid: u32::MAX, ..User::default() },
            User { additional_gids: vec![u32::MAX], ..User::default() },
        ] {
            assert!(Identity::plan(&Process { user, ..Process::default() }, None).is_err());
        }
    }

    #[test]
    fn an_unknown_limit_is_named() {
        let rlimits = vec![Rlimit { kind: "RLIMIT_FUN".into(), hard: 1, soft: 1 }];
        let error = Identity::plan(&Process { rlimits, ..Process::default() }, None).unwrap_err();
        assert_eq!(error, "invalid rlimit type: RLIMIT_FUN");
    }
}
