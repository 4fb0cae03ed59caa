//! The default AppArmor profile of containers.
//!
//! The daemon brings it in the kernel's own form (`profiles/docker-default.policy`, compiled from the text beside it by
//! `scripts/apparmor-policy.sh`) and loads it through securityfs: no parser is executed, and none need be installed.
//!
//! **Refuses** to replace a profile of that name that the machine has already: its owner may have changed it.

use std::fs;
use std::io::{self, Write as _};

/// The profile's name: what Docker's users and their policies know.
pub const DEFAULT_PROFILE: &str = "docker-default";

static POLICY: &[u8] = include_bytes!("../profiles/docker-default.policy");

const LOADED: &str = "/sys/kernel/security/apparmor/profiles";
const LOAD: &str = "/sys/kernel/security/apparmor/.load";

/// Makes sure that the kernel has the default profile. Its name, or nothing where the kernel did not take it: then
/// containers run without one, which is said in the log.
pub fn provide_default() -> String {
    match load() {
        Ok(()) => DEFAULT_PROFILE.into(),
        Err(error) => {
            tracing::warn!(
                "the AppArmor profile {DEFAULT_PROFILE} could not be loaded, containers run without it: {error}"
            );
            String::new()
        }
    }
}

fn load() -> io::Result<()> {
    if is_listed(&fs::read_to_string(LOADED)?, DEFAULT_PROFILE) {
        return Ok(());
    }
    // The kernel takes a policy in one piece.
    let mut file = fs::File::options().write(true).open(LOAD)?;
    match file.write(POLICY)? {
        written if written == POLICY.len() => Ok(()),
        _ => Err(io::ErrorKind::WriteZero.into()),
    }
}

/// Whether the kernel's list (`NAME (MODE)` a line) has this profile.
fn is_listed(list: &str, name: &str) -> bool {
    list.lines().any(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(" (")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_found_by_its_whole_name() {
        let list = "docker-default-2 (enforce)\n/usr/bin/man (enforce)\n";
        assert!(!is_listed(list, DEFAULT_PROFILE));
        assert!(is_listed(&format!("{list}docker-default (complain)\n"), DEFAULT_PROFILE));
    }

    /// The compiled form is of this profile: its name is inside, as the kernel's format writes it.
    #[test]
    fn the_policy_has_the_profile_s_name() {
        let name = [DEFAULT_PROFILE.as_bytes(), b"\0"].concat();
        assert!(POLICY.windows(name.len()).any(|window| window == name));
    }
}
