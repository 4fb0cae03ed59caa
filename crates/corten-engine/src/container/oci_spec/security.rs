//! Security options of a container: `seccomp=`, `apparmor=`, `label=`, `no-new-privileges`.

use corten_runtime::spec::{Action, ArgumentRule, LinuxSeccomp, Operator, SyscallRule};
use corten_types::{ErrorKind, Kind};
use serde::Deserialize;

use crate::container::caps::CapabilityError;
use crate::container::host::HostFacts;

/// Which system call filter a container gets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Seccomp {
    /// Docker's default profile; none for a privileged container.
    #[default]
    Default,
    /// None.
    Unconfined,
    /// A profile in Docker's JSON.
    Profile(String),
}

/// Parsed security options.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SecurityOptions {
    /// System call filter.
    pub seccomp: Seccomp,
    /// AppArmor profile; empty is the default.
    pub apparmor: String,
    /// Programs gain no privileges by setuid bits.
    pub no_new_privileges: bool,
    /// The cgroup tree inside is writable; `None` as the container is privileged.
    pub writable_cgroups: Option<bool>,
}

/// Why security options cannot be meant or kept.
#[derive(Debug, thiserror::Error)]
pub enum SecurityError {
    /// Not an option.
    #[error("invalid --security-opt 1: {0:?}")]
    Form(String),
    /// An option with a value that it does not take.
    #[error("invalid --security-opt 2: {0:?}")]
    Value(String),
    /// A profile that is none.
    #[error("Decoding seccomp profile failed: {0}")]
    Profile(#[source] serde_json::Error),
    /// A compiled filter that could not be kept.
    #[error("keep a system call filter")]
    Filter(#[source] std::io::Error),
    /// A profile that contradicts itself.
    #[error("seccomp profile: {0}")]
    Rule(&'static str),
    /// A capability that is none, or that this daemon has not.
    #[error(transparent)]
    Capability(#[from] CapabilityError),
}

impl Kind for SecurityError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Filter(_) => ErrorKind::Internal,
            _ => ErrorKind::InvalidArgument,
        }
    }
}

impl SecurityOptions {
    /// Parses them; `no_new_privileges` is the daemon's default.
    pub fn parse(options: &[String], no_new_privileges: bool) -> Result<Self, SecurityError> {
        let mut parsed = Self { no_new_privileges, ..Self::default() };
        for option in options {
            match option.as_str() {
                "no-new-privileges" => {
                    parsed.no_new_privileges = true;
                    continue;
                }
                "writable-cgroups" => {
                    parsed.writable_cgroups = Some(true);
                    continue;
                }
                // SELinux is not supported; turning it off is what is the case.
                "disable" => continue,
                _ => {}
            }
            let pair = option.split_once('=').or_else(|| option.split_once(':'));
            let (key, value) = pair.ok_or_else(|| SecurityError::Form(option.clone()))?;
            let flag = || parse_bool(value).ok_or_else(|| SecurityError::Value(option.clone()));
            match key {
                "label" => {}
                "apparmor" => parsed.apparmor = value.into(),
                "seccomp" => {
                    parsed.seccomp = match value {
                        "unconfined" => Seccomp::Unconfined,
                        "builtin" | "" => Seccomp::Default,
                        profile => {
                            serde_json::from_str::<Profile>(profile).map_err(SecurityError::Profile)?;
                            Seccomp::Profile(profile.into())
                        }
                    };
                }
                "no-new-privileges" => parsed.no_new_privileges = flag()?,
                "writable-cgroups" => parsed.writable_cgroups = Some(flag()?),
                _ => return Err(SecurityError::Value(option.clone())),
            }
        }
        Ok(parsed)
    }
}

/// Go's `strconv.ParseBool`.
fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// The AppArmor profile a container runs under; empty where AppArmor is off.
pub fn apparmor(options: &SecurityOptions, privileged: bool, facts: &HostFacts) -> String {
    match (facts.apparmor, options.apparmor.as_str()) {
        (false, _) => String::new(),
        (true, "") if privileged => "unconfined".into(),
        (true, "") => facts.default_apparmor.clone(),
        (true, profile) => profile.into(),
    }
}

/// The rules of a profile for a container with these capabilities in its bounding set; `None` if there is no filter.
pub(in crate::container) fn rules(
    profile: &Seccomp,
    capabilities: &[&'static str],
    facts: &HostFacts,
) -> Result<Option<LinuxSeccomp>, SecurityError> {
    match profile {
        Seccomp::Unconfined => Ok(None),
        Seccomp::Default => {
            let held: Vec<_> = capabilities.iter().filter_map(|name| name.parse().ok()).collect();
            Ok(Some(corten_runtime::seccomp::docker_default(&held)))
        }
        Seccomp::Profile(text) => {
            let profile = serde_json::from_str(text).map_err(SecurityError::Profile)?;
            resolve(profile, capabilities, facts).map(Some)
        }
    }
}

/// Docker's form of a profile: the OCI's, with conditions on capabilities, architecture and kernel.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: Action,
    #[serde(default)]
    default_errno_ret: Option<u32>,
    #[serde(default)]
    architectures: Option<Vec<String>>,
    #[serde(default)]
    arch_map: Option<Vec<ArchMap>>,
    #[serde(default)]
    flags: Option<Vec<String>>,
    #[serde(default)]
    syscalls: Option<Vec<Rule>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchMap {
    architecture: String,
    #[serde(default)]
    sub_architectures: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    #[serde(default)]
    name: String,
    #[serde(default)]
    names: Option<Vec<String>>,
    action: Action,
    #[serde(default)]
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Option<Vec<Argument>>,
    #[serde(default)]
    includes: Condition,
    #[serde(default)]
    excludes: Condition,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Argument {
    index: u32,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: Operator,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Condition {
    #[serde(default)]
    caps: Option<Vec<String>>,
    #[serde(default)]
    arches: Option<Vec<String>>,
    #[serde(default)]
    min_kernel: Option<String>,
}

/// This machine's architecture in libseccomp's and in Go's words.
const ARCHITECTURE: (&str, &str) = if cfg!(target_arch = "aarch64") {
    ("SCMP_ARCH_AARCH64", "arm64")
} else {
    ("SCMP_ARCH_X86_64", "amd64")
};

fn resolve(profile: Profile, caps: &[&str], facts: &HostFacts) -> Result<LinuxSeccomp, SecurityError> {
    let listed = profile.architectures.unwrap_or_default();
    let mapped = profile.arch_map.unwrap_or_default();
    if !listed.is_empty() && !mapped.is_empty() {
        return Err(SecurityError::Rule(
            "both 'architectures' and 'archMap' were specified, use either 'architectures' or 'archMap'",
        ));
    }
    let mut architectures = listed;
    if let Some(own) = mapped.into_iter().find(|map| map.architecture == ARCHITECTURE.0) {
        architectures.push(own.architecture);
        architectures.extend(own.sub_architectures.unwrap_or_default());
    }
    let mut syscalls = Vec::new();
    for rule in profile.syscalls.unwrap_or_default() {
        let mut names = rule.names.unwrap_or_default();
        if !rule.name.is_empty() && !names.is_empty() {
            return Err(SecurityError::Rule(
                "both 'name' and 'names' were specified, use either 'name' or 'names'",
            ));
        }
        if !rule.name.is_empty() {
            names.push(rule.name);
        }
        if !included(&rule.includes, caps, facts) || excluded(&rule.excludes, caps, facts) {
            continue;
        }
        let args = rule.args.unwrap_or_default().into_iter().map(|a| ArgumentRule {
            index: a.index,
            value: a.value,
            value_two: a.value_two,
            op: a.op,
        });
        syscalls.push(SyscallRule {
            names,
            action: rule.action,
            errno_ret: rule.errno_ret,
            args: args.collect(),
        });
    }
    Ok(LinuxSeccomp {
        default_action: profile.default_action,
        default_errno_ret: profile.default_errno_ret,
        architectures,
        flags: profile.flags.unwrap_or_default(),
        syscalls,
        ..LinuxSeccomp::default()
    })
}

fn kernel_at_least(minimum: &str, facts: &HostFacts) -> bool {
    let mut numbers = minimum.split('.').map(|n| n.parse::<u32>().unwrap_or(0));
    facts.kernel >= (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn included(condition: &Condition, caps: &[&str], facts: &HostFacts) -> bool {
    let arches = condition.arches.as_deref().unwrap_or_default();
    (arches.is_empty() || arches.iter().any(|arch| arch == ARCHITECTURE.1))
        && condition.caps.iter().flatten().all(|cap| caps.contains(&cap.as_str()))
        && condition.min_kernel.as_deref().is_none_or(|minimum| kernel_at_least(minimum, facts))
}

fn excluded(condition: &Condition, caps: &[&str], facts: &HostFacts) -> bool {
    condition.arches.iter().flatten().any(|arch| arch == ARCHITECTURE.1)
        || condition.caps.iter().flatten().any(|cap| caps.contains(&cap.as_str()))
        || condition.min_kernel.as_deref().is_some_and(|minimum| kernel_at_least(minimum, facts))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(options: &[&str]) -> Result<SecurityOptions, SecurityError> {
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        SecurityOptions::parse(&options, false)
    }

    #[test]
    fn options() {
        let parsed =
            parse(&["no-new-privileges:true", "seccomp=unconfined", "apparmor=x", "label=disable"]).unwrap();
        assert!(parsed.no_new_privileges && parsed.seccomp == Seccomp::Unconfined && parsed.apparmor == "x");
        assert_eq!(parse(&["odd"]).unwrap_err().to_string(), "invalid --security-opt 1: \"odd\"");
        assert_eq!(parse(&["odd=1"]).unwrap_err().to_string(), "invalid --security-opt 2: \"odd=1\"");
        assert!(
            parse(&["seccomp={"]).unwrap_err().to_string().starts_with("Decoding seccomp profile failed")
        );
    }

    #[test]
    fn a_profile_is_resolved_for_the_capabilities_and_the_kernel() {
        let text = r#"{"defaultAction":"SCMP_ACT_ERRNO","archMap":[{"architecture":"SCMP_ARCH_X86_64",
            "subArchitectures":["SCMP_ARCH_X86"]}],"syscalls":[
            {"names":["read"],"action":"SCMP_ACT_ALLOW"},
            {"names":["bpf"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_BPF"]}},
            {"names":["ptrace"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"4.8"}},
            {"name":"clone","action":"SCMP_ACT_ERRNO","excludes":{"caps":["CAP_SYS_ADMIN"]}}]}"#;
        let options = parse(&[&format!("seccomp={text}")]).unwrap();
        let facts = HostFacts { kernel: (4, 4), ..HostFacts::default() };
        let filter = rules(&options.seccomp, &["CAP_SYS_ADMIN"], &facts).unwrap().unwrap();
        let names: Vec<_> = filter.syscalls.iter().flat_map(|rule| &rule.names).collect();
        assert_eq!(names, ["read"]);
        let facts = HostFacts { kernel: (6, 1), ..HostFacts::default() };
        let filter = rules(&options.seccomp, &["CAP_BPF"], &facts).unwrap().unwrap();
        assert_eq!(filter.syscalls.len(), 4);
    }
}
