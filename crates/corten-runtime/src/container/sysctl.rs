//! Kernel parameters of the container's namespaces.

use std::collections::BTreeMap;
use std::io;

use rustix::fs::{Mode, OFlags};

use super::error::InitFailure;
use super::namespaces::Namespaces;
use crate::spec::NamespaceKind;

/// Parameters of System V IPC and message queues.
const IPC: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// One parameter: its file below `/proc/sys` and the value.
pub(super) type Sysctl = (String, String);

/// Checks that each parameter belongs to a namespace that the container does not share with the host.
pub(super) fn plan(
    wanted: &BTreeMap<String, String>,
    namespaces: &Namespaces,
) -> Result<Vec<Sysctl>, String> {
    wanted.iter().map(|(key, value)| plan_one(key, value, namespaces)).collect()
}

fn plan_one(key: &str, value: &str, namespaces: &Namespaces) -> Result<Sysctl, String> {
    // Both spellings name the same file; the first separator tells which one is used.
    let slashed = match (key.find('.'), key.find('/')) {
        (Some(dot), Some(slash)) => slash < dot,
        (None, Some(_)) => true,
        _ => false,
    };
    let swap = |c| match c {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    let file: String = if slashed { key.into() } else { key.chars().map(swap).collect() };
    let dotted: String = file.chars().map(swap).collect();
    let odd = |c: char| !(c.is_ascii_alphanumeric() || "._-/@:".contains(c));
    if file.is_empty() || file.chars().any(odd) || file.split('/').any(|part| matches!(part, "" | "." | ".."))
    {
        return Err(format!("sysctl {key:?} is not a valid name"));
    }
    let need = if IPC.contains(&dotted.as_str()) || dotted.starts_with("fs.mqueue.") {
        NamespaceKind::Ipc
    } else if dotted.starts_with("net.") {
        NamespaceKind::Network
    } else if dotted == "kernel.domainname" {
        NamespaceKind::Uts
    } else if dotted == "kernel.hostname" {
        return Err(format!("sysctl {key:?} is not allowed as it conflicts with the OCI \"hostname\" field"));
    } else if dotted.starts_with("user.") {
        NamespaceKind::User
    } else {
        return Err(format!("sysctl {key:?} is not in a separate kernel namespace"));
    };
    if !namespaces.is_separate(need) {
        return Err(format!("sysctl {key:?} is not allowed in the hosts namespace"));
    }
    Ok((file, value.to_owned()))
}

/// Writes the parameters through the procfs of the runtime's own world, which no container can reach: the files show
/// the namespaces of whoever opens them.
pub(super) fn apply(parameters: &[Sysctl]) -> Result<(), InitFailure> {
    for (file, value) in parameters {
        let write = || -> io::Result<()> {
            let fd = rustix::fs::open(
                format!("/proc/sys/{file}"),
                OFlags::WRONLY | OFlags::CLOEXEC,
                Mode::empty(),
            )?;
            rustix::io::write(fd, value.as_bytes())?;
            Ok(())
        };
        write().map_err(|e| InitFailure::system(format_args!("open sysctl {file} file"), &e))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Linux, Namespace};

    fn with(kinds: &[NamespaceKind]) -> Namespaces {
        let namespaces = kinds.iter().map(|&kind| Namespace { kind, path: String::new() }).collect();
        Namespaces::plan(&Linux { namespaces, ..Linux::default() }).unwrap()
    }

    #[test]
    fn only_parameters_of_separate_namespaces_are_taken() {
        let all = with(&[NamespaceKind::Ipc, NamespaceKind::Network, NamespaceKind::Uts]);
        let plan = |key: &str, namespaces: &Namespaces| plan_one(key, "1", namespaces);
        assert_eq!(plan("net.ipv4.ip_forward", &all).unwrap().0, "net/ipv4/ip_forward");
        assert_eq!(
            plan("net/ipv4/conf/eth0.1/forwarding", &all).unwrap().0,
            "net/ipv4/conf/eth0.1/forwarding"
        );
        assert_eq!(
            plan("net.ipv4.conf.eth0/1.forwarding", &all).unwrap().0,
            "net/ipv4/conf/eth0.1/forwarding"
        );
        assert_eq!(plan("kernel.shmmax", &all).unwrap().0, "kernel/shmmax");
        assert!(plan("net.ipv4.ip_forward", &with(&[])).is_err());
        assert!(plan("kernel.shmmax", &with(&[NamespaceKind::Network])).is_err());
        assert!(plan("kernel.core_pattern", &all).is_err());
        assert!(plan("kernel.hostname", &all).is_err());
    }

    #[test]
    fn a_name_cannot_climb_or_smuggle() {
        let all = with(&[NamespaceKind::Ipc, NamespaceKind::Network]);
        for key in
            ["net/../kernel/core_pattern", "net.a=b+kernel.core_pattern", "net..x", "", "net.a\nb", "/net/x"]
        {
            assert!(plan_one(key, "1", &all).is_err(), "{key:?}");
        }
    }
}
