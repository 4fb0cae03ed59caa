//! Which user and groups a process runs as: `user[:group]` resolved in the image's own `passwd` and `group`.
//!
//! Digits are numbers and never names (CVE-2016-3697): a `passwd` line called `1000` cannot make somebody root.
//! The files are data from an image: what is not well-formed is skipped, and only [`LIMIT`] bytes of each are read.

/// Bytes of `passwd` and `group` that are looked at.
pub const LIMIT: u64 = 4 << 20;

/// A resolved user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// All groups, the primary one first.
    pub groups: Vec<u32>,
    /// Home folder.
    pub home: String,
}

/// Why a user cannot be resolved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    /// No such name.
    #[error("unable to find user {0}: no matching entries in passwd file")]
    UnknownUser(String),
    /// No such group.
    #[error("unable to find group {0}: no matching entries in group file")]
    UnknownGroup(String),
    /// An id that does not exist.
    #[error("uids and gids must be in range 0-2147483647")]
    OutOfRange,
}

/// The largest id that is allowed, as runc and Docker have it.
const MAX_ID: u64 = 0x7fff_ffff;

struct PasswdEntry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

struct GroupEntry<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

fn passwd_entries(text: &str) -> impl Iterator<Item = PasswdEntry<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        let home = fields.nth(1).unwrap_or("");
        Some(PasswdEntry { name, uid, gid, home })
    })
}

fn group_entries(text: &str) -> impl Iterator<Item = GroupEntry<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let gid = fields.nth(1)?.parse().ok()?;
        Some(GroupEntry { name, gid, members: fields.next().unwrap_or("") })
    })
}

/// `Some` for a text of digits only: the id, or that it is out of range.
fn number(text: &str) -> Option<Result<u32, UserError>> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let id = text.parse::<u64>().ok().filter(|id| *id <= MAX_ID).and_then(|id| u32::try_from(id).ok());
    Some(id.ok_or(UserError::OutOfRange))
}

/// Resolves `spec` (`""`, `user`, `user:group`, by name or number) and `extra` groups.
pub fn resolve(spec: &str, extra: &[String], passwd: &str, group: &str) -> Result<User, UserError> {
    let (user_text, group_text) = match spec.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|text| !text.is_empty())),
        None => (spec, None),
    };
    let mut user = User { uid: 0, gid: 0, groups: Vec::new(), home: "/".into() };
    let mut name = None;
    let entry = match number(user_text) {
        Some(id) => {
            user.uid = id?;
            passwd_entries(passwd).find(|entry| entry.uid == user.uid)
        }
        None if user_text.is_empty() => passwd_entries(passwd).find(|entry| entry.uid == 0),
        None => {
            let found = passwd_entries(passwd).find(|entry| entry.name == user_text);
            Some(found.ok_or_else(|| UserError::UnknownUser(user_text.to_owned()))?)
        }
    };
    if let Some(entry) = entry {
        user.uid = entry.uid;
        user.gid = entry.gid;
        if !entry.home.is_empty() {
            user.home = entry.home.to_owned();
        }
        name = Some(entry.name);
    }
    let mut supplementary = Vec::new();
    match group_text {
        Some(text) => user.gid = group_id(text, group)?,
        None => {
            if let Some(name) = name {
                let belongs = |entry: &GroupEntry<'_>| entry.members.split(',').any(|member| member == name);
                supplementary.extend(group_entries(group).filter(belongs).map(|entry| entry.gid));
            }
        }
    }
    for text in extra {
        supplementary.push(group_id(text, group)?);
    }
    user.groups.push(user.gid);
    for gid in supplementary {
        if !user.groups.contains(&gid) {
            user.groups.push(gid);
        }
    }
    Ok(user)
}

fn group_id(text: &str, group: &str) -> Result<u32, UserError> {
    if let Some(id) = number(text) {
        return id;
    }
    let entry = group_entries(group).find(|entry| entry.name == text);
    entry.map(|entry| entry.gid).ok_or_else(|| UserError::UnknownGroup(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:33::/srv/web:/bin/sh\n1000:x:0:0::/root:/bin/sh\nbroken\n:x:0:0::/:\n";
    const GROUP: &str = "root:x:0:\nweb:x:33:\nlog:x:4:web,other\nadm:x:5:web\n";

    fn ids(spec: &str) -> Result<(u32, u32, Vec<u32>), UserError> {
        resolve(spec, &[], PASSWD, GROUP).map(|user| (user.uid, user.gid, user.groups))
    }

    #[test]
    fn names_and_numbers() {
        assert_eq!(ids(""), Ok((0, 0, vec![0])));
        assert_eq!(ids("web"), Ok((33, 33, vec![33, 4, 5])));
        assert_eq!(ids("web:log"), Ok((33, 4, vec![4])));
        assert_eq!(ids("33"), Ok((33, 33, vec![33, 4, 5])));
        assert_eq!(ids("4711:4712"), Ok((4711, 4712, vec![4712])));
        assert_eq!(resolve("web", &[], PASSWD, GROUP).unwrap().home, "/srv/web");
        assert_eq!(resolve("4711", &[], PASSWD, GROUP).unwrap().home, "/");
    }

    #[test]
    fn digits_are_a_number_even_if_a_user_is_called_so() {
        assert_eq!(ids("1000"), Ok((1000, 0, vec![0])));
        for text in ["4294967295", "4294967296", "2147483648", "-1"] {
            assert_eq!(ids(text), Err(UserError::OutOfRange), "{text}");
        }
        for text in ["+0", "0x0", "１０"] {
            assert_eq!(ids(text), Err(UserError::UnknownUser(text.into())), "{text}");
        }
    }

    #[test]
    fn extra_groups_are_added_once() {
        let extra = ["log".to_owned(), "77".to_owned(), "77".to_owned()];
        assert_eq!(resolve("web:web", &extra, PASSWD, GROUP).unwrap().groups, [33, 4, 77]);
        let text = resolve("web", &["nope".to_owned()], PASSWD, GROUP).unwrap_err().to_string();
        assert_eq!(text, "unable to find group nope: no matching entries in group file");
    }
}
