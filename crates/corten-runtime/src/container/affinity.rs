//! The CPUs of a process that joins a container: before it is in the cgroup, and after.

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::spec::CpuAffinity;

/// Where a joining process may run.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Affinity {
    /// Before it has joined the cgroup.
    pub initial: Option<CpuSet>,
    /// From then on.
    pub last: Option<CpuSet>,
}

impl Affinity {
    /// Reads the specification's lists. The error names the one that is none.
    pub(super) fn plan(wanted: Option<&CpuAffinity>) -> Result<Self, String> {
        let Some(wanted) = wanted else { return Ok(Self::default()) };
        let read = |name: &str, list: &str| match list {
            "" => Ok(None),
            list => cpus(list)
                .map(Some)
                .ok_or_else(|| format!("execCPUAffinity.{name}: {list:?} is no list of CPUs")),
        };
        Ok(Self { initial: read("initial", &wanted.initial)?, last: read("final", &wanted.last)? })
    }
}

/// Reads a list of ranges (`0-3,7`).
fn cpus(list: &str) -> Option<CpuSet> {
    let mut set = CpuSet::new();
    for range in list.split(',').map(str::trim) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if last < first || last >= CpuSet::MAX_CPU {
            return None;
        }
        (first..=last).for_each(|cpu| set.set(cpu));
    }
    Some(set)
}

/// A list of CPUs below 64 as a mask, for the log.
pub(crate) fn affinity_mask(list: &str) -> String {
    let set = cpus(list).unwrap_or_default();
    let mask = (0..64).filter(|&cpu| set.is_set(cpu)).fold(0u64, |mask, cpu| mask | 1 << cpu);
    format!("0x{mask:x}")
}

/// The caller on other CPUs, until this value ends.
#[derive(Debug)]
pub(super) struct AffinityStay(CpuSet);

impl AffinityStay {
    pub(super) fn enter(cpus: CpuSet) -> io::Result<Self> {
        let before = sched_getaffinity(None)?;
        sched_setaffinity(None, &cpus)?;
        Ok(Self(before))
    }
}

impl Drop for AffinityStay {
    fn drop(&mut self) {
        // Where it could be before, it can be again, unless the CPUs have gone.
        let _ = sched_setaffinity(None, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_and_what_is_none_is_named() {
        let set = cpus("0-1, 3").unwrap();
        assert!(set.is_set(0) && set.is_set(1) && !set.is_set(2) && set.is_set(3));
        for bad in ["x", "3-1", "1,", "99999"] {
            assert!(cpus(bad).is_none(), "{bad}");
        }
        let wanted = CpuAffinity { initial: "0".into(), last: "x".into() };
        assert!(Affinity::plan(Some(&wanted)).unwrap_err().starts_with("execCPUAffinity.final"));
    }
}
