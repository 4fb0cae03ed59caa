//! Capabilities by Docker's names: the default set, and what adding and dropping makes of it.

/// Every capability Linux has, in the order of its numbers.
pub const ALL: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// What a container gets when nobody says otherwise.
pub const DEFAULT: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// Why a text is not a capability.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CapabilityError {
    /// No such capability.
    #[error("unknown capability: {0:?}")]
    Unknown(String),
    /// This daemon does not hold it itself.
    #[error("capability not supported by your kernel or not available in the current environment: {0:?}")]
    Unavailable(String),
}

/// `net_admin`, `NET_ADMIN` and `CAP_NET_ADMIN` are the same; `ALL` stays as it is.
fn normalize(text: &str) -> String {
    let upper = text.to_ascii_uppercase();
    if upper == "ALL" || upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") }
}

/// Checks that every name is a capability or `ALL`.
pub fn check<'a>(names: impl IntoIterator<Item = &'a String>) -> Result<(), CapabilityError> {
    for name in names {
        let name = normalize(name);
        if name != "ALL" && !ALL.contains(&name.as_str()) {
            return Err(CapabilityError::Unknown(name));
        }
    }
    Ok(())
}

/// The capabilities of a container, of those that this machine's daemon holds (`available`).
pub fn of_container(
    add: &[String],
    drop: &[String],
    privileged: bool,
    available: &[&'static str],
) -> Result<Vec<&'static str>, CapabilityError> {
    if privileged {
        return Ok(available.to_vec());
    }
    check(add.iter().chain(drop))?;
    let add: Vec<String> = add.iter().map(|name| normalize(name)).collect();
    let drop: Vec<String> = drop.iter().map(|name| normalize(name)).collect();
    let has = |list: &[String], name: &str| list.iter().any(|entry| entry == name);
    let added = || ALL.iter().copied().filter(|name| has(&add, name));
    if let Some(name) = added().find(|name| !available.contains(name)) {
        return Err(CapabilityError::Unavailable(name.into()));
    }
    if has(&add, "ALL") {
        return Ok(available.iter().copied().filter(|name| !has(&drop, name)).collect());
    }
    let mut list: Vec<&'static str> = Vec::new();
    if !has(&drop, "ALL") {
        let kept = |name: &&'static str| !has(&drop, name) && available.contains(name);
        list.extend(DEFAULT.iter().copied().filter(kept));
    }
    for name in added() {
        if !list.contains(&name) {
            list.push(name);
        }
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(add: &[&str], drop: &[&str]) -> Vec<&'static str> {
        let own = |list: &[&str]| list.iter().map(|&s| s.to_owned()).collect::<Vec<_>>();
        of_container(&own(add), &own(drop), false, &ALL).unwrap()
    }

    #[test]
    fn adding_and_dropping() {
        assert_eq!(of(&[], &[]), DEFAULT);
        assert_eq!(of(&["net_admin"], &["ALL"]), ["CAP_NET_ADMIN"]);
        assert_eq!(of(&["ALL"], &[]).len(), ALL.len());
        assert!(!of(&["all"], &["SYS_ADMIN"]).contains(&"CAP_SYS_ADMIN"));
        assert!(!of(&[], &["CAP_MKNOD"]).contains(&"CAP_MKNOD"));
        assert_eq!(of(&["CHOWN"], &[]).len(), DEFAULT.len());
    }

    #[test]
    fn what_the_daemon_does_not_hold_is_refused_by_name_and_left_out_of_all() {
        let few: Vec<&'static str> = ALL.iter().copied().filter(|name| *name != "CAP_SYS_RESOURCE").collect();
        let error = of_container(&["SYS_RESOURCE".into()], &[], false, &few).unwrap_err();
        assert_eq!(error, CapabilityError::Unavailable("CAP_SYS_RESOURCE".into()));
        assert!(!of_container(&[], &[], true, &few).unwrap().contains(&"CAP_SYS_RESOURCE"));
    }
}
