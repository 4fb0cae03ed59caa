//! What a monitor makes a container of: the specification in the container's directory, complete, as other tools read
//! it; and for the monitor itself the same without the rules of the filter, which it gets compiled.

use std::fs;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;

use corten_runtime::spec::Spec;
use corten_shim::protocol::files;
use serde_json::value::RawValue;

use super::filters::Filter;

/// A container's specification and its filter.
pub(super) struct Bundle {
    /// The specification without `linux.seccomp`.
    pub(super) spec: Spec,
    /// What stands there.
    pub(super) filter: Option<Arc<Filter>>,
}

impl Bundle {
    /// Writes the specification into `directory`. Returns what the monitor is told beside it; `None` when it has to take
    /// the rules of the filter from there.
    pub(super) fn write(&self, directory: &Path) -> io::Result<Option<Box<RawValue>>> {
        let spec = serde_json::value::to_raw_value(&self.spec)?;
        let file = directory.join(files::CONFIG);
        match &self.filter {
            None => {
                fs::write(file, spec.get())?;
                Ok(Some(spec))
            }
            Some(filter) => {
                fs::write(file, with_rules(spec.get(), filter.rules().get()))?;
                Ok(filter.program().is_some().then_some(spec))
            }
        }
    }

    /// The compiled filter.
    pub(super) fn program(&self) -> Option<BorrowedFd<'_>> {
        self.filter.as_deref().and_then(Filter::program)
    }
}

/// Puts the rules where they belong: `linux` is the last member of a specification, has members, and `seccomp` is not
/// among them.
fn with_rules(spec: &str, rules: &str) -> String {
    let head = spec.strip_suffix("}}").unwrap_or(spec);
    let mut text = String::with_capacity(spec.len() + rules.len() + 16);
    for part in [head, ",\"seccomp\":", rules, "}}"] {
        text.push_str(part);
    }
    text
}

#[cfg(test)]
mod tests {
    use corten_runtime::seccomp::docker_default;
    use corten_runtime::spec::{Linux, Process, Root};

    use super::*;

    #[test]
    fn the_file_is_the_specification_with_its_filter() {
        let rules = docker_default(&[]);
        let mut spec = Spec {
            oci_version: "1.2.1".into(),
            process: Some(Process { args: vec!["}}".into()], ..Process::default() }),
            root: Some(Root { path: "rootfs".into(), readonly: true }),
            linux: Some(Linux { cgroups_path: "/a".into(), ..Linux::default() }),
            ..Spec::default()
        };
        let without = serde_json::to_string(&spec).unwrap();
        let text = with_rules(&without, &serde_json::to_string(&rules).unwrap());
        spec.linux.as_mut().unwrap().seccomp = Some(rules);
        assert_eq!(serde_json::from_str::<Spec>(&text).unwrap(), spec);
    }
}
