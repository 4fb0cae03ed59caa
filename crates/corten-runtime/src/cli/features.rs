//! `features`: what this runtime can do, in the specification's form.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::CliError;
use super::args::Args;
use crate::capability::Capability;

/// `features`
pub(super) fn features(mut args: Args) -> Result<ExitCode, CliError> {
    args.no_flags()?;
    args.end()?;
    println!("{:#}", document());
    Ok(ExitCode::SUCCESS)
}

fn document() -> Value {
    json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": crate::spec::VERSION,
        "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        "mountOptions": [
            "atime", "bind", "defaults", "dev", "diratime", "exec", "idmap", "noatime", "nodev", "nodiratime", "noexec",
            "norelatime", "nostrictatime", "nosuid", "nosymfollow", "private", "ratime", "rbind", "rdev", "rdiratime",
            "relatime", "rexec", "ridmap", "rnoatime", "rnodev", "rnodiratime", "rnoexec", "rnorelatime", "rnostrictatime",
            "rnosuid", "rnosymfollow", "ro", "rprivate", "rrelatime", "rro", "rrw", "rshared", "rslave",
            "rstrictatime", "rsuid", "rsymfollow", "runbindable", "rw", "shared", "slave", "strictatime", "suid",
            "symfollow", "tmpcopyup", "unbindable"
        ],
        "linux": {
            "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"],
            "capabilities": Capability::all().map(Capability::name).collect::<Vec<_>>(),
            "cgroup": { "v1": true, "v2": true, "systemd": true, "systemdUser": false, "rdma": true },
            "seccomp": {
                "enabled": true,
                "actions": [
                    "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS",
                    "SCMP_ACT_KILL_THREAD", "SCMP_ACT_LOG", "SCMP_ACT_NOTIFY", "SCMP_ACT_TRACE", "SCMP_ACT_TRAP"
                ],
                "operators": [
                    "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT", "SCMP_CMP_MASKED_EQ",
                    "SCMP_CMP_NE"
                ],
                "archs": [
                    "SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM", "SCMP_ARCH_X32", "SCMP_ARCH_X86", "SCMP_ARCH_X86_64"
                ],
                "knownFlags": [
                    "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_TSYNC",
                    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"
                ],
                "supportedFlags": [
                    "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_TSYNC",
                    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"
                ]
            },
            "apparmor": { "enabled": true },
            "selinux": { "enabled": true },
            "intelRdt": { "enabled": false },
            "mountExtensions": { "idmap": { "enabled": true } }
        },
        "annotations": {},
        "potentiallyUnsafeConfigAnnotations": []
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each option that is listed is understood, as far as one alone can show.
    #[test]
    fn what_is_listed_is_understood() {
        let document = document();
        let one = crate::spec::IdMapping { container_id: 0, host_id: 0, size: 1 };
        for option in document["mountOptions"].as_array().unwrap() {
            // Mapped ids are for bind mounts.
            let mapped = option.as_str().unwrap().ends_with("idmap");
            let mount = crate::spec::Mount {
                destination: "/x".into(),
                kind: if mapped { "bind" } else { "tmpfs" }.into(),
                source: "/".into(),
                options: vec![option.as_str().unwrap().into()],
                uid_mappings: mapped.then_some(one).into_iter().collect(),
                gid_mappings: mapped.then_some(one).into_iter().collect(),
            };
            assert!(crate::container::understands(&mount), "{option}");
        }
        for arch in document["linux"]["seccomp"]["archs"].as_array().unwrap() {
            assert!(crate::seccomp::Arch::of_name(arch.as_str().unwrap()).is_some(), "{arch}");
        }
    }
}
