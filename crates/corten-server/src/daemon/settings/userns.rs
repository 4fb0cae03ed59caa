//! Subordinate ids: `userns-remap`, and the pool of containers with a user namespace of their own.
//!
//! ```text
//!  /etc/subuid, /etc/subgid   name:first:count
//!    userns-remap's user      the first range of each file is what every container gets
//!    containers               ranges that are in both files are handed out, one to a container
//! ```

use corten_engine::EngineConfig;
use corten_engine::userns::{Ids, POOL_OWNER, UsernsConfig};

use super::{Reader, bad};
use crate::daemon::values::ConfigError;

const NAME: &str = "userns-remap";
/// Whom Docker makes for `default`.
const DEFAULT_USER: &str = "dockremap";

/// The files of the machine that say who has which ids.
#[derive(Debug, Default)]
struct Files {
    passwd: String,
    group: String,
    subuid: String,
    subgid: String,
}

impl Files {
    fn read() -> Self {
        let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        Self {
            passwd: text("/etc/passwd"),
            group: text("/etc/group"),
            subuid: text("/etc/subuid"),
            subgid: text("/etc/subgid"),
        }
    }
}

/// Reads them; a remapped daemon's data lies below its root by the ids of the remapped root, as Docker's.
pub(super) fn read(read: &Reader<'_>, config: &mut EngineConfig) -> Result<(), ConfigError> {
    let files = Files::read();
    let remap = read.text(NAME).map(|text| remap(text, &files).map_err(|reason| bad(NAME, text, &reason)));
    config.userns = UsernsConfig { remap: remap.transpose()?.flatten(), pool: pool(&files) };
    if let Some(ids) = config.userns.remap {
        config.data_root.push(format!("{}.{}", ids.user, ids.group));
    }
    Ok(())
}

/// The ids of `user[:group]`, by name or number. None for root, which is what it is.
fn remap(text: &str, files: &Files) -> Result<Option<Ids>, String> {
    let (user, group) = match text.split(':').collect::<Vec<_>>()[..] {
        [user] => (user, None),
        [user, group] => (user, Some(group)),
        _ => return Err(format!("Invalid user/group specification in --userns-remap: {text:?}")),
    };
    let wanted = if user == "default" { DEFAULT_USER } else { user };
    let Some(name) = lookup(&files.passwd, wanted) else {
        return Err(match (user, user.parse::<u32>()) {
            ("default", _) => format!(
                "Error during {DEFAULT_USER:?} user creation: this daemon runs no programs; do it by \
                 `useradd --system --user-group {DEFAULT_USER}` and give it ids by a line such as \
                 {DEFAULT_USER}:165536:65536 in /etc/subuid and /etc/subgid"
            ),
            (_, Ok(uid)) => format!("Uid {uid} has no entry in /etc/passwd"),
            (_, Err(_)) => format!("Error during uid lookup for {user:?}: no such user"),
        });
    };
    let of_user = if wanted.parse::<u32>().is_ok() { wanted } else { name };
    let group = group.unwrap_or(of_user);
    if lookup(&files.group, group).is_none() {
        return Err(match group.parse::<u32>() {
            Ok(gid) => format!("Gid {gid} has no entry in /etc/group"),
            Err(_) => format!("Error during gid lookup for {group:?}: no such group"),
        });
    }
    if name == "root" {
        return Ok(None);
    }
    let uid = number(&files.passwd, name);
    let first = |text: &str, kind: &str| {
        ranges(text, name, uid.as_deref())
            .into_iter()
            .next()
            .ok_or_else(|| format!("Can't create ID mappings: no {kind} ranges found for user {name:?}"))
    };
    let (user, users) = first(&files.subuid, "subuid")?;
    let (group, groups) = first(&files.subgid, "subgid")?;
    Ok(Some(Ids { user, users, group, groups }))
}

/// Ranges of the pool: those that are the same in both files.
fn pool(files: &Files) -> Vec<(u32, u32)> {
    let uid = number(&files.passwd, POOL_OWNER);
    let groups = ranges(&files.subgid, POOL_OWNER, uid.as_deref());
    let mut users = ranges(&files.subuid, POOL_OWNER, uid.as_deref());
    users.retain(|range| groups.contains(range));
    users
}

/// The name of the line whose name or third field this is.
fn lookup<'a>(text: &'a str, wanted: &str) -> Option<&'a str> {
    let fields = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    fields.filter(|fields| fields.len() > 2).find(|f| f[0] == wanted || f[2] == wanted).map(|f| f[0])
}

fn number(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|line| line.split(':').next() == Some(name))?;
    line.split(':').nth(2).map(str::to_owned)
}

/// Ranges of a name (or its number) in a file of subordinate ids. What is no range is none.
fn ranges(text: &str, name: &str, number: Option<&str>) -> Vec<(u32, u32)> {
    let range = |line: &str| {
        let mut fields = line.trim().split(':');
        let owner = fields.next()?;
        let (first, size): (u32, u32) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        let owned = owner == name || Some(owner) == number;
        // The last number means nobody.
        (owned && size > 0 && first > 0 && first.checked_add(size).is_some()).then_some((first, size))
    };
    text.lines().filter_map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> Files {
        Files {
            passwd: "root:x:0:0::/:/bin/sh\nremap:x:1000:1001::/:/bin/sh\nbare:x:7:7::/:/\n".into(),
            group: "root:x:0:\nremap:x:1001:\nother:x:5:\nbare:x:7:\n".into(),
            subuid: "remap:100000:65536\n1000:300000:10\ncontainers:500000:1000\ncontainers:600000:5\n"
                .into(),
            subgid: "remap:200000:65536\ncontainers:500000:1000\n".into(),
        }
    }

    #[test]
    fn users_and_groups_in_every_form() {
        let ids = Ids { user: 100_000, users: 65_536, group: 200_000, groups: 65_536 };
        for text in ["remap", "remap:remap", "1000:1001", "remap:other", "remap:5"] {
            assert_eq!(remap(text, &files()), Ok(Some(ids)), "{text}");
        }
        assert_eq!(remap("root", &files()), Ok(None));
    }

    #[test]
    fn refusals_begin_as_dockerds() {
        for (text, part) in [
            ("a:b:c", "Invalid user/group specification in --userns-remap: \"a:b:c\""),
            ("nobody-here", "Error during uid lookup for \"nobody-here\""),
            ("4242", "Uid 4242 has no entry in /etc/passwd"),
            ("1000", "Gid 1000 has no entry in /etc/group"),
            ("remap:none", "Error during gid lookup for \"none\""),
            ("bare", "Can't create ID mappings: no subuid ranges found for user \"bare\""),
            ("default", "Error during \"dockremap\" user creation"),
        ] {
            let error = remap(text, &files()).unwrap_err();
            assert!(error.starts_with(part), "{text}: {error}");
        }
    }

    #[test]
    fn the_pool_is_what_both_files_give() {
        assert_eq!(pool(&files()), [(500_000, 1000)]);
        assert_eq!(pool(&Files::default()), []);
        assert_eq!(ranges("a:0:5\na:x:5\na:4294967295:2\nb:1:1\n", "a", None), []);
    }
}
