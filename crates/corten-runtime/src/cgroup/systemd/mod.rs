//! Cgroups that systemd makes: one transient scope for each container, with its limits as the scope's properties, so
//! that systemd, which owns the tree, knows them too.
//!
//! ```text
//!   cgroupsPath  SLICE:PREFIX:NAME ──▶ unit PREFIX-NAME.scope in SLICE ──▶ /a.slice/a-b.slice/PREFIX-NAME.scope
//! ```
//!
//! A scope needs a process at its birth. A placeholder is in it until the container's first process is: [`Placeholder`].
//!
//! **Refuses** user managers (rootless), and to talk to systemd about anything but scopes of containers.

mod bus;
mod message;

use std::os::fd::OwnedFd;

use corten_sys::process::{ForkError, Forked, Wait, exit_now, fork, send_signal, wait};

use self::bus::{Bus, BusError};
use self::message::{Method, Value, Writer};
use super::CgroupError;
use super::limits::{or_max_number, weight_of_blkio, weight_of_shares};
use crate::spec::LinuxResources;

const NO_SUCH_UNIT: &str = "org.freedesktop.systemd1.NoSuchUnit";
const UNIT_EXISTS: &str = "org.freedesktop.systemd1.UnitExists";

/// A scope by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    slice: String,
    prefix: String,
    name: String,
}

impl Scope {
    /// Reads `SLICE:PREFIX:NAME`; an empty slice is `system.slice`, and a path that is empty altogether is the scope
    /// `PREFIX-ID.scope` there.
    pub fn parse(cgroups_path: &str, prefix: &str, id: &str) -> Result<Self, CgroupError> {
        let bad = || {
            CgroupError::Limit(format!(
                "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got {cgroups_path:?} instead"
            ))
        };
        let (slice, prefix, name) = match cgroups_path {
            "" => ("", prefix, id),
            path => {
                let mut parts = path.split(':');
                match (parts.next(), parts.next(), parts.next(), parts.next()) {
                    (Some(slice), Some(prefix), Some(name), None) => (slice, prefix, name),
                    _ => return Err(bad()),
                }
            }
        };
        let slice = if slice.is_empty() { "system.slice" } else { slice };
        let plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-:\\@".contains(&b));
        if !slice.ends_with(".slice") || name.is_empty() || ![slice, prefix, name].into_iter().all(plain) {
            return Err(bad());
        }
        slice_path(slice).ok_or_else(bad)?;
        Ok(Self { slice: slice.into(), prefix: prefix.into(), name: name.into() })
    }

    /// Whether a specification's path names a scope.
    pub fn is_named_by(cgroups_path: &str) -> bool {
        !cgroups_path.starts_with('/') && cgroups_path.matches(':').count() == 2
    }

    /// The unit's name.
    pub fn unit(&self) -> String {
        // A name that is a slice is that of a pod's parent.
        if self.name.ends_with(".slice") {
            return self.name.clone();
        }
        if self.prefix.is_empty() {
            format!("{}.scope", self.name)
        } else {
            format!("{}-{}.scope", self.prefix, self.name)
        }
    }

    /// The cgroup's path below the hierarchies' roots.
    pub fn path(&self) -> String {
        format!("{}/{}", slice_path(&self.slice).unwrap_or_default(), self.unit())
    }

    /// Makes the scope with `limits`. What is returned keeps it alive until a process of the container is inside.
    pub fn start(&self, limits: &LinuxResources, unified: bool) -> Result<Placeholder, CgroupError> {
        let placeholder =
            Placeholder::new().map_err(CgroupError::file(self.path().as_ref(), "hold the scope"))?;
        let mut properties = vec![
            ("Description", Value::Text(format!("container {}", self.name))),
            ("Slice", Value::Text(self.slice.clone())),
            ("Delegate", Value::Bool(true)),
            ("PIDs", Value::Numbers(vec![placeholder.pid.cast_unsigned()])),
            ("MemoryAccounting", Value::Bool(true)),
            ("CPUAccounting", Value::Bool(true)),
            (if unified { "IOAccounting" } else { "BlockIOAccounting" }, Value::Bool(true)),
            ("TasksAccounting", Value::Bool(true)),
            ("DefaultDependencies", Value::Bool(false)),
            ("CollectMode", Value::Text("inactive-or-failed".into())),
        ];
        properties.extend(plan_properties(limits, unified));
        let mut manager = self.manager()?;
        let result = match manager.start(&self.unit(), &properties) {
            // The remains of one with the same name.
            Err(BusError::Refused { name, .. }) if name == UNIT_EXISTS => {
                manager.reset(&self.unit()).and_then(|()| manager.start(&self.unit(), &properties))
            }
            other => other,
        };
        result.map_err(|e| self.failure("start", e))?;
        Ok(placeholder)
    }

    /// Tells systemd changed limits.
    pub fn update(&self, limits: &LinuxResources, unified: bool) -> Result<(), CgroupError> {
        let properties = plan_properties(limits, unified);
        if properties.is_empty() {
            return Ok(());
        }
        self.manager()?.set(&self.unit(), &properties).map_err(|e| self.failure("update", e))
    }

    /// Ends the scope. That it is gone already is no error.
    pub fn stop(&self) -> Result<(), CgroupError> {
        let mut manager = self.manager()?;
        match manager.stop(&self.unit()) {
            Ok(()) => {}
            Err(BusError::Refused { name, .. }) if name == NO_SUCH_UNIT => {}
            Err(e) => return Err(self.failure("stop", e)),
        }
        // A failed one is remembered by name.
        let _ = manager.reset(&self.unit());
        Ok(())
    }

    fn manager(&self) -> Result<Manager, CgroupError> {
        Manager::connect().map_err(|e| self.failure("reach systemd for", e))
    }

    fn failure(&self, action: &'static str, error: BusError) -> CgroupError {
        let unit = self.unit();
        match error {
            BusError::Talk(source) => {
                CgroupError::File { path: unit, operation: format!("{action} the scope"), source }
            }
            refused @ BusError::Refused { .. } => {
                CgroupError::Limit(format!("unable to {action} unit {unit:?}: {refused}"))
            }
        }
    }
}

/// `a-b.slice` lies in `a.slice`; `-.slice` is the root. `None` for a name that is none.
fn slice_path(slice: &str) -> Option<String> {
    let name = slice.strip_suffix(".slice")?;
    if name == "-" {
        return Some(String::new());
    }
    if name.is_empty() || name.split('-').any(str::is_empty) {
        return None;
    }
    let mut path = String::new();
    let mut sofar = String::new();
    for part in name.split('-') {
        if !sofar.is_empty() {
            sofar.push('-');
        }
        sofar.push_str(part);
        path.push_str(&format!("/{sofar}.slice"));
    }
    Some(path)
}

/// The properties of a unit that say the same as `limits`. What systemd has no property for is in the cgroup's files
/// alone.
fn plan_properties(limits: &LinuxResources, unified: bool) -> Vec<(&'static str, Value)> {
    let mut list = Vec::new();
    let mut push = |name, value| list.push((name, Value::Number(value)));
    if let Some(memory) = &limits.memory {
        let limit = memory.limit.filter(|&limit| limit != 0);
        if let Some(limit) = limit {
            push(if unified { "MemoryMax" } else { "MemoryLimit" }, or_max_number(limit));
        }
        if unified {
            if let Some(low) = memory.reservation.filter(|&low| low != 0) {
                push("MemoryLow", or_max_number(low));
            }
            match (memory.swap, limit) {
                (Some(-1), _) | (None, Some(-1)) => push("MemorySwapMax", u64::MAX),
                (Some(swap), Some(limit)) if swap >= limit && limit > 0 => {
                    push("MemorySwapMax", (swap - limit).cast_unsigned());
                }
                _ => {}
            }
        }
    }
    if let Some(cpu) = &limits.cpu {
        if let Some(shares) = cpu.shares.filter(|&shares| shares != 0) {
            if unified { push("CPUWeight", weight_of_shares(shares)) } else { push("CPUShares", shares) }
        }
        let period = cpu.period.filter(|&period| period != 0);
        if let Some(period) = period {
            push("CPUQuotaPeriodUSec", period);
        }
        match cpu.quota {
            Some(quota @ 1..) => {
                let each_second = quota.cast_unsigned() * 1_000_000 / period.unwrap_or(100_000);
                // systemd counts in hundredths of a percent and would round down.
                push("CPUQuotaPerSecUSec", each_second.next_multiple_of(10_000));
            }
            Some(..=-1) => push("CPUQuotaPerSecUSec", u64::MAX),
            _ => {}
        }
    }
    if let Some(pids) = &limits.pids {
        push("TasksMax", if pids.limit > 0 { pids.limit.cast_unsigned() } else { u64::MAX });
    }
    if unified && let Some(weight) = limits.block_io.as_ref().and_then(|io| io.weight).filter(|&w| w != 0) {
        push("IOWeight", weight_of_blkio(weight));
    }
    if unified && let Some(cpu) = &limits.cpu {
        for (name, text) in [("AllowedCPUs", &cpu.cpus), ("AllowedMemoryNodes", &cpu.mems)] {
            if let Some(bits) = bits(text) {
                list.push((name, Value::Bytes(bits)));
            }
        }
    }
    list
}

/// A list of ranges as a bit field, lowest first; `None` when it is empty or none.
fn bits(list: &str) -> Option<Vec<u8>> {
    let mut bits = Vec::new();
    for range in list.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if last < first || last > 8191 {
            return None;
        }
        for number in first..=last {
            if bits.len() <= number / 8 {
                bits.resize(number / 8 + 1, 0);
            }
            bits[number / 8] |= 1 << (number % 8);
        }
    }
    Some(bits)
}

/// A process that only is: a scope is born with it and lives on with the container's. It ends with this value.
#[derive(Debug)]
pub struct Placeholder {
    pid: i32,
    pidfd: OwnedFd,
}

impl Placeholder {
    fn new() -> std::io::Result<Self> {
        match fork(0, None) {
            Ok(Forked::Child) => {
                let _ = corten_sys::process::set_parent_death_signal(libc::SIGKILL);
                let _ = rustix::event::poll(&mut [], None);
                exit_now(0)
            }
            Ok(Forked::Parent { pid, pidfd }) => Ok(Self { pid, pidfd }),
            Err(ForkError::Clone(e)) => Err(e),
            Err(e @ ForkError::Threads) => Err(std::io::Error::other(e)),
        }
    }
}

impl Drop for Placeholder {
    fn drop(&mut self) {
        let _ = send_signal(&self.pidfd, libc::SIGKILL);
        let _ = wait(&self.pidfd, Wait::Block);
    }
}

/// systemd's manager object.
#[derive(Debug)]
struct Manager(Bus);

impl Manager {
    fn connect() -> Result<Self, BusError> {
        let mut manager = Self(Bus::connect()?);
        // Without it, no end of a job is told.
        manager.call("Subscribe", "", Writer::default())?;
        Ok(manager)
    }

    fn call(&mut self, member: &str, signature: &str, body: Writer) -> Result<Vec<String>, BusError> {
        let method = Method {
            destination: "org.freedesktop.systemd1",
            path: "/org/freedesktop/systemd1",
            interface: "org.freedesktop.systemd1.Manager",
            member,
            signature,
        };
        self.0.call(&method, body)
    }

    fn start(&mut self, unit: &str, properties: &[(&str, Value)]) -> Result<(), BusError> {
        let mut body = Writer::default();
        body.text(unit);
        body.text("replace");
        body.properties(properties);
        // No auxiliary units.
        body.array(8, |_| {});
        let answer = self.call("StartTransientUnit", "ssa(sv)a(sa(sv))", body)?;
        self.wait_for(answer)
    }

    fn stop(&mut self, unit: &str) -> Result<(), BusError> {
        let mut body = Writer::default();
        body.text(unit);
        body.text("replace");
        let answer = self.call("StopUnit", "ss", body)?;
        self.wait_for(answer)
    }

    fn set(&mut self, unit: &str, properties: &[(&str, Value)]) -> Result<(), BusError> {
        let mut body = Writer::default();
        body.text(unit);
        // Until the unit ends.
        body.bool(true);
        body.properties(properties);
        self.call("SetUnitProperties", "sba(sv)", body).map(drop)
    }

    fn reset(&mut self, unit: &str) -> Result<(), BusError> {
        let mut body = Writer::default();
        body.text(unit);
        self.call("ResetFailedUnit", "s", body).map(drop)
    }

    /// Waits for the end of the job that an answer names.
    fn wait_for(&mut self, answer: Vec<String>) -> Result<(), BusError> {
        let job = answer.into_iter().next().unwrap_or_default();
        loop {
            // JobRemoved: number (left out), job, unit, result.
            let (name, texts) = self.0.signal()?;
            if name != "JobRemoved" || texts.first() != Some(&job) {
                continue;
            }
            return match texts.get(2).map(String::as_str) {
                Some("done") => Ok(()),
                result => Err(BusError::Refused {
                    name: "job".into(),
                    text: result.unwrap_or("no result").to_owned(),
                }),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{CpuLimits, MemoryLimits, PidLimits};

    #[test]
    fn a_scope_s_path_follows_from_its_slice() {
        let path = |text: &str| Scope::parse(text, "runc", "id").map(|scope| scope.path());
        assert_eq!(path("").unwrap(), "/system.slice/runc-id.scope");
        assert_eq!(path("a-b.slice:docker:x").unwrap(), "/a.slice/a-b.slice/docker-x.scope");
        assert_eq!(path("-.slice::x").unwrap(), "/x.scope");
        assert_eq!(path(":p:pod1.slice").unwrap(), "/system.slice/pod1.slice");
        for bad in
            ["/a/b", "a:b", "a.scope:b:c", "a.slice:b:", "a--b.slice:p:n", "../x.slice:p:n", "a.slice:b:c:d"]
        {
            let error = path(bad).unwrap_err().to_string();
            assert!(error.contains("slice:prefix:name"), "{bad}: {error}");
        }
    }

    #[test]
    fn limits_are_told_in_systemd_s_units() {
        let limits = LinuxResources {
            memory: Some(MemoryLimits { limit: Some(100), swap: Some(150), ..MemoryLimits::default() }),
            cpu: Some(CpuLimits {
                shares: Some(1024),
                quota: Some(50_000),
                period: Some(100_000),
                cpus: "0-1,9".into(),
                ..CpuLimits::default()
            }),
            pids: Some(PidLimits { limit: -1 }),
            ..LinuxResources::default()
        };
        let number = Value::Number;
        assert_eq!(
            plan_properties(&limits, true),
            [
                ("MemoryMax", number(100)),
                ("MemorySwapMax", number(50)),
                ("CPUWeight", number(39)),
                ("CPUQuotaPeriodUSec", number(100_000)),
                ("CPUQuotaPerSecUSec", number(500_000)),
                ("TasksMax", number(u64::MAX)),
                ("AllowedCPUs", Value::Bytes(vec![3, 2])),
            ]
        );
        assert_eq!(plan_properties(&limits, false)[0], ("MemoryLimit", number(100)));
    }

    #[test]
    fn a_list_of_cpus_is_a_bit_field() {
        assert_eq!(bits("0"), Some(vec![1]));
        assert_eq!(bits("0-1,9"), Some(vec![3, 2]));
        for bad in ["", "x", "3-1", "99999"] {
            assert_eq!(bits(bad), None, "{bad}");
        }
    }
}
