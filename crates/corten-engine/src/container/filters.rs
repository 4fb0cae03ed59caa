//! System call filters, compiled once for all containers that have the same profile and capabilities.
//!
//! **Owns** the compiled programs, each in a sealed memfd that its containers' monitors hold, and their rules as text for
//! the bundles. The key is all that a filter depends on: the profile's content and the capabilities; architecture and
//! kernel are those of the machine, which do not change while the daemon lives.
//!
//! **Refuses** to compile: that is [`corten_runtime::seccomp::compile`]'s business, here as in a monitor that was given no
//! filter.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use corten_runtime::seccomp;
use parking_lot::Mutex;
use rustix::fs::{MemfdFlags, SealFlags};
use serde_json::value::RawValue;

use super::host::HostFacts;
use super::oci_spec::{Seccomp, SecurityError, rules};

/// How many filters are kept; beyond, the one that was not asked for the longest goes.
const MOST: usize = 32;

/// The filters of this daemon's containers.
#[derive(Debug, Default)]
pub(crate) struct Filters {
    /// The one that was asked for last comes first.
    known: Mutex<Vec<(Key, Arc<Filter>)>>,
}

#[derive(Debug, PartialEq, Eq)]
struct Key {
    profile: Seccomp,
    capabilities: Vec<&'static str>,
}

/// A container's filter.
#[derive(Debug)]
pub(crate) struct Filter {
    /// `linux.seccomp` of the specification.
    rules: Box<RawValue>,
    /// The compiled program; `None` where the runtime refuses the rules, which it then says itself.
    program: Option<OwnedFd>,
}

impl Filters {
    /// The filter of a container with this profile and these capabilities in its bounding set; `None` if it has none.
    pub(crate) fn get(
        &self,
        profile: &Seccomp,
        capabilities: &[&'static str],
        facts: &HostFacts,
    ) -> Result<Option<Arc<Filter>>, SecurityError> {
        if let Some(filter) = self.find(profile, capabilities) {
            return Ok(Some(filter));
        }
        let Some(rules) = rules(profile, capabilities, facts)? else { return Ok(None) };
        let filter = Arc::new(Filter::compile(&rules)?);
        let key = Key { profile: profile.clone(), capabilities: capabilities.to_vec() };
        let mut known = self.known.lock();
        known.insert(0, (key, filter.clone()));
        known.truncate(MOST);
        Ok(Some(filter))
    }

    fn find(&self, profile: &Seccomp, capabilities: &[&'static str]) -> Option<Arc<Filter>> {
        let mut known = self.known.lock();
        let place =
            known.iter().position(|(key, _)| key.profile == *profile && key.capabilities == capabilities)?;
        known[..=place].rotate_right(1);
        Some(known[0].1.clone())
    }
}

impl Filter {
    fn compile(rules: &corten_runtime::spec::LinuxSeccomp) -> Result<Self, SecurityError> {
        let program = seccomp::compile(rules).ok().and_then(|program| program.encode());
        let program = program.map(|bytes| seal(&bytes)).transpose().map_err(SecurityError::Filter)?;
        let rules = serde_json::value::to_raw_value(rules).map_err(SecurityError::Profile)?;
        Ok(Self { rules, program })
    }

    /// `linux.seccomp` of the specification.
    pub(crate) fn rules(&self) -> &RawValue {
        &self.rules
    }

    /// The compiled program in its sealed memfd, as a monitor takes it.
    pub(crate) fn program(&self) -> Option<BorrowedFd<'_>> {
        self.program.as_ref().map(AsFd::as_fd)
    }
}

fn seal(bytes: &[u8]) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut file = File::from(rustix::fs::memfd_create("corten-filter", flags)?);
    file.write_all(bytes)?;
    let all = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&file, all)?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> HostFacts {
        HostFacts { kernel: (6, 1), ..HostFacts::default() }
    }

    fn read(filter: &Filter) -> seccomp::Program {
        let mut bytes = vec![0; seccomp::Program::ENCODED_MAX];
        let length = rustix::io::pread(filter.program().unwrap(), &mut bytes, 0).unwrap();
        seccomp::Program::decode(&bytes[..length]).unwrap()
    }

    #[test]
    fn a_filter_is_compiled_once_and_is_what_the_runtime_makes_of_the_rules() {
        let filters = Filters::default();
        let get = |capabilities: &[&'static str]| {
            filters.get(&Seccomp::Default, capabilities, &facts()).unwrap().unwrap()
        };
        let (first, other, again) = (get(&["CAP_CHOWN"]), get(&["CAP_SYS_ADMIN"]), get(&["CAP_CHOWN"]));
        assert!(Arc::ptr_eq(&first, &again) && !Arc::ptr_eq(&first, &other));
        let rules = serde_json::from_str(first.rules().get()).unwrap();
        assert_eq!(read(&first), seccomp::compile(&rules).unwrap());
        assert_ne!(read(&first), read(&other));
        assert!(filters.get(&Seccomp::Unconfined, &[], &facts()).unwrap().is_none());
    }

    #[test]
    fn old_ones_go_and_used_ones_stay() {
        let filters = Filters::default();
        let get = |errno: usize| {
            let text = format!(r#"{{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":{errno}}}"#);
            filters.get(&Seccomp::Profile(text), &[], &facts()).unwrap().unwrap()
        };
        let first = get(1);
        for errno in 2..=MOST {
            get(errno);
        }
        assert!(Arc::ptr_eq(&first, &get(1)));
        get(MOST + 1);
        assert!(Arc::ptr_eq(&first, &get(1)));
        assert_eq!(filters.known.lock().len(), MOST);
        assert!(
            filters
                .find(
                    &Seccomp::Profile(r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":2}"#.into()),
                    &[]
                )
                .is_none()
        );
    }

    #[test]
    fn rules_that_the_runtime_refuses_are_left_to_it() {
        let text = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mount"],"action":"SCMP_ACT_NOTIFY"}]}"#;
        let filter = Filters::default().get(&Seccomp::Profile(text.into()), &[], &facts()).unwrap().unwrap();
        assert!(filter.program().is_none() && filter.rules().get().contains("SCMP_ACT_NOTIFY"));
    }
}
